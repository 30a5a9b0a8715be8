import { Effect } from "effect"
import { type ChunkKey, span } from "../../domain/Chunk.ts"
import type { Representation } from "../../domain/Representation.ts"
import type { ByteRange } from "../../domain/rfc/ByteRange.ts"
import { ChunkCache } from "../cache/ChunkCache.ts"
import { type LentBytes, SHORT_RANGE_BYTES } from "../disk/ChunkStore.ts"
import { keyAt } from "./viewerStream.ts"

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

const releaseAll = (lent: ReadonlyArray<LentBytes>): void => {
  for (const { release } of lent) release()
}

/** Reads short ranges from disk without a stream or a fiber: one call for each chunk that the range touches, into memory that is lent. */
export const makeShortReads = Effect.gen(function*() {
  const cache = yield* ChunkCache

  /** Reads `pieces` one after the other, and calls `done` with all of them, or with `undefined` if one can't be read. */
  const readAll = (
    representation: Representation,
    [first, ...others]: ReadonlyArray<Piece>,
    done: (lent: ReadonlyArray<LentBytes> | undefined) => void
  ): void => {
    if (first === undefined) return done([])
    cache.readShort(representation, first.key, first.range, (lent) => {
      if (lent === undefined) return done(undefined)
      if (others.length === 0) return done([lent])
      readAll(representation, others, (more) => {
        if (more === undefined) lent.release()
        done(more && [lent, ...more])
      })
    })
  }

  /** The read of a range that the disk can be expected to have, or `undefined` if the range or the disk isn't fit for that. */
  return (representation: Representation, range: ByteRange): ShortRead | undefined => {
    const length = range.end - range.start
    if (length > Math.min(SHORT_RANGE_BYTES, representation.chunkSize) || cache.isBusy()) return undefined
    const pieces = piecesOf(representation, range)
    if (!pieces.every(({ key }) => cache.isOnDisk(key))) return undefined
    let all: ReadonlyArray<LentBytes> = []
    return {
      begin: (done) =>
        readAll(representation, pieces, (lent) => {
          all = lent ?? []
          done(lent?.map(({ bytes }) => bytes))
        }),
      release: () => {
        releaseAll(all)
        all = []
      }
    }
  }
})
