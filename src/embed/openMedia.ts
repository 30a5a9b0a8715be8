import { Effect, type Scope, Stream } from "effect"
import { MediaRefused, NotInCache, type OpenError, RangeNotSatisfiable } from "../domain/OpenError.ts"
import { loggable, type OriginError, OriginUnexpected } from "../domain/OriginError.ts"
import type { Resource } from "../domain/Resource.ts"
import { type ContentRange, formatRange, parseContentRange, type RangeSpec, resolve } from "../domain/rfc/ByteRange.ts"
import { noCache, type RequestDirectives } from "../domain/rfc/CacheControl.ts"
import * as CacheStatus from "../domain/rfc/CacheStatus.ts"
import { endToEnd, type HeaderFields } from "../domain/rfc/HeaderFields.ts"
import { makeOwnQuestion } from "../services/fleet/peerQuestion.ts"
import { MediaStream } from "../services/media/MediaStream.ts"
import { cut } from "../services/media/trimmed.ts"
import { SourceListener } from "../services/observe/ActiveStreams.ts"
import { makeAskOrigin, type Source } from "../services/origin/askOrigin.ts"
import { type FetchOptions, LocalUrls } from "../services/origin/LocalUrls.ts"
import type { OriginResponse } from "../services/origin/Origin.ts"
import { OriginResolver } from "../services/origin/OriginResolver.ts"
import { makeOpenEvents, type OpenEvent, type OpenEvents } from "./openEvents.ts"

/**
 * The range to open, and how it is fetched.
 *
 * @since 0.1.0
 * @category options
 */
export interface OpenOptions extends FetchOptions {
  /**
   * Byte offsets, `end` exclusive. Without `end`, to the end of the file; `suffix` is so many bytes at the end of it; without a range, the
   * whole file. Clamped to the file.
   */
  readonly range?: OpenRange
  /** Sends no request to the origin: what isn't in the cache fails with `NotInCache` (`only-if-cached`, RFC 9111 §5.2.1.7). */
  readonly onlyIfCached?: boolean
}

/**
 * Which bytes to open.
 *
 * @since 0.1.0
 * @category options
 */
export type OpenRange =
  | { readonly start: number; readonly end?: number }
  | { readonly suffix: number }

/**
 * An opened stream, and what is known about the file.
 *
 * @since 0.1.0
 * @category models
 */
export interface OpenedMedia {
  /** The bytes of `stream`: `start` inclusive, `end` exclusive. `end` is `undefined` if the origin doesn't say. */
  readonly range: { readonly start: number; readonly end: number | undefined }
  /** The size of the whole file in bytes, if the origin says. */
  readonly size: number | undefined
  /** The origin's header fields, names in lower case, without `content-length`, `content-range` and hop-by-hop fields. */
  readonly headers: HeaderFields
  /** What the cache did, as the value of a `Cache-Status` field (RFC 9211). */
  readonly cacheStatus: string
  /** The bytes, in pieces of any length. It can be run once. The pieces belong to the cache: copy them before you change them. */
  readonly stream: Stream.Stream<Uint8Array, OriginError>
  /**
   * How far `stream` is, and where its bytes come from: an event whenever the source changes, after each MiB, and at the end. They end with the
   * stream. Events that nobody reads are dropped, the oldest first.
   */
  readonly events: Stream.Stream<OpenEvent>
}

const specOf = (range: OpenRange): RangeSpec => {
  if ("suffix" in range) return { _tag: "Suffix", length: range.suffix }
  const { end, start } = range
  return { _tag: "From", start, last: end === undefined ? undefined : end - 1 }
}

const isRange = (range: OpenRange): boolean => {
  if ("suffix" in range) return Number.isSafeInteger(range.suffix) && range.suffix > 0
  const { end, start } = range
  return Number.isSafeInteger(start) && start >= 0 && (end === undefined || (Number.isSafeInteger(end) && end > start))
}

/** What a request with `Cache-Control: only-if-cached` says. */
const onlyIfCached: RequestDirectives = { ...noCache, noCache: false, onlyIfCached: true }

/** What is opened, without its events. */
type Opened = Omit<OpenedMedia, "events">

const described = new Set(["content-length", "content-range", "set-cookie"])

/** Whether a part begins where the range does. */
const isStartOf = (spec: RangeSpec, { range, size }: ContentRange): boolean =>
  range.start === (spec._tag === "From" ? spec.start : size === undefined ? undefined : resolve(spec, size)?.start)

/** Opens a response whose bytes are not in the cache. */
const openUncached = (
  resource: Resource,
  { body, headers, status }: Pick<OriginResponse, "body" | "headers" | "status">,
  spec: RangeSpec | undefined,
  cacheStatus: CacheStatus.CacheStatus
): Effect.Effect<Opened, OriginUnexpected | RangeNotSatisfiable> => {
  const url = loggable(resource.url)
  const unexpected = (detail: string) => Effect.fail(new OriginUnexpected({ url, status, detail }))
  const opened = (range: OpenedMedia["range"], size: number | undefined, stream: OpenedMedia["stream"]) =>
    Effect.succeed({
      range,
      size,
      headers: endToEnd(headers, described),
      cacheStatus: CacheStatus.append(headers["cache-status"], cacheStatus),
      stream
    })
  if (status === 206) {
    const carried = parseContentRange(headers["content-range"])
    const isAsked = carried !== undefined && spec !== undefined && isStartOf(spec, carried)
    return isAsked ? opened(carried.range, carried.size, body) : unexpected("another range")
  }
  if (status === 416) return Effect.fail(new RangeNotSatisfiable({ url }))
  if (status !== 200) return unexpected("not a file")
  const size = headers["content-length"] === undefined ? undefined : Number(headers["content-length"])
  if (spec === undefined) return opened({ start: 0, end: size }, size, body)
  // The origin ignores the range and sends the whole file.
  if (size === undefined && spec._tag === "Suffix") {
    return unexpected("a file without a length, whose end can't be found")
  }
  const range = size === undefined && spec._tag === "From"
    ? { start: spec.start, end: spec.last === undefined ? undefined : spec.last + 1 }
    : resolve(spec, size!)
  if (range === undefined) return Effect.fail(new RangeNotSatisfiable({ url, size }))
  return opened(range, size, cut(body, range.start, (range.end ?? Number.POSITIVE_INFINITY) - range.start))
}

/** From what is opened, a URL or a path, to its resource and where that is. */
const makeFind = Effect.gen(function*() {
  const localUrls = yield* LocalUrls
  const resolver = yield* OriginResolver
  const questionOf = yield* makeOwnQuestion

  return (what: string, options: FetchOptions) => {
    if (!what.startsWith("/")) {
      return Effect.map(localUrls.name(what, options), ({ location, resource }) => ({
        resource,
        source: { fields: {}, target: what, locate: () => Effect.succeed(location) }
      }))
    }
    const wanted = { target: what, headers: {} }
    const resource = resolver.identify(wanted)
    if ("status" in resource) return Effect.fail(new MediaRefused({ url: loggable(what), reason: resource.reason }))
    const source: Source = {
      fields: {},
      target: what,
      ...questionOf(resource, what),
      locate: (refusal) => resolver.locate(wanted, resource, refusal)
    }
    return Effect.succeed({ resource, source })
  }
})

/** How a resource is opened. */
interface Attempt {
  readonly isAlone: boolean
  readonly directives: RequestDirectives | undefined
  readonly counted: OpenEvents["counted"]
}

const rangeField = (spec: RangeSpec): string =>
  spec._tag === "Suffix"
    ? `bytes=-${spec.length}`
    : formatRange(spec.start, spec.last === undefined ? undefined : spec.last + 1)

/** Opens a resource through the cache, or past it if it is uncacheable. */
const makeAttempt = Effect.gen(function*() {
  const media = yield* MediaStream
  const askOrigin = yield* makeAskOrigin

  return Effect.fnUntraced(function*(
    resource: Resource,
    source: Source,
    spec: RangeSpec | undefined,
    { counted, directives, isAlone }: Attempt
  ) {
    const opened = yield* media.open({ resource, source, ranges: spec && [spec], isAlone, directives })
    const url = loggable(resource.url)
    switch (opened._tag) {
      case "Media": {
        const { representation } = opened.entry
        const { status } = representation
        if (status !== undefined) return yield* new OriginUnexpected({ url, status, detail: "not a file" })
        const [part] = opened.parts
        if (part === undefined) return yield* new RangeNotSatisfiable({ url, size: representation.size })
        const bytes = yield* part.bytes
        const stream = bytes instanceof Uint8Array ? counted(Stream.succeed(bytes), "memory") : bytes
        if (opened.isUnmeasured) {
          const response = { status: 200, headers: representation.headers, body: stream }
          return yield* openUncached(resource, response, spec, opened.status)
        }
        return {
          range: part.range,
          size: representation.size,
          headers: endToEnd(representation.headers, described),
          cacheStatus: CacheStatus.append(representation.headers["cache-status"], opened.status),
          stream
        }
      }
      case "NotCached":
        return yield* new NotInCache({ url })
      case "Uncacheable": {
        const spare = opened.answer === undefined ? undefined : yield* opened.answer.take
        const headers: Record<string, string> = spec === undefined ? {} : { range: rangeField(spec) }
        const answer = spare ?? (yield* askOrigin(source, { method: "GET", headers }))
        const body = counted(answer.body, "passthrough", opened.reason)
        return yield* openUncached(resource, { ...answer, body }, spec, { fwd: "bypass", detail: opened.reason })
      }
    }
  })
})

/** `open` of `Spillway`. */
export const make = Effect.gen(function*() {
  const find = yield* makeFind
  const attempt = yield* makeAttempt

  return Effect.fnUntraced(function*(what: string | URL, options: OpenOptions = {}) {
    const { range } = options
    const text = what instanceof URL ? what.href : what
    if (range !== undefined && !isRange(range)) {
      return yield* new MediaRefused({
        url: loggable(text),
        reason: "start, end and suffix of a range must be whole numbers, end greater than start, and suffix not 0"
      })
    }
    const { resource, source } = yield* find(text, options)
    const { counted, events, report, until } = yield* makeOpenEvents
    const directives = options.onlyIfCached === true ? onlyIfCached : undefined
    const open = (isAlone = false) =>
      Effect.provideService(
        attempt(resource, source, range && specOf(range), { counted, directives, isAlone }),
        SourceListener,
        report
      )
    const opened = yield* open().pipe(
      // The change was noticed before the first byte, so the second attempt opens the new file.
      Effect.catchTag("RepresentationChanged", () => open()),
      // It may have shared another response of one transfer, which came too early for it.
      Effect.catchTag("RepresentationChanged", () => open(true))
    )
    return { ...opened, events, stream: until(opened.stream, opened.range.start) }
  }) satisfies (
    what: string | URL,
    options?: OpenOptions
  ) => Effect.Effect<OpenedMedia, OpenError, Scope.Scope>
})
