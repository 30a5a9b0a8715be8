import { Cause, Context, Effect, Layer, type Scope, Stream } from "effect"
import { type ByteRange, type RangeSpec, resolve } from "../domain/ByteRange.ts"
import type { CacheError } from "../domain/CacheError.ts"
import type { CacheStatus } from "../domain/CacheStatus.ts"
import { type ChunkKey, indexAt, span } from "../domain/Chunk.ts"
import type { OriginError } from "../domain/OriginError.ts"
import { rangeApplies } from "../domain/Preconditions.ts"
import type { Representation } from "../domain/Representation.ts"
import type { Resource } from "../domain/Resource.ts"
import { Catalog, type Entry } from "./Catalog.ts"
import { ChunkCache } from "./ChunkCache.ts"
import { Downloader } from "./Downloader.ts"
import { type Found, Lookup, type Means } from "./Lookup.ts"

/** What a viewer asks of a resource. */
export interface MediaRequest {
  readonly resource: Resource
  readonly range?: RangeSpec | undefined
  /** A validator: the range applies only to the representation that it names. */
  readonly ifRange?: string | undefined
}

/** A representation, the part of it that the viewer gets, and how to get it. */
export interface Media {
  readonly _tag: "Media"
  readonly entry: Entry
  /** `undefined`: the range lies outside. */
  readonly range: ByteRange | undefined
  /** Whether the viewer gets a range, rather than everything. */
  readonly isPartial: boolean
  readonly status: CacheStatus
  /**
   * The bytes of `range`: at once where they are in memory, and few. Otherwise an effect that returns when the first of them are
   * there, so that what fails until then can still be told; the stream fails for the origin's reasons only.
   */
  readonly body: Uint8Array | Effect.Effect<Stream.Stream<Uint8Array, OriginError>, OriginError, Scope.Scope>
}

/** A `Media`, or an answer of the origin's that goes past the cache. */
export type Opened = Media | Exclude<Found, { readonly _tag: "Current" }>

/**
 * From a request for a range to a head and the bytes: from memory, from disk, or from the origin, byte by byte whichever
 * can be had. A failure of the cache is never the viewer's: the origin takes over at the very byte.
 */
export class MediaStream extends Context.Service<MediaStream, {
  readonly open: (request: MediaRequest) => Effect.Effect<Opened, OriginError>
  /** What `open` would return, where that can be told without waiting: the representation is fresh, the bytes in memory. */
  readonly openNow: (request: MediaRequest) => Media | undefined
  /** The head alone: nothing is transferred for it. */
  readonly head: (resource: Resource) => Effect.Effect<Opened, OriginError>
}>()("spillway/services/MediaStream") {
  static readonly layer: Layer.Layer<MediaStream, never, Catalog | ChunkCache | Downloader | Lookup> = Layer.effect(
    MediaStream,
    Effect.suspend(() => make)
  )
}

/** The most that is put together from two chunks to be answered at once, in bytes. */
const AT_ONCE_BYTES = 256 * 1024

/** `DISK_FULL` for `DiskFull`, and so on. */
const detailOf = (error: CacheError): string => error._tag.replace(/(?<=[a-z])(?=[A-Z])/g, "_").toUpperCase()

const make = Effect.gen(function*() {
  const catalog = yield* Catalog
  const cache = yield* ChunkCache
  const downloader = yield* Downloader
  const lookup = yield* Lookup

  const keyAt = ({ chunkSize, id, resource }: Representation, offset: number): ChunkKey => ({
    resource,
    representation: id,
    index: indexAt(offset, chunkSize)
  })

  /** The part of a chunk that starts at `offset`, up to `end` at most. */
  const slice = ({ chunkSize }: Representation, chunk: Uint8Array, offset: number, end: number): Uint8Array => {
    const start = indexAt(offset, chunkSize) * chunkSize
    return start === offset && end >= start + chunk.length ? chunk : chunk.subarray(offset - start, end - start)
  }

  /**
   * The chunks that are in the cache, from `start` on. Ends where the first one is missing that can be fetched and kept;
   * fails where the cache cannot do its part: a chunk that is there cannot be read, or one that is missing not be kept.
   */
  const cachedStream = (representation: Representation, { end, start }: ByteRange) =>
    Stream.fromPull(Effect.sync(() => {
      let offset = start
      const take = (chunk: Uint8Array) => {
        const bytes = slice(representation, chunk, offset, end)
        offset += bytes.length
        return [bytes] as const
      }
      return Effect.suspend((): Effect.Effect<readonly [Uint8Array], CacheError | Cause.Done> => {
        if (offset >= end) return Cause.done()
        const key = keyAt(representation, offset)
        const inMemory = cache.inMemory(key)
        if (inMemory !== undefined) return Effect.succeed(take(inMemory))
        if (cache.has(key)) return Effect.map(cache.read(representation, key), take)
        const failure = cache.failure()
        return failure === undefined ? Cause.done() : Effect.fail(failure)
      })
    }))

  /**
   * The bytes of `range` to one viewer. It goes through the cached chunks, through a run where they are missing, and back.
   * Where the cache fails, the origin's stream is swapped in at the byte after the last one that left; that stream ends
   * where the cache has a chunk again.
   */
  const viewerStream = (representation: Representation, range: ByteRange): Stream.Stream<Uint8Array, OriginError> =>
    Stream.unwrap(Effect.map(downloader.view(representation, range), (view) => {
      // The count comes after everything that can fail, so that it is exactly what the viewer got.
      const counted = Stream.map((bytes: Uint8Array) => {
        view.advance(bytes.length)
        return bytes
      })
      const originStream = counted(view.stream)
      const swapIn = () => {
        view.distrust()
        return originStream
      }
      const leg = Stream.suspend(() => counted(cachedStream(representation, { start: view.offset(), end: range.end })))
        .pipe(
          Stream.catchTags({
            DiskFull: swapIn,
            PermissionDenied: swapIn,
            IoError: swapIn
          }),
          Stream.concat(originStream)
        )
      return Stream.flatMap(
        Stream.unfold(
          undefined,
          () => Effect.sync(() => view.offset() < range.end ? [leg, undefined] as const : undefined)
        ),
        (leg) => leg
      )
    })).pipe(
      Stream.tapError((error) =>
        Effect.sync(() => {
          if (error._tag === "RepresentationChanged") catalog.expire(representation)
        })
      )
    )

  /** Begins `stream` in the caller's scope: what its first bytes fail with is an error of this effect. */
  const begin = Effect.fnUntraced(function*(stream: Stream.Stream<Uint8Array, OriginError>) {
    const pull = yield* Stream.toPull(stream)
    const first = yield* Effect.catchIf(pull, Cause.isDone, () => Effect.succeed([new Uint8Array()] as const))
    let begun = false
    return Stream.fromPull(Effect.succeed(Effect.suspend(() => {
      if (begun) return pull
      begun = true
      return Effect.succeed(first)
    })))
  })

  /** The bytes of `range` where memory has them all: a part of a chunk, or a few bytes across two. */
  const inMemory = (representation: Representation, range: ByteRange): Uint8Array | undefined => {
    if (range.start === range.end) return new Uint8Array()
    const key = keyAt(representation, range.start)
    const { end } = span(key.index, representation.chunkSize, representation.size)
    const spansTwo = range.end > end
    if (spansTwo && (range.end - range.start > AT_ONCE_BYTES || range.end > end + representation.chunkSize)) {
      return undefined
    }
    const chunk = cache.inMemory(key)
    if (chunk === undefined) return undefined
    const first = slice(representation, chunk, range.start, Math.min(range.end, end))
    if (!spansTwo) return first
    const next = cache.inMemory(keyAt(representation, end))
    return next === undefined ? undefined : Buffer.concat([first, next.subarray(0, range.end - end)])
  }

  const bodyOf = (representation: Representation, range: ByteRange): Media["body"] =>
    inMemory(representation, range) ?? begin(viewerStream(representation, range))

  const isCached = (representation: Representation, { end, start }: ByteRange): boolean => {
    for (let offset = start; offset < end; offset += representation.chunkSize) {
      if (!cache.has(keyAt(representation, offset))) return false
    }
    return start === end || cache.has(keyAt(representation, end - 1))
  }

  /** What the cache is about to do for this response. */
  const statusOf = (representation: Representation, range: ByteRange, means: Means): CacheStatus => {
    if (means === "validated") return { fwd: "stale", fwdStatus: 304 }
    const cached = means !== "fetched" && isCached(representation, range)
    if (means === "stale") return { ...(cached ? { hit: true } : { fwd: "stale" }), detail: "ORIGIN_UNREACHABLE" }
    if (cached) return { hit: true }
    const failure = cache.failure()
    if (failure !== undefined) return { fwd: "bypass", detail: detailOf(failure) }
    const collapsed = means === "fresh" && downloader.isRunning(representation, range.start)
    const fwd = cache.has(keyAt(representation, range.start)) ? "partial" : "miss"
    return { fwd, stored: true, collapsed }
  }

  /** The part of a representation that is asked for: `range` is `undefined` when it lies outside. */
  const partOf = (representation: Representation, request: MediaRequest): Pick<Media, "isPartial" | "range"> => {
    const wanted = rangeApplies(request.ifRange, representation) ? request.range : undefined
    return wanted === undefined
      ? { isPartial: false, range: { start: 0, end: representation.size } }
      : { isPartial: true, range: resolve(wanted, representation.size) }
  }

  const mediaOf = (
    entry: Entry,
    means: Means,
    { isPartial, range }: Pick<Media, "isPartial" | "range">,
    body: Media["body"]
  ): Media => {
    const { representation } = entry
    const status = statusOf(representation, range ?? { start: 0, end: representation.size }, means)
    return { _tag: "Media", entry, range, isPartial, status, body }
  }

  const openedOf = (found: Found, request: MediaRequest): Opened => {
    if (found._tag !== "Current") return found
    const { entry, means } = found
    const part = partOf(entry.representation, request)
    const body = part.range === undefined ? new Uint8Array() : bodyOf(entry.representation, part.range)
    return mediaOf(entry, means, part, body)
  }

  return MediaStream.of({
    openNow: (request) => {
      const entry = catalog.fresh(request.resource)
      if (entry === undefined) return undefined
      const part = partOf(entry.representation, request)
      // Whether the bytes are there comes first: the status of what is not would be found out twice.
      const body = part.range === undefined ? new Uint8Array() : inMemory(entry.representation, part.range)
      return body === undefined ? undefined : mediaOf(entry, "fresh", part, body)
    },
    open: (request) =>
      Effect.map(
        // Which representation the range is of is not known yet, so `If-Range` is asked about afterwards.
        lookup.find(request.resource, request.range),
        (found) => openedOf(found, request)
      ),
    head: (resource) => Effect.map(lookup.head(resource), (found) => openedOf(found, { resource }))
  })
})
