import { Effect } from "effect"
import { indexAt } from "../../domain/Chunk.ts"
import { ChunkCache } from "../cache/ChunkCache.ts"
import type { Fetch } from "./Fetch.ts"

/** Whether a fetch need not go on, because the chunk that it is about to begin is there already, or comes by another fetch. */
export type IsCovered = (fetch: Fetch) => boolean

/** Makes `IsCovered`. */
export const makeIsCovered: Effect.Effect<IsCovered, never, ChunkCache> = Effect.map(
  ChunkCache,
  (cache) => (fetch) => {
    const { download, firstChunk, position, sequential } = fetch
    const { assemblies, fetches, representation: { chunkSize } } = download
    const index = indexAt(position, chunkSize)
    if (sequential || position % chunkSize !== 0 || index === firstChunk) return false
    const assembly = assemblies.get(index)
    if (assembly === undefined ? cache.has(download.keyOf(index)) : assembly.filledTo(position) > position) return true
    return fetches.approaching(position, 0).some((other) =>
      other !== fetch && !other.isFill && other.isOpenTo(undefined)
    )
  }
)
