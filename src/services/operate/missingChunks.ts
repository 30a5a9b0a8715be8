import { Effect } from "effect"
import { type ChunkKey, count, span } from "../../domain/Chunk.ts"
import type { Representation } from "../../domain/Representation.ts"
import { CacheIndex } from "../cache/CacheIndex.ts"
import { ChunkCache } from "../cache/ChunkCache.ts"
import { ChunkWriter } from "../cache/ChunkWriter.ts"
import { Fleet } from "../fleet/Fleet.ts"

/** The most that is fetched at a time, in bytes. */
const STRETCH_BYTES = 64 * 1024 ** 2

/** How many chunks are checked before other fibers get their turn. */
const CHECKS_PER_TURN = 1024

/** Makes the functions that find out which chunks of a representation are not on disk. */
export const makeMissingChunks = Effect.gen(function*() {
  const cache = yield* ChunkCache
  const index = yield* CacheIndex
  const writer = yield* ChunkWriter
  const { owns } = yield* Fleet

  const keyAt = ({ id, resource }: Representation, at: number): ChunkKey => ({
    resource,
    representation: id,
    index: at
  })

  const isOwn = ({ chunkSize, url }: Representation, at: number): boolean => owns(url, at * chunkSize)

  /**
   * Whether a chunk is on disk or about to be written. A chunk that is in memory only is sent to be written. One that another node of a fleet
   * owns isn't written here: after the first pass, that node has it.
   */
  const isKept = (representation: Representation, at: number, isFirstPass: boolean): boolean => {
    const key = keyAt(representation, at)
    if (index.has(key) || writer.pending(key) !== undefined) return true
    if (!isOwn(representation, at)) return !isFirstPass || cache.inMemory(key) !== undefined
    const inMemory = cache.inMemory(key)
    if (inMemory === undefined) return false
    cache.keep(representation, key, inMemory)
    return writer.pending(key) !== undefined
  }

  return {
    /** The next missing bytes from chunk `from` on, or `undefined`. `skip` is called with the size of each chunk before them. */
    nextMissing: Effect.fnUntraced(function*(
      representation: Representation,
      from: number,
      isFirstPass: boolean,
      skip: (bytes: number) => void
    ) {
      const { chunkSize, size } = representation
      const chunks = count(size, chunkSize)
      let first = from
      for (; first < chunks && isKept(representation, first, isFirstPass); first++) {
        const { end, start } = span(first, chunkSize, size)
        skip(end - start)
        if (first % CHECKS_PER_TURN === 0) yield* Effect.yieldNow
      }
      if (first >= chunks) return undefined
      let end = first + 1
      while (end < chunks && (end - first) * chunkSize < STRETCH_BYTES && !isKept(representation, end, isFirstPass)) {
        end++
      }
      return { start: first * chunkSize, end: Math.min(end * chunkSize, size) }
    }),
    /** Whether all chunks are on disk that this node owns. */
    isWhole: Effect.fnUntraced(function*(representation: Representation) {
      for (let at = 0; at < count(representation.size, representation.chunkSize); at++) {
        if (!index.has(keyAt(representation, at)) && isOwn(representation, at)) return false
        if (at % CHECKS_PER_TURN === 0) yield* Effect.yieldNow
      }
      return true
    })
  }
})
