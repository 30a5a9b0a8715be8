import { Effect, Scope } from "effect"
import { roundUp } from "../../domain/Chunk.ts"
import { isTransient, loggable, type OriginError, OriginUnexpected } from "../../domain/OriginError.ts"
import { carriedRange, isFile, isSameVersion, isSingle, type Representation } from "../../domain/Representation.ts"
import type { Resource } from "../../domain/Resource.ts"
import { type ByteRange, resolve } from "../../domain/rfc/ByteRange.ts"
import { Bans } from "../cache/Bans.ts"
import { Catalog } from "../cache/Catalog.ts"
import { ChunkCache } from "../cache/ChunkCache.ts"
import { CacheConfig } from "../config/CacheConfig.ts"
import { FailedOrigins } from "../origin/FailedOrigins.ts"
import { carriedBytes, type FirstResponse, makeFirstResponse } from "../origin/firstResponse.ts"
import type { OriginResponse } from "../origin/Origin.ts"
import { mayRetry, pauseAfter } from "../origin/retry.ts"
import { Downloader } from "../transfer/Downloader.ts"
import { type Exchange, passOn, type Request } from "./Exchange.ts"
import type { Generations } from "./Generations.ts"
import { makeHeadResponse } from "./headResponse.ts"
import type { LookupResult, OriginExchange } from "./LookupResult.ts"
import { makeOtherResponse } from "./otherResponse.ts"
import { makeRepresentationOf } from "./representationOf.ts"
import { makeStoredResponse } from "./storedResponse.ts"
import { memoryKey, type StoredUse } from "./storedUse.ts"
import type * as UncacheableHints from "./UncacheableHints.ts"
import type { Measure, UnmeasuredResponses } from "./unmeasuredResponses.ts"
import { keyAt } from "./viewerStream.ts"

/** What is remembered of a resource besides what is stored. */
export interface Memories {
  readonly hints: ReturnType<typeof UncacheableHints.make>
  readonly unmeasured: UnmeasuredResponses
  readonly storedUse: StoredUse
  readonly generations: Generations
}

const unexpected = ({ url }: Resource, status: number, detail: string) =>
  new OriginUnexpected({ url: loggable(url), status, detail })

/** The part of `carried` that another node of a fleet wants of a whole file. The rest is for others to fetch. */
const ownPart = (
  carried: ByteRange,
  representation: Representation,
  { ranges, source, wanted }: Request
): ByteRange => {
  const [spec] = ranges ?? []
  if (source.peers?.from === undefined || wanted !== undefined || spec === undefined) return carried
  const part = isSingle(representation) ? undefined : resolve(spec, representation.size)
  if (part?.start !== carried.start) return carried
  return { start: carried.start, end: roundUp(part.end, representation.chunkSize, carried.end) }
}

/**
 * Asks the origin about a resource, and derives from its response what is known of the resource: one round trip, which also begins the
 * transfer of the wanted bytes. A response that is not stored is kept for the viewer whose request brought it.
 */
export const makeFetch = Effect.fnUntraced(function*({ generations, hints, storedUse, unmeasured }: Memories) {
  const config = yield* CacheConfig
  const bans = yield* Bans
  const cache = yield* ChunkCache
  const catalog = yield* Catalog
  const downloader = yield* Downloader
  const firstResponse = yield* makeFirstResponse
  const { confirm, isConditional, remember, staleFor } = storedUse
  const representationOf = yield* makeRepresentationOf
  const { besideFor, expireBeside, isProtected } = yield* makeStoredResponse
  const { comparedWeakly, described } = yield* makeHeadResponse(storedUse)
  const otherResponse = yield* makeOtherResponse({ storedUse, unmeasured })

  /** Begins the transfer of a response to a GET, which has bytes of `representation`. */
  const adopt = (exchange: Exchange, { response }: FirstResponse, representation: Representation): void => {
    const { request, scope } = exchange
    const { background = false, entry, ifRange, source, wanted } = request
    const { status } = response
    const carried = carriedBytes(response, representation.size, wanted)
    const bytes = carried && ownPart(carried, representation, request)
    // After a response with other bytes, the transfer asks for the wanted ones itself.
    if (bytes === undefined || bytes.end === bytes.start) return
    const isTied = entry === undefined && ifRange !== undefined
    const how = wanted === undefined || (isTied && status === 200) ? "none" : isTied ? "conditional" : "plain"
    const isRange = wanted !== undefined && isFile(status)
    const wantedFirst = isRange ? resolve(wanted, representation.size)?.start : bytes.start
    // Without a viewer, a transfer that nothing can continue goes on to the end.
    const first = background && isSingle(representation) ? representation.size - 1 : wantedFirst
    exchange.isHandedOver = downloader.adopt(representation, { response, scope, mode: how }, bytes, source, first)
  }

  /** Passes a response on if it must not supersede what others were given. */
  const passOnProtected = (
    exchange: Exchange,
    response: OriginResponse,
    selected: Resource
  ): Effect.Effect<LookupResult> | undefined =>
    isProtected(exchange.request, response.status, selected) ? passOn(exchange, "COOKIE", response) : undefined

  /** The response to a GET carries `found`: its transfer begins. */
  const fetched = (
    exchange: Exchange,
    answered: FirstResponse,
    found: Representation,
    selected: Resource
  ): Effect.Effect<LookupResult> => {
    const { asked, request: { accepted, asker, resource } } = exchange
    const { response, times } = answered
    const { headers, status } = response
    const standing = catalog.known(found.resource)?.representation
    const isOther = standing !== undefined && !isSameVersion(standing, found)
    const passed = isOther ? passOnProtected(exchange, response, selected) : undefined
    if (passed !== undefined) return passed
    if (isFile(status)) {
      hints.remove(memoryKey(resource, asker, accepted))
      catalog.choose(resource, headers, accepted)
    }
    unmeasured.release(selected.id)
    const stored = catalog.confirm(found, headers, times, asker.cookie)
    // Without a transfer, nothing else has the disk know an empty body.
    if (found.size === 0) cache.keep(stored.representation, keyAt(stored.representation, 0), new Uint8Array())
    adopt(exchange, answered, stored.representation)
    return Effect.succeed({ _tag: "Current", entry: stored, means: "fetched", asked: { ...asked, status } })
  }

  /** The response to a GET, with the body `shared`, is for those who wait for it. */
  const unstored = (
    { asked, request: { asker } }: Exchange,
    { response: { headers, status }, times }: FirstResponse,
    found: Representation,
    shared: Uint8Array
  ): LookupResult => {
    const entry = catalog.assess(found, headers, times, asker.cookie)
    return { _tag: "Current", entry, means: "fetched", asked: { ...asked, status }, body: shared }
  }

  /** The response to a GET has no length: its body is shared while it arrives. */
  const arriving = (
    exchange: Exchange,
    answered: FirstResponse,
    measure: Measure,
    selected: Resource
  ): Effect.Effect<LookupResult> => {
    const { asked, request } = exchange
    const { response } = answered
    const { status } = response
    const passed = passOnProtected(exchange, response, selected)
    if (passed !== undefined) return passed
    const tooLong = Effect.suspend(() => remember(request, "NO_LENGTH", response))
    const begun = unmeasured.begin(exchange, answered, measure, selected, tooLong)
    return Effect.succeed({ _tag: "Current", ...begun, means: "fetched", asked: { ...asked, status } })
  }

  /** `failed` has the origins whose short body broke off, and `failures` says how often that was. */
  const ask = Effect.fnUntraced(function*(
    exchange: Exchange,
    failed: FailedOrigins,
    failures = 0
  ): Effect.fn.Return<LookupResult, OriginError, Scope.Scope> {
    const { request } = exchange
    const { accepted, background = false, entry, ifRange, method, resource, source, wanted } = request
    const known = entry?.representation
    const chunkSize = known?.chunkSize ?? config.chunkSize
    const range = wanted && { spec: wanted, chunkSize, size: known?.size }
    const isPatient = staleFor(request, exchange.asked) === undefined
    const conditional = isConditional(request)
    const answered = yield* firstResponse(
      source,
      { method, accepted, wanted: range, ifRange, known, conditional, background, avoid: failed },
      isPatient
    )
    if (answered.response.hasLostPeer === true) exchange.asked = { ...exchange.asked, hasLostPeer: true }
    if (answered.confirmed !== undefined) return yield* confirm(exchange, answered, answered.confirmed, 304)
    const { headers, status } = answered.response
    if (status === 304) return yield* unexpected(resource, status, "a 304 to an unconditional request")
    const isForFile = isFile(status)
    const stale = isForFile ? undefined : yield* otherResponse(exchange, answered.response)
    if (stale !== undefined) return stale
    const variant = catalog.vary(resource, headers, source.fields)
    const selected = isForFile ? variant : besideFor(request, headers)
    const outcome = yield* Effect.result(representationOf(exchange, answered, selected, chunkSize))
    if (outcome._tag === "Failure") {
      // Nobody has a byte of it yet.
      const error = outcome.failure
      if (!isPatient || error._tag !== "OriginBodyFailed" || !mayRetry(error, failures + 1)) return yield* error
      failed.add(answered.response.server)
      yield* answered.discard
      yield* pauseAfter(error, failures + 1)
      return yield* ask(exchange, failed, failures + 1)
    }
    const { found, measure, response, shared } = outcome.success
    if (typeof found === "string") {
      const isUnreadable = status === 206 && carriedRange(response) === undefined
      if (isUnreadable) return yield* unexpected(resource, status, "another range than was asked for")
      // A HEAD may leave out fields that the response to a GET has, so nothing is concluded from it. An error may soon be over.
      if (method === "GET" && isForFile) yield* remember(request, found, response)
      const isWeak = method === "HEAD" && isForFile && (found === "NO_VALIDATOR" || found === "NO_LENGTH")
      const confirmed = isWeak ? comparedWeakly(exchange, answered, selected) : undefined
      if (confirmed !== undefined) return yield* confirmed
      return yield* passOn(exchange, isForFile ? found : "STATUS", response)
    }
    const next = { ...answered, response }
    if (shared !== undefined) return unstored(exchange, next, found, shared)
    if (isForFile) expireBeside(request)
    if (measure !== undefined) return yield* arriving(exchange, next, measure, selected)
    return yield* (method === "HEAD" ? described : fetched)(exchange, next, found, selected)
  })

  type Restore = Parameters<Parameters<typeof Effect.uninterruptibleMask>[0]>[0]

  /** Fetches in a scope of its own, and closes it unless the response is handed over. */
  const fetch = Effect.fnUntraced(function*(request: Request, restore: Restore) {
    const scope = yield* Scope.make()
    const asked: OriginExchange = { reason: request.reason, status: undefined }
    const afterBan = yield* bans.begin
    const exchange: Exchange = { request, asked, afterBan, scope, isHandedOver: false }
    const found = ask(exchange, new FailedOrigins()).pipe(
      Scope.provide(scope),
      Effect.catch((error) => {
        const stale = isTransient(error) ? staleFor(request, asked) : undefined
        return stale === undefined ? Effect.fail(error) : Effect.succeed(stale)
      })
    )
    const { resource } = request
    const onOutdated = Effect.suspend(() => {
      unmeasured.releaseFamily(resource)
      return catalog.invalidate(resource)
    })
    return yield* restore(generations.during(resource, found, onOutdated)).pipe(
      Effect.onExit((exit) => exchange.isHandedOver ? Effect.void : Scope.close(scope, exit))
    )
  })

  return (request: Request): Effect.Effect<LookupResult, OriginError> =>
    Effect.uninterruptibleMask((restore) => fetch(request, restore))
})
