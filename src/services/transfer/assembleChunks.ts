import { Effect } from "effect"
import { indexAt, span } from "../../domain/Chunk.ts"
import type { ByteRange } from "../../domain/rfc/ByteRange.ts"
import { ChunkCache } from "../cache/ChunkCache.ts"
import type { ChunkAssembly } from "./ChunkAssembly.ts"
import type { Fetch } from "./Fetch.ts"

/** Takes `bytes`, which belong at the fetch's position. `false` if the fetch has reached bytes that it need not fetch. */
export type AssembleChunks = (fetch: Fetch, bytes: Uint8Array) => boolean

/**
 * Makes `AssembleChunks`, which writes bytes into chunks and hands each complete chunk to `ChunkCache`, once. When a chunk has its tail
 * but not its front, because a viewer has sought into its middle, `startFill` is called with the missing range.
 */
export const makeAssembleChunks = Effect.fnUntraced(function*(startFill: (behind: Fetch, missing: ByteRange) => void) {
  const cache = yield* ChunkCache

  /** Hands over a chunk that is complete, or starts a fetch of its missing front. */
  const settle = (fetch: Fetch, assembly: ChunkAssembly): void => {
    const { download } = fetch
    const { span, whole } = assembly
    if (whole !== undefined) {
      if (assembly.isHandedOver) return
      assembly.isHandedOver = true
      return cache.keep(download.representation, download.keyOf(assembly.index), whole)
    }
    if (fetch.position < span.end || cache.failure() !== undefined) return
    const start = assembly.filledTo(span.start)
    // A fetch that comes from the chunk before it will bring the front.
    if (download.fetches.approaching(start, download.representation.chunkSize).length > 0) return
    startFill(fetch, { start, end: assembly.missingTo(start) })
  }

  /**
   * Takes as many of `bytes` as belong to the chunk at the fetch's position: how many, or 0 if they need not be fetched. A sequential
   * fetch skips what is there.
   */
  const takeInto = (fetch: Fetch, bytes: Uint8Array): number => {
    const { download, position } = fetch
    const { assemblies, representation: { chunkSize, size } } = download
    const index = indexAt(position, chunkSize)
    const known = assemblies.get(index)
    if (known === undefined && index !== fetch.firstChunk && cache.has(download.keyOf(index))) {
      if (!fetch.sequential) return 0
      const taken = Math.min(bytes.length, span(index, chunkSize, size).end - position)
      download.fetches.move(fetch, position + taken)
      return taken
    }
    const assembly = known ?? assemblies.begin(index, span(index, chunkSize, size))
    const filled = assembly.filledTo(position)
    if (filled > position && !fetch.sequential) return 0
    const taken = Math.min(bytes.length, (filled > position ? filled : assembly.missingTo(position)) - position)
    if (filled === position) {
      assembly.write(position, bytes.subarray(0, taken))
      assembly.isFromPeer = fetch.isFromPeer
    }
    download.fetches.move(fetch, position + taken)
    settle(fetch, assembly)
    return taken
  }

  const assembleChunks: AssembleChunks = (fetch, bytes) => {
    let rest = bytes.subarray(0, fetch.end - fetch.position)
    while (rest.length > 0) {
      const taken = takeInto(fetch, rest)
      if (taken === 0) return false
      rest = rest.subarray(taken)
      fetch.holdChunks()
    }
    for (const reader of fetch.readers) reader.wake?.()
    return true
  }
  return assembleChunks
})
