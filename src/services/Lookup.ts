import { Clock, Context, Effect, Layer, Option, Scope, Stream } from "effect"
import type { Cookies } from "effect/http"
import { type ByteRange, formatRange, parseContentRange, type RangeSpec, resolve } from "../domain/ByteRange.ts"
import { indexAt, roundUp } from "../domain/Chunk.ts"
import { parseCacheControl } from "../domain/Freshness.ts"
import type { HeaderFields } from "../domain/Headers.ts"
import { isTransient, type OriginError, OriginUnexpected } from "../domain/OriginError.ts"
import {
  fromHead,
  type NotStorable,
  type OriginHead,
  type Representation,
  validation
} from "../domain/Representation.ts"
import type { Resource } from "../domain/Resource.ts"
import { CacheConfig } from "./CacheConfig.ts"
import { Catalog, type Entry } from "./Catalog.ts"
import { ChunkCache } from "./ChunkCache.ts"
import { Downloader } from "./Downloader.ts"
import { Origin, type OriginResponse } from "./Origin.ts"
import * as SingleFlight from "./SingleFlight.ts"

/** How a representation was come by: `stale` without the origin's word, since it did not answer. */
export type Means = "fresh" | "validated" | "fetched" | "stale"

/** What a resource turned out to be. */
export type Found =
  | { readonly _tag: "Current"; readonly entry: Entry; readonly means: Means }
  /** The origin's answer is to be passed on as it is. */
  | {
    readonly _tag: "Final"
    readonly head: OriginHead
    readonly cookies: Cookies.Cookies
    readonly body: Uint8Array
  }
  /** The origin's answer is not for a shared cache: each viewer needs one of its own. */
  | { readonly _tag: "NotStorable"; readonly reason: NotStorable }

/**
 * Finds the current representation of a resource: from the `Catalog` while that is fresh, and else from the origin, in one
 * round trip that also starts the transfer of the bytes that are wanted. Requests for one resource at a time share it.
 */
export class Lookup extends Context.Service<Lookup, {
  /** `wanted` is the range that the viewer asked for, or `undefined` for everything. */
  readonly find: (resource: Resource, wanted: RangeSpec | undefined) => Effect.Effect<Found, OriginError>
  /** The same without a transfer. */
  readonly head: (resource: Resource) => Effect.Effect<Found, OriginError>
}>()("spillway/services/Lookup") {
  static readonly layer: Layer.Layer<Lookup, never, CacheConfig | Catalog | ChunkCache | Downloader | Origin> = Layer
    .effect(Lookup, Effect.suspend(() => make))
}

/** The largest answer other than 200 and 206 that is shared by those who wait for it, in bytes. */
const FINAL_BYTES = 64 * 1024

/** How long an answer is remembered to be not for a shared cache, in milliseconds, so that it costs one request only. */
const NOT_STORABLE_MILLIS = 60_000

/** How many such resources are remembered. */
const NOT_STORABLE_CAPACITY = 10_000

const make = Effect.gen(function*() {
  const config = yield* CacheConfig
  const catalog = yield* Catalog
  const cache = yield* ChunkCache
  const clock = yield* Clock.Clock
  const downloader = yield* Downloader
  const origin = yield* Origin
  const shared = SingleFlight.make<string, Found, OriginError>()
  const notStorable = new Map<string, { readonly reason: NotStorable; readonly until: number }>()

  const remember = (resource: Resource, reason: NotStorable): Found => {
    // A status belongs to the moment; the other reasons to the resource.
    if (reason !== "STATUS") {
      notStorable.delete(resource.id)
      notStorable.set(resource.id, { reason, until: clock.currentTimeMillisUnsafe() + NOT_STORABLE_MILLIS })
      const [oldest] = notStorable.keys()
      if (notStorable.size > NOT_STORABLE_CAPACITY && oldest !== undefined) notStorable.delete(oldest)
    }
    return { _tag: "NotStorable", reason }
  }

  /** Whether an answer says the same to everybody who waits for it, whatever range they asked for. */
  const isForAll = ({ headers, status }: OriginResponse): boolean => {
    const directives = parseCacheControl(headers["cache-control"])
    return status !== 416 && headers["set-cookie"] === undefined && !directives.has("private") &&
      !directives.has("no-store")
  }

  /** The answer with its body, when that is short, and may be shared. */
  const final = (response: OriginResponse, hasBody: boolean): Effect.Effect<Found, OriginError> => {
    const length = hasBody ? Number(response.headers["content-length"] ?? Number.NaN) : 0
    if (!isForAll(response) || !(length <= FINAL_BYTES)) {
      return Effect.succeed({ _tag: "NotStorable", reason: "STATUS" })
    }
    const body = hasBody ? Stream.mkUint8Array(response.body) : Effect.succeed(new Uint8Array())
    return Effect.map(body, (body): Found => ({ _tag: "Final", head: response, cookies: response.cookies, body }))
  }

  /** `known` where it is the same, so that there is one object for one representation. */
  const current = Effect.fnUntraced(function*(
    known: Representation | undefined,
    found: Representation,
    headers: HeaderFields
  ) {
    const representation = known?.id === found.id ? known : found
    return yield* catalog.confirm(representation, headers)
  })

  const notModified = Effect.fnUntraced(function*(known: Representation, headers: HeaderFields) {
    const entry = yield* catalog.confirm(known, { ...known.headers, ...headers })
    return { _tag: "Current", entry, means: "validated" } satisfies Found
  })

  /** The range that a first request asks for, rounded up to the end of a chunk, since whole chunks are kept. */
  const rangeField = (wanted: RangeSpec | undefined, known: Representation | undefined): string | undefined => {
    const chunkSize = known?.chunkSize ?? config.chunkSize
    if (wanted === undefined) return undefined
    if (wanted._tag === "Suffix") return `bytes=-${wanted.length}`
    const end = wanted.last === undefined ? undefined : roundUp(wanted.last + 1, chunkSize, Number.MAX_SAFE_INTEGER)
    return formatRange(wanted.start, end)
  }

  /** The bytes that a 200 or 206 carries, or `undefined` when it does not say, or they are not those wanted. */
  const carried = (
    response: OriginResponse,
    representation: Representation,
    wanted: RangeSpec | undefined
  ): ByteRange | undefined => {
    if (response.status === 200) return { start: 0, end: representation.size }
    const range = parseContentRange(response.headers["content-range"])?.range
    const expected = wanted === undefined
      ? { start: 0, end: representation.size }
      : resolve(wanted, representation.size)
    return range !== undefined && expected?.start === range.start ? range : undefined
  }

  const ask = (
    resource: Resource,
    entry: Entry | undefined,
    wanted: RangeSpec | undefined
  ): Effect.Effect<Found, OriginError> =>
    Effect.uninterruptibleMask((restore) =>
      Effect.gen(function*() {
        const known = entry?.representation
        const scope = yield* Scope.make()
        const range = rangeField(wanted, known)
        // With the first byte at hand, the origin need not send it again; without, its answer must bring it.
        const conditional = known !== undefined && hasFirst(known, wanted)
        const request = origin.request({
          method: "GET",
          url: resource.url,
          headers: { ...(range !== undefined && { range }), ...(conditional && validation(known)) }
        })
        let adopted = false
        const answer = Effect.gen(function*() {
          const response = yield* Scope.provide(request, scope)
          const { headers, status } = response
          if (status === 304 && conditional) return yield* notModified(known, headers)
          if (status !== 200 && status !== 206) return yield* final(response, true)
          const found = fromHead(resource, response, known?.chunkSize ?? config.chunkSize)
          if (typeof found === "string") return remember(resource, found)
          const bytes = carried(response, found, wanted)
          if (bytes === undefined) {
            return yield* new OriginUnexpected({
              url: resource.url,
              status,
              detail: "another range than was asked for"
            })
          }
          notStorable.delete(resource.id)
          const confirmed = yield* current(known, found, headers)
          if (bytes.end > bytes.start) {
            adopted = downloader.adopt(confirmed.representation, { response, scope }, bytes)
          }
          return { _tag: "Current", entry: confirmed, means: "fetched" } satisfies Found
        })
        return yield* restore(answer).pipe(
          Effect.onExit((exit) => adopted ? Effect.void : Scope.close(scope, exit))
        )
      })
    ).pipe(
      // An origin that cannot be asked does not make a cached file disappear, unless it forbade that.
      Effect.catchIf(
        (error) =>
          isTransient(error) && entry !== undefined && mayBeStale(entry) && hasFirst(entry.representation, wanted),
        () => Effect.succeed({ _tag: "Current", entry: entry!, means: "stale" } satisfies Found)
      )
    )

  const mayBeStale = ({ representation }: Entry): boolean => {
    const directives = parseCacheControl(representation.headers["cache-control"])
    return !["must-revalidate", "proxy-revalidate", "no-cache", "s-maxage"].some((name) => directives.has(name))
  }

  const hasFirst = (representation: Representation, wanted: RangeSpec | undefined): boolean => {
    const { chunkSize, id, resource, size } = representation
    const range = wanted === undefined ? { start: 0, end: size } : resolve(wanted, size)
    if (range === undefined || range.start === range.end) return true
    return cache.has({ resource, representation: id, index: indexAt(range.start, chunkSize) }) ||
      downloader.isRunning(representation, range.start)
  }

  const askHead = (resource: Resource, entry: Entry | undefined): Effect.Effect<Found, OriginError> =>
    Effect.scoped(Effect.gen(function*() {
      const known = entry?.representation
      const response = yield* origin.request({
        method: "HEAD",
        url: resource.url,
        headers: known === undefined ? {} : validation(known)
      })
      const { headers, status } = response
      if (status === 304 && known !== undefined) return yield* notModified(known, headers)
      if (status !== 200) return yield* final(response, false)
      const found = fromHead(resource, response, known?.chunkSize ?? config.chunkSize)
      // A HEAD may leave out what the answer to a GET has, so nothing is concluded for that.
      if (typeof found === "string") return { _tag: "NotStorable", reason: found } satisfies Found
      const confirmed = yield* current(known, found, headers)
      return { _tag: "Current", entry: confirmed, means: "fetched" } satisfies Found
    })).pipe(
      Effect.catchIf(
        (error) => isTransient(error) && entry !== undefined && mayBeStale(entry),
        () => Effect.succeed({ _tag: "Current", entry: entry!, means: "stale" } satisfies Found)
      )
    )

  const find = Effect.fnUntraced(function*(
    flight: string,
    resource: Resource,
    work: (entry: Entry | undefined) => Effect.Effect<Found, OriginError>
  ) {
    const entry = Option.getOrUndefined(yield* catalog.get(resource))
    const now = clock.currentTimeMillisUnsafe()
    if (entry !== undefined && now < entry.freshUntil) return { _tag: "Current", entry, means: "fresh" } satisfies Found
    const refused = notStorable.get(resource.id)
    if (refused !== undefined && now < refused.until) {
      return { _tag: "NotStorable", reason: refused.reason } satisfies Found
    }
    return yield* shared(flight, work(entry))
  })

  return Lookup.of({
    find: (resource, wanted) => find(resource.id, resource, (entry) => ask(resource, entry, wanted)),
    head: (resource) => find(`HEAD ${resource.id}`, resource, (entry) => askHead(resource, entry))
  })
})
