import { Effect, type Scope, Stream } from "effect"
import { MediaRefused, NotInCache, type OpenError, RangeNotSatisfiable } from "../domain/OpenError.ts"
import { loggable, type OriginError, OriginUnexpected } from "../domain/OriginError.ts"
import type { Resource } from "../domain/Resource.ts"
import { formatRange, parseContentRange, type RangeSpec, resolve } from "../domain/rfc/ByteRange.ts"
import * as CacheStatus from "../domain/rfc/CacheStatus.ts"
import { endToEnd, type HeaderFields } from "../domain/rfc/HeaderFields.ts"
import { makeOwnQuestion } from "../services/fleet/peerQuestion.ts"
import { MediaStream } from "../services/media/MediaStream.ts"
import { cut } from "../services/media/trimmed.ts"
import { makeAskOrigin, type Source } from "../services/origin/askOrigin.ts"
import { type FetchOptions, LocalUrls } from "../services/origin/LocalUrls.ts"
import type { OriginResponse } from "../services/origin/Origin.ts"
import { OriginResolver } from "../services/origin/OriginResolver.ts"

/** The range to open, and how it is fetched. */
export interface OpenOptions extends FetchOptions {
  /** Byte offsets, `end` exclusive. Without `end`, to the end of the file; without a range, the whole file. Clamped to the file. */
  readonly range?: { readonly start: number; readonly end?: number }
}

/** An opened stream, and what is known about the file. */
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
}

const specOf = ({ end, start }: { readonly start: number; readonly end?: number }): RangeSpec => ({
  _tag: "From",
  start,
  last: end === undefined ? undefined : end - 1
})

const isRange = ({ end, start }: { readonly start: number; readonly end?: number }): boolean =>
  Number.isSafeInteger(start) && start >= 0 && (end === undefined || (Number.isSafeInteger(end) && end > start))

const described = new Set(["content-length", "content-range", "set-cookie"])

/** Opens a response whose bytes are not in the cache. */
const openUncached = (
  resource: Resource,
  { body, headers, status }: Pick<OriginResponse, "body" | "headers" | "status">,
  spec: RangeSpec | undefined,
  cacheStatus: CacheStatus.CacheStatus
): Effect.Effect<OpenedMedia, OriginUnexpected | RangeNotSatisfiable> => {
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
    const isAsked = carried !== undefined && spec?._tag === "From" && carried.range.start === spec.start
    return isAsked ? opened(carried.range, carried.size, body) : unexpected("another range")
  }
  if (status === 416) return Effect.fail(new RangeNotSatisfiable({ url }))
  if (status !== 200) return unexpected("not a file")
  const size = headers["content-length"] === undefined ? undefined : Number(headers["content-length"])
  if (spec?._tag !== "From") return opened({ start: 0, end: size }, size, body)
  // The origin ignores the range and sends the whole file.
  const range = size === undefined
    ? { start: spec.start, end: spec.last === undefined ? undefined : spec.last + 1 }
    : resolve(spec, size)
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

/** Opens a resource through the cache, or past it if it is uncacheable. */
const makeAttempt = Effect.gen(function*() {
  const media = yield* MediaStream
  const askOrigin = yield* makeAskOrigin

  return Effect.fnUntraced(function*(
    resource: Resource,
    source: Source,
    spec: RangeSpec | undefined,
    isAlone: boolean
  ) {
    const opened = yield* media.open({ resource, source, ranges: spec && [spec], isAlone })
    const url = loggable(resource.url)
    switch (opened._tag) {
      case "Media": {
        const { representation } = opened.entry
        const { status } = representation
        if (status !== undefined) return yield* new OriginUnexpected({ url, status, detail: "not a file" })
        const [part] = opened.parts
        if (part === undefined) return yield* new RangeNotSatisfiable({ url, size: representation.size })
        const bytes = yield* part.bytes
        const stream = bytes instanceof Uint8Array ? Stream.succeed(bytes) : bytes
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
        const headers: Record<string, string> = spec?._tag === "From"
          ? { range: formatRange(spec.start, spec.last === undefined ? undefined : spec.last + 1) }
          : {}
        const answer = spare ?? (yield* askOrigin(source, { method: "GET", headers }))
        return yield* openUncached(resource, answer, spec, { fwd: "bypass", detail: opened.reason })
      }
    }
  })
})

/** `open` of `Spillway`. */
export const make = Effect.gen(function*() {
  const find = yield* makeFind
  const attempt = yield* makeAttempt

  return Effect.fnUntraced(function*(what: string, options: OpenOptions = {}) {
    const { range } = options
    if (range !== undefined && !isRange(range)) {
      return yield* new MediaRefused({
        url: loggable(what),
        reason: "start and end of a range must be whole numbers, and end greater than start"
      })
    }
    const { resource, source } = yield* find(what, options)
    const open = (isAlone = false) => attempt(resource, source, range && specOf(range), isAlone)
    return yield* open().pipe(
      // The change was noticed before the first byte, so the second attempt opens the new file.
      Effect.catchTag("RepresentationChanged", () => open()),
      // It may have shared another response of one transfer, which came too early for it.
      Effect.catchTag("RepresentationChanged", () => open(true))
    )
  }) satisfies (
    what: string,
    options?: OpenOptions
  ) => Effect.Effect<OpenedMedia, OpenError, Scope.Scope>
})
