import { Effect, type Scope, Stream } from "effect"
import { randomUUID } from "node:crypto"
import { longestGuess } from "../../domain/Guess.ts"
import type { OriginError } from "../../domain/OriginError.ts"
import { fromHead, isFile, isReusable, isSingle, type Representation } from "../../domain/Representation.ts"
import type { Resource } from "../../domain/Resource.ts"
import { isStorableStatus, type Uncacheable } from "../../domain/rfc/Cacheability.ts"
import { freshnessOf, isFresh } from "../../domain/rfc/Freshness.ts"
import { matchesAny, ttlOf } from "../../domain/TtlRule.ts"
import { readShort } from "../../effects/readShort.ts"
import { Catalog } from "../cache/Catalog.ts"
import { CacheConfig } from "../config/CacheConfig.ts"
import type { FirstResponse } from "../origin/firstResponse.ts"
import type { OriginResponse } from "../origin/Origin.ts"
import type { Exchange } from "./Exchange.ts"
import type { Measure } from "./unmeasuredResponses.ts"

/** The longest body without a length that is read before it is sent on, in bytes. */
const MAX_MEASURED_BYTES = 64 * 1024

/** The longest body that viewers who wait for it share although it is not stored, in bytes. */
const MAX_SHARED_BYTES = 64 * 1024

/** What a response is of, or why it is uncacheable; with the response to use. */
interface Described {
  readonly found: Representation | Uncacheable
  readonly response: OriginResponse
  /** The body of a response that is shared by those who wait for it, and not stored. */
  readonly shared?: Uint8Array
  /** Only the end of the body tells its length, and then it is this representation. */
  readonly measure?: Measure
}

/** A response without a length, with the length of its body if that has come to its end within `MAX_MEASURED_BYTES`. */
const measured = Effect.fnUntraced(function*(
  response: OriginResponse
): Effect.fn.Return<OriginResponse, OriginError, Scope.Scope> {
  const body = yield* readShort(response.body, MAX_MEASURED_BYTES)
  if (!(body instanceof Uint8Array)) return { ...response, body }
  const headers = { ...response.headers, "content-length": String(body.length) }
  return { ...response, headers, body: body.length === 0 ? Stream.empty : Stream.succeed(body) }
})

/**
 * Makes the function that finds the representation that a response is of. If a fresh response has no length, its body is measured first, in
 * case it is short. A stream without a length that is not fresh is passed on at once. A short redirect or error that is not to be
 * stored is shared by those who wait for it, so that an origin in trouble is not asked once for each viewer.
 */
export const makeRepresentationOf = Effect.gen(function*() {
  const config = yield* CacheConfig
  const catalog = yield* Catalog

  return Effect.fnUntraced(function*(
    { afterBan, request: { accepted, asker, method, resource } }: Exchange,
    { response, times }: FirstResponse,
    selected: Resource,
    chunkSize: number
  ): Effect.fn.Return<Described, OriginError, Scope.Scope> {
    const { headers, status } = response
    const isForFile = isFile(status)
    // A 416 is about the range of one request, and a redirect that sets a cookie may be the end of a login.
    const isForOne = method === "HEAD" || status === 416 || headers["set-cookie"] !== undefined
    if (!isForFile && isForOne) return { found: "STATUS", response }
    const isAssumed = matchesAny(config.assumeUnchanged, resource.url)
    const selectedBy = catalog.selectedBy(resource, response.headers, accepted)
    const transfer = method === "GET" ? randomUUID() : undefined
    const read = (response: OriginResponse, isMeasured = false) =>
      fromHead(selected, response, chunkSize, asker.credential !== "", {
        accepted,
        afterBan,
        selectedBy,
        transfer,
        isMeasured,
        isAssumed
      })
    const stated = read(response)
    const hasLength = stated !== "NO_LENGTH"
    if (hasLength && (typeof stated === "string" || !isSingle(stated))) return { found: stated, response }
    const rule = isForFile ? ttlOf(config.ttl, resource.url) : undefined
    const freshness = freshnessOf(headers, times, rule, longestGuess(status, resource.url, headers))
    const isStorable = isFresh(freshness, times.received) && (isForFile || isStorableStatus(status, freshness.explicit))
    if (hasLength && isReusable(stated, isStorable)) return { found: stated, response }
    if (isForFile && hasLength) return { found: "NO_VALIDATOR", response }
    if (isForFile && (method === "HEAD" || !isStorable)) return { found: stated, response }
    const known = hasLength ? response : yield* measured(response)
    if (isStorable && !hasLength && known.headers["content-length"] === undefined) {
      const measure = (length: number) =>
        read({ ...known, headers: { ...known.headers, "content-length": String(length) } }, true) as Representation
      return { found: measure(0), response: known, measure }
    }
    const found = read(known, !hasLength)
    if (isStorable || typeof found === "string") return { found, response: known }
    const shared = yield* readShort(known.body, MAX_SHARED_BYTES)
    return shared instanceof Uint8Array
      ? { found, response: known, shared }
      : { found: "STATUS", response: { ...known, body: shared } }
  })
})
