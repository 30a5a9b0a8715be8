import { Cause, Clock, Context, Effect, Layer, type Scope, Stream } from "effect"
import { span } from "../../domain/Chunk.ts"
import type { OriginError } from "../../domain/OriginError.ts"
import type { Representation } from "../../domain/Representation.ts"
import type { Resource } from "../../domain/Resource.ts"
import { type ByteRange, type RangeSpec } from "../../domain/rfc/ByteRange.ts"
import type { RequestDirectives } from "../../domain/rfc/CacheControl.ts"
import type { CacheStatus } from "../../domain/rfc/CacheStatus.ts"
import { type AcceptedCodings, UNCODED } from "../../domain/rfc/ContentCoding.ts"
import { ttlSeconds } from "../../domain/rfc/Freshness.ts"
import { toPull } from "../../effects/pieces.ts"
import type { Catalog, Entry } from "../cache/Catalog.ts"
import { ChunkCache } from "../cache/ChunkCache.ts"
import type { OriginConfig } from "../config/OriginConfig.ts"
import { NodeName } from "../fleet/NodeName.ts"
import type { ActiveStreams } from "../observe/ActiveStreams.ts"
import { type ByteSource, Counters } from "../observe/Counters.ts"
import { plainSource, type Source } from "../origin/askOrigin.ts"
import type { Origin } from "../origin/Origin.ts"
import { Downloader } from "../transfer/Downloader.ts"
import { UnmeasuredBody } from "../transfer/UnmeasuredBody.ts"
import { cacheStatusOf } from "./cacheStatusOf.ts"
import { Lookup } from "./Lookup.ts"
import type { Current, LookupResult, Provenance } from "./LookupResult.ts"
import { type RangeRequest, requestedRanges } from "./requestedRanges.ts"
import { makeShortReads, type ShortRead } from "./shortReads.ts"
import { makeUnmeasuredStream } from "./unmeasuredStream.ts"
import { detailOf, keyAt, makeViewerStream } from "./viewerStream.ts"

/** What a viewer asks of a resource. */
interface MediaRequest extends RangeRequest {
  readonly resource: Resource
  /** What the viewer says about the use of the cache. */
  readonly directives?: RequestDirectives | undefined
  /** The content codings that the viewer accepts; none by default. */
  readonly accepted?: AcceptedCodings
  /** The representation that `Lookup.fresh` has returned for this request, if it was asked already. */
  readonly fresh?: Entry | undefined
  /** Requests of others are not shared. */
  readonly isAlone?: boolean | undefined
  /** The source of the bytes, with the viewer's fields. By default, the URL of the resource. */
  readonly source?: Source
  /**
   * Anyone who takes the bytes has done with a piece of `SHORT_BYTES` or more when it asks for the next, and with all but less than
   * `SHORT_BYTES` of shorter ones. What it has done with may be overwritten.
   */
  readonly reuses?: boolean
  /** A part of the range is enough, from its first byte on. Only for a request that is answered from the cache alone. */
  readonly mayBeShort?: boolean
  /** The viewer wants the whole file, and `ranges` is a part of it that another node of a fleet passes on. */
  readonly isOfWhole?: boolean
  /** The address of the viewer, for the people who run the server. */
  readonly viewer?: string | undefined
}

/** A request for a representation that is known to be fresh for it. */
interface FreshRequest extends Omit<MediaRequest, "source"> {
  readonly fresh: Entry
}

/**
 * Gets bytes: in one piece if they are in memory, and few. Otherwise it returns when the first of them are there, so that what fails
 * until then can still be reported; the stream fails for the origin's reasons only. Nothing is held before it runs.
 */
export type Bytes = Effect.Effect<
  Uint8Array | Stream.Stream<Uint8Array, OriginError>,
  OriginError,
  Scope.Scope
>

/** A part of a representation. */
interface Part {
  readonly range: ByteRange
  readonly bytes: Bytes
}

/** A representation, what the viewer gets of it, and how to get that. */
export interface Media {
  readonly _tag: "Media"
  readonly entry: Entry
  /** In the order asked for, none of them touching another; none at all where everything that was requested lies outside. */
  readonly parts: ReadonlyArray<Part>
  /** Whether the viewer gets ranges, rather than everything. */
  readonly isPartial: boolean
  readonly means: Provenance
  readonly status: CacheStatus
  /** The body has no length: its one part goes on to its end, and its range says nothing. */
  readonly isUnmeasured?: boolean
}

/** What is at hand: at most one range, as pieces of chunks that nobody writes to, or to be read from disk in one piece. */
export interface Hit extends Omit<Media, "parts"> {
  readonly range: ByteRange | undefined
  readonly body: ReadonlyArray<Uint8Array> | ShortRead
}

/** A `Media`, or an answer that goes past the cache. */
export type Opened = Media | Exclude<LookupResult, Current>

/**
 * From a request for ranges to a head and the bytes: from memory, from disk, or from the origin, byte by byte whichever
 * can be had. A failure of the cache is never the viewer's: the origin takes over at the very byte.
 */
export class MediaStream extends Context.Service<MediaStream, {
  /** The head and the bytes of the ranges. An uncacheable resource is returned as such, and the caller asks the origin itself. */
  readonly open: (request: MediaRequest) => Effect.Effect<Opened, OriginError>
  /** What `open` returns for a fresh representation, if the bytes are few, and in memory or on disk. */
  readonly tryHit: (request: FreshRequest) => Hit | undefined
  /** Whether the cache has all the bytes that a request for a fresh representation wants, in memory or on disk. */
  readonly isCached: (request: FreshRequest) => boolean
  /** The head alone: nothing is transferred for it. */
  readonly head: (request: MediaRequest) => Effect.Effect<Opened, OriginError>
}>()("spillway/services/media/MediaStream") {
  static readonly layer: Layer.Layer<
    MediaStream,
    never,
    ActiveStreams | Catalog | ChunkCache | Downloader | Lookup | Counters | Origin | OriginConfig
  > = Layer
    .effect(
      MediaStream,
      Effect.suspend(() => make)
    )
}

/** The most of two chunks that is answered at once, in bytes. */
const AT_ONCE_BYTES = 256 * 1024

/** The longest range from disk that is copied rather than streamed, in bytes. A stream would cost more. */
const COPIED_BYTES = 16 * 1024

/** Asked for where the size of a file has to be known first. */
const FIRST_BYTE: RangeSpec = { _tag: "From", start: 0, last: 0 }

/** Begins `stream` in the caller's scope: what its first bytes fail with is an error of this effect. */
const begin = Effect.fnUntraced(function*(stream: Stream.Stream<Uint8Array, OriginError>) {
  const pull = yield* toPull(stream)
  const first = yield* Effect.catchIf(pull, Cause.isDone, () => Effect.succeed([new Uint8Array()] as const))
  let begun = false
  return Stream.fromPull(Effect.succeed(Effect.suspend(() => {
    if (begun) return pull
    begun = true
    return Effect.succeed(first)
  })))
})

/** A copy of what `read` reads; `undefined` if that fails. */
const copyOf = (read: ShortRead): Effect.Effect<Uint8Array | undefined> =>
  Effect.callback((resume) =>
    read.begin((pieces) => {
      const copy = pieces && Buffer.concat(pieces)
      read.release()
      resume(Effect.succeed(copy))
    })
  )

const make = Effect.gen(function*() {
  const node = yield* NodeName
  const named = node === undefined ? {} : { node }
  const cache = yield* ChunkCache
  const clock = yield* Clock.Clock
  const downloader = yield* Downloader
  const lookup = yield* Lookup
  const counters = yield* Counters
  const viewerStream = yield* makeViewerStream
  const shortRead = yield* makeShortReads
  const unmeasuredStream = yield* makeUnmeasuredStream(viewerStream)

  /** The bytes of `range` where memory has them all: of one chunk, or a few across two. */
  const inMemory = (representation: Representation, range: ByteRange): ReadonlyArray<Uint8Array> | undefined => {
    if (range.start === range.end) return []
    const key = keyAt(representation, range.start)
    const { end, start } = span(key.index, representation.chunkSize, representation.size)
    const spansTwo = range.end > end
    if (spansTwo && (range.end - range.start > AT_ONCE_BYTES || range.end > end + representation.chunkSize)) {
      return undefined
    }
    const first = cache.rangeInMemory(key, { start: range.start - start, end: Math.min(range.end, end) - start })
    if (first === undefined || !spansTwo) return first
    const next = cache.rangeInMemory(keyAt(representation, end), { start: 0, end: range.end - end })
    return next === undefined ? undefined : [...first, ...next]
  }

  const bytesOf = (representation: Representation, range: ByteRange, source: Source, request: MediaRequest): Bytes =>
    Effect.suspend((): Bytes => {
      const streamed: Bytes = Effect.suspend(() => begin(viewerStream(representation, range, source, request)))
      const counted = (bytes: Uint8Array, from: ByteSource): Bytes => {
        if (source.background !== true) counters.bytes(from, bytes.length)
        return Effect.succeed(bytes)
      }
      const pieces = inMemory(representation, range)
      if (pieces !== undefined) return counted(pieces.length === 1 ? pieces[0]! : Buffer.concat(pieces), "memory")
      const read = range.end - range.start <= COPIED_BYTES ? shortRead(representation, range) : undefined
      if (read === undefined) return streamed
      return Effect.flatMap(copyOf(read), (copy): Bytes => copy === undefined ? streamed : counted(copy, "disk"))
    })

  const areCached = (representation: Representation, ranges: ReadonlyArray<ByteRange>): boolean =>
    ranges.every((range) => cache.hasAll(representation, range))

  /** What the cache is about to do for the bytes of a representation that needs no asking. */
  const transferOf = (
    representation: Representation,
    ranges: ReadonlyArray<ByteRange>,
    source: Source
  ): CacheStatus => {
    const start = ranges[0]?.start ?? 0
    const first = keyAt(representation, start)
    if (areCached(representation, ranges)) {
      return cache.isBusy() && cache.inMemory(first) === undefined
        ? { fwd: "bypass", detail: "DISK_BUSY" }
        : { hit: true }
    }
    const failure = cache.failure()
    if (failure !== undefined) return { fwd: "bypass", detail: detailOf(failure) }
    const fwd = cache.has(first) ? "partial" : "miss"
    return {
      fwd,
      stored: cache.isStoring(representation, start),
      collapsed: downloader.isRunning(representation, start, source)
    }
  }

  const openedOf = (found: LookupResult, request: MediaRequest): Opened => {
    if (found._tag !== "Current") return found
    const { entry } = found
    const { representation } = entry
    const { isPartial, ranges } = requestedRanges(representation, request)
    if (found.cacheOnly && !areCached(representation, ranges)) {
      const [range] = ranges
      if (request.mayBeShort !== true || range === undefined || !isPartial) return { _tag: "NotCached" }
      const end = cache.endOfCached(representation, range)
      if (end === range.start) return { _tag: "NotCached" }
      return openedOf(found, { ...request, ranges: [{ _tag: "From", start: range.start, last: end - 1 }] })
    }
    const source = request.source ?? plainSource(request.resource)
    const { body } = found
    const transfer = body === undefined ? transferOf(representation, ranges, source) : { fwd: "miss" } as const
    const now = clock.currentTimeMillisUnsafe()
    const isStoring = cache.isStoring(representation, ranges[0]?.start ?? 0)
    const status = { ...cacheStatusOf(found, transfer, { now, isStoring }), ...named }
    const bytes = (range: ByteRange): Bytes => {
      if (body === undefined) return bytesOf(representation, range, source, request)
      if (body instanceof UnmeasuredBody) return begin(unmeasuredStream(body, representation, source, request))
      return Effect.succeed(body)
    }
    const parts = ranges.map((range) => ({ range, bytes: bytes(range) }))
    const isUnmeasured = body instanceof UnmeasuredBody
    return { _tag: "Media", entry, parts, isPartial, means: found.means, status, ...(isUnmeasured && { isUnmeasured }) }
  }

  const questionOf = (
    {
      accepted = UNCODED,
      directives,
      fresh,
      ifRange,
      isAlone,
      isOfWhole,
      ranges,
      resource,
      source = plainSource(resource)
    }: MediaRequest
  ) => ({
    resource,
    wanted: isOfWhole === true ? undefined : ranges?.[0],
    ranges,
    ifRange,
    source,
    directives,
    accepted,
    isAlone,
    fresh
  })

  return MediaStream.of({
    isCached: (request) => {
      const { representation } = request.fresh
      return areCached(representation, requestedRanges(representation, request).ranges)
    },
    tryHit: (request) => {
      const entry = request.fresh
      const { representation } = entry
      const { isPartial, ranges } = requestedRanges(representation, request)
      const [range] = ranges
      if (ranges.length > 1) return undefined
      const body = range === undefined ? [] : inMemory(representation, range) ?? shortRead(representation, range)
      if (body === undefined) return undefined
      const status = {
        hit: true,
        ttl: ttlSeconds(entry.freshness, clock.currentTimeMillisUnsafe()),
        key: representation.resource,
        ...named
      }
      return { _tag: "Media", entry, range, body, isPartial, means: "fresh", status }
    },
    open: Effect.fnUntraced(function*(request) {
      const question = questionOf(request)
      const count = request.ranges?.length
      // Which representation the range is of is not known yet, so `If-Range` is asked about afterwards.
      const found = yield* lookup.find(count === 0 ? { ...question, wanted: FIRST_BYTE } : question)
      if (found._tag === "Uncacheable" && found.reason === "STATUS" && count !== undefined && count > 1) {
        // The first range may lie outside, and others not.
        const sized = yield* lookup.find({ ...question, wanted: FIRST_BYTE })
        if (sized._tag === "Current") return openedOf(sized, request)
      }
      // The viewer asked for more parts than the answer at hand has.
      const isOther = found._tag === "Uncacheable" && found.answer?.status === 206 && count !== 1
      return isOther ? { _tag: "Uncacheable", reason: found.reason } : openedOf(found, request)
    }),
    head: (request) =>
      Effect.map(lookup.head(questionOf(request)), (found) =>
        // It needs no bytes, so none have to be in the cache.
        openedOf(found._tag === "Current" ? { ...found, cacheOnly: false } : found, { ...request, ranges: undefined }))
  })
})
