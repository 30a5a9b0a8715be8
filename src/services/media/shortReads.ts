import { Effect } from "effect"
import { type ChunkKey, span } from "../../domain/Chunk.ts"
import type { Representation } from "../../domain/Representation.ts"
import type { ByteRange } from "../../domain/rfc/ByteRange.ts"
import { BufferPool } from "../../effects/BufferPool.ts"
import { ChunkCache, SHORT_RANGE_BYTES } from "../cache/ChunkCache.ts"
import { PART_BYTES } from "../disk/ChunkStore.ts"
import { keyAt } from "./viewerStream.ts"

/** How many buffers for such ranges are kept for reuse. */
const POOLED = 64

/** Bytes from disk that are read in the background. */
export interface ShortRead {
  /**
   * Begins to read. Calls `done` once: with the bytes, or with `undefined` if they can't be read, which the cache has taken note of. The bytes
   * are overwritten some time after `release` was called.
   */
  readonly begin: (done: (pieces: ReadonlyArray<Uint8Array> | undefined) => void) => void
  readonly release: () => void
}

/** A range of one chunk. */
interface Piece {
  readonly key: ChunkKey
  readonly range: ByteRange
}

/** The ranges of the chunks that `range` touches, which are two at most. */
const piecesOf = (representation: Representation, { end, start }: ByteRange): ReadonlyArray<Piece> => {
  const key = keyAt(representation, start)
  const chunk = span(key.index, representation.chunkSize, representation.size)
  const first = { key, range: { start: start - chunk.start, end: Math.min(end, chunk.end) - chunk.start } }
  if (end <= chunk.end) return [first]
  return [first, { key: { ...key, index: key.index + 1 }, range: { start: 0, end: end - chunk.end } }]
}

/** Reads short ranges from disk without a stream or a fiber: one call for each chunk that the range touches, into memory that is reused. */
export const makeShortReads = Effect.gen(function*() {
  const cache = yield* ChunkCache
  // Each end of a range may lie within a part, and so may the border of two chunks.
  const buffers = new BufferPool(SHORT_RANGE_BYTES + 4 * PART_BYTES, POOLED)

  /** Reads `pieces` one after the other, and calls `done` with all of them, or with `undefined` if one can't be read. */
  const readAll = (
    representation: Representation,
    [first, ...others]: ReadonlyArray<Piece>,
    buffer: Buffer,
    done: (pieces: ReadonlyArray<Uint8Array> | undefined) => void
  ): void => {
    if (first === undefined) return done([])
    cache.readInto(buffer, representation, first.key, first.range, (bytes) => {
      if (bytes === undefined) return done(undefined)
      if (others.length === 0) return done([bytes])
      const rest = buffer.subarray(bytes.byteOffset - buffer.byteOffset + bytes.length)
      readAll(representation, others, rest, (more) => done(more && [bytes, ...more]))
    })
  }

  /** The read of a range that the disk can be expected to have, or `undefined` if the range or the disk isn't fit for that. */
  return (representation: Representation, range: ByteRange): ShortRead | undefined => {
    const length = range.end - range.start
    if (length > Math.min(SHORT_RANGE_BYTES, representation.chunkSize) || cache.isBusy()) return undefined
    const pieces = piecesOf(representation, range)
    if (!pieces.every(({ key }) => cache.isOnDisk(key))) return undefined
    let buffer: Buffer | undefined
    return {
      begin: (done) => {
        const taken = buffers.take()
        readAll(representation, pieces, taken, (bytes) => {
          // After a failure, the read may still write to it.
          if (bytes !== undefined) buffer = taken
          done(bytes)
        })
      },
      release: () => {
        if (buffer !== undefined) buffers.give(buffer)
        buffer = undefined
      }
    }
  }
})
