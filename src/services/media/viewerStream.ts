import { Cause, Effect, Stream } from "effect"
import type { CacheError } from "../../domain/CacheError.ts"
import { type ChunkKey, indexAt, span } from "../../domain/Chunk.ts"
import type { OriginError } from "../../domain/OriginError.ts"
import { isSingle, type Representation } from "../../domain/Representation.ts"
import type { ByteRange } from "../../domain/rfc/ByteRange.ts"
import { monotonicMillis } from "../../effects/monotonic.ts"
import { apart, watchPieces } from "../../effects/pieces.ts"
import { Catalog } from "../cache/Catalog.ts"
import { ChunkCache } from "../cache/ChunkCache.ts"
import { ChunkMemory, HandedPieces } from "../cache/ChunkMemory.ts"
import { COMMON_ERRNOS } from "../disk/breakerMetrics.ts"
import { PART_BYTES, partAt } from "../disk/ChunkStore.ts"
import { ReadBuffer, ReadBuffers } from "../disk/ReadBuffer.ts"
import { ActiveStreams, type Progress } from "../observe/ActiveStreams.ts"
import type { ByteSource } from "../observe/Counters.ts"
import * as Metrics from "../observe/pullMetrics.ts"
import type { Source } from "../origin/askOrigin.ts"
import { Downloader } from "../transfer/Downloader.ts"
import { ReceivedBytes } from "../transfer/ReceivedBytes.ts"
import { makeResumeByContent } from "./contentResume.ts"
import { PieceSize } from "./PieceSize.ts"

/** The chunk that holds the byte at `offset`. */
export const keyAt = ({ chunkSize, id, resource }: Representation, offset: number): ChunkKey => ({
  resource,
  representation: id,
  index: indexAt(offset, chunkSize)
})

/** The part of a chunk that starts at `offset`, up to `end` at most. */
const slice = ({ chunkSize }: Representation, chunk: Uint8Array, offset: number, end: number): Uint8Array => {
  const start = indexAt(offset, chunkSize) * chunkSize
  return start === offset && end >= start + chunk.length ? chunk : chunk.subarray(offset - start, end - start)
}

/** The piece at `offset` of at most `most` bytes, up to `end`, of the chunk with the bytes of `chunk`, as offsets in the chunk. */
const pieceOf = (chunk: ByteRange, offset: number, end: number, most: number): ByteRange => {
  const start = offset - chunk.start
  // To the end of a part, so that no part is read twice.
  return { start, end: Math.min(end - chunk.start, chunk.end - chunk.start, (partAt(start) * PART_BYTES) + most) }
}

/** `DISK_FULL` for `DiskFull`, and so on. */
export const detailOf = (error: CacheError): string => error._tag.replace(/(?<=[a-z])(?=[A-Z])/g, "_").toUpperCase()

/** Of what no viewer gets. */
const unseen: Progress = { advance: () => {} }

/** Who gets the bytes: `reuses` and `viewer` are those of `MediaRequest`. */
export interface Receiver {
  readonly reuses?: boolean
  readonly viewer?: string | undefined
  /** What the viewer has of a `Single` representation already, up to the range that it gets now. */
  readonly received?: ReceivedBytes
}

/** The bytes of a range of a representation, to one viewer. */
export type ViewerStream = (
  representation: Representation,
  range: ByteRange,
  source: Source,
  receiver: Receiver
) => Stream.Stream<Uint8Array, OriginError>

/**
 * The bytes of `range` to one viewer. It goes through the cached chunks, through a run where they are missing, and back.
 * Where the cache fails, the origin's stream is swapped in at the byte after the last one that left; that stream ends
 * where the cache has a chunk again.
 */
export const makeViewerStream = Effect.gen(function*() {
  const activeStreams = yield* ActiveStreams
  const catalog = yield* Catalog
  const cache = yield* ChunkCache
  const downloader = yield* Downloader
  const resumeByContent = yield* makeResumeByContent
  const memory = yield* ChunkMemory
  const buffers = new ReadBuffers()
  const now = yield* monotonicMillis
  const countUncached = yield* Metrics.counters(
    "spillway_uncached_bytes_total",
    "Bytes that were streamed past a cache that could not be used, by why not",
    "errno",
    COMMON_ERRNOS
  )

  /**
   * The chunks that are in the cache, from `start` on. Ends where the first one is missing that can be fetched and kept;
   * fails where the cache cannot do its part: a chunk that is there cannot be read, or one that is missing not be kept. `from` gets
   * the source of the next bytes, and `pieceSize` says how much to read.
   */
  const cachedStream = (
    representation: Representation,
    { end, start }: ByteRange,
    from: (source: ByteSource) => void,
    pieceSize: PieceSize,
    buffer: ReadBuffer | undefined,
    handed: HandedPieces
  ) =>
    Stream.fromPull(Effect.sync(() => {
      let offset = start
      const take = (bytes: Uint8Array, source: ByteSource, isShared: boolean) => {
        from(source)
        const piece = handed.next(isShared ? apart(bytes) : bytes, offset)
        offset += bytes.length
        pieceSize.handed(bytes.length)
        return [piece] as const
      }
      const readPiece = (key: ChunkKey, chunk: ByteRange) => {
        const most = pieceSize.next()
        const piece = pieceOf(chunk, offset, end, most)
        const read = (into?: Buffer) => cache.readRange(representation, key, piece, into)
        const bytes = buffer === undefined ? read() : buffer.read(most, read)
        return Effect.map(bytes, (bytes) => take(bytes, "disk", buffer !== undefined))
      }
      return Effect.suspend((): Effect.Effect<readonly [Uint8Array], CacheError | Cause.Done> => {
        if (offset >= end) {
          buffer?.release()
          return Cause.done()
        }
        const key = keyAt(representation, offset)
        const inMemory = cache.inMemory(key)
        if (inMemory !== undefined) {
          const bytes = slice(representation, inMemory, offset, end)
          return Effect.succeed(take(bytes, "memory", bytes.length < inMemory.length))
        }
        if (cache.has(key)) {
          const chunk = span(key.index, representation.chunkSize, representation.size)
          if (offset === chunk.start && end >= chunk.end && cache.isWorthMemory(representation, key)) {
            return Effect.map(cache.read(representation, key), (bytes) => take(bytes, "disk", false))
          }
          return readPiece(key, chunk)
        }
        const failure = cache.failure()
        return failure === undefined ? Cause.done() : Effect.fail(failure)
      })
    }))

  /** Begins a stream, which ends with the scope. */
  const open = Effect.fnUntraced(function*(
    representation: Representation,
    range: ByteRange,
    source: Source,
    { received: before, reuses = false, viewer }: Receiver
  ) {
    const { resource, size, url } = representation
    const progress = source.background
      ? unseen
      : yield* activeStreams.begin({ url, resource, ...range, size, viewer })
    const handed = new HandedPieces(memory, range.end, reuses)
    const reader = yield* downloader.read(representation, range, source, handed)
    const received = isSingle(representation) ? before ?? new ReceivedBytes(range.start) : undefined
    const buffer = reuses ? new ReadBuffer(buffers) : undefined
    const pieceSize = new PieceSize(now)
    let cachedIn: ByteSource = "disk"
    // The count comes after everything that can fail, so that it is exactly what the viewer got.
    const fromCache = (bytes: Uint8Array) => {
      received?.add(bytes)
      reader.advance(bytes.length)
      progress.advance(bytes.length, cachedIn)
    }
    // The only transfer of a `Single` representation may have ended, and its bytes be lost to the cache.
    const missing = received === undefined
      ? reader.stream
      : Stream.catchIf(
        reader.stream,
        () => reader.isWithoutTransfer,
        () => resumeByContent(representation, source, received, range.end)
      )
    const originStream = watchPieces(missing, (bytes) => {
      received?.add(bytes)
      reader.advance(bytes.length)
      const failure = cache.failure()
      const { isFromPeer } = reader
      if (failure === undefined) progress.advance(bytes.length, isFromPeer ? "peer" : "origin")
      else {
        countUncached(failure.errno, bytes.length)
        progress.advance(bytes.length, isFromPeer ? "peer" : "passthrough", detailOf(failure))
      }
    })
    const swapIn = (error: CacheError) => {
      reader.bypassCache()
      const key = keyAt(representation, reader.offset)
      const isLast = range.end <= span(key.index, representation.chunkSize, size).end
      return isLast ? originStream : Stream.unwrap(Effect.as(cache.verifyBehind(key, error), originStream))
    }
    const cachedLeg = () => {
      const rest = { start: reader.offset, end: range.end }
      const cached = cachedStream(representation, rest, (source) => cachedIn = source, pieceSize, buffer, handed)
      return Stream.catchTags(watchPieces(cached, fromCache), {
        DiskBusy: swapIn,
        DiskFull: swapIn,
        PermissionDenied: swapIn,
        IoError: swapIn
      })
    }
    // In turn, each as far as it goes.
    const legs = Stream.unfold(
      true,
      (isCached) =>
        Effect.sync(() => {
          if (reader.offset < range.end) return [isCached ? cachedLeg() : originStream, !isCached] as const
          handed.finish()
          return undefined
        })
    )
    return Stream.flatMap(legs, (leg) => leg)
  })

  const viewerStream: ViewerStream = (representation, range, source, receiver) =>
    Stream.unwrap(open(representation, range, source, receiver)).pipe(
      Stream.tapError((error) =>
        Effect.sync(() => {
          if (error._tag !== "RepresentationChanged") return
          // Bytes of another version, rather than none at all.
          catalog.expire(representation, error.status === 200 || error.status === 206)
        })
      )
    )
  return viewerStream
})
