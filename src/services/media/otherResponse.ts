import { Clock, Effect, type Scope } from "effect"
import { ANONYMOUS } from "../../domain/Asker.ts"
import { longestGuess } from "../../domain/Guess.ts"
import type { OriginError } from "../../domain/OriginError.ts"
import {
  isForAnyCookie,
  isHeuristicallyCacheable,
  isOfTheRequest,
  varyNames,
  whyUncacheable
} from "../../domain/rfc/Cacheability.ts"
import { freshnessOf, isFresh } from "../../domain/rfc/Freshness.ts"
import { readShort as readUpTo } from "../../effects/readShort.ts"
import { Catalog } from "../cache/Catalog.ts"
import type { FirstResponse } from "../origin/firstResponse.ts"
import type { OriginResponse } from "../origin/Origin.ts"
import { type Exchange, passOn, type Request } from "./Exchange.ts"
import type { Final, LookupResult, OriginExchange } from "./LookupResult.ts"
import type * as ResponseCache from "./ResponseCache.ts"
import type { StoredUse } from "./storedUse.ts"

/** The largest response without a representation that waiting viewers share, in bytes. */
const MAX_SHARED_BYTES = 64 * 1024

const isServerError = (status: number): boolean => status === 500 || status === 502 || status === 503 || status === 504

/** Whether a response is the same for every viewer who waits for it, with any range. */
const isForAll = ({ headers, status }: OriginResponse): boolean =>
  status !== 416 && headers["set-cookie"] === undefined && whyUncacheable(status, headers, false) === undefined

/** Whether a status refuses a file to the viewer, or sends the viewer elsewhere. */
const isRefusal = (status: number): boolean =>
  status >= 300 && status < 500 && status !== 416 && !isOfTheRequest(status)

/** Makes results of responses without a representation, such as redirects and errors. */
export const makeOtherResponse = Effect.fnUntraced(function*(
  answers: ReturnType<typeof ResponseCache.make>,
  { staleFor, withdraw }: StoredUse
) {
  const catalog = yield* Catalog
  const clock = yield* Clock.Clock

  /**
   * Reads a response if it is short and may be shared. It is stored for a while if the origin lets a cache store it. Any other response is
   * returned as it is, to be passed on.
   */
  const readShort = Effect.fnUntraced(function*(
    { asker, method, resource }: Request,
    { response, times }: FirstResponse,
    asked: OriginExchange
  ): Effect.fn.Return<Final | OriginResponse, OriginError, Scope.Scope> {
    const { headers, status } = response
    const hasBody = method === "GET"
    const isLong = hasBody && Number(headers["content-length"] ?? 0) > MAX_SHARED_BYTES
    if (isLong || !isForAll(response)) return response
    const body = hasBody ? yield* readUpTo(response.body, MAX_SHARED_BYTES) : new Uint8Array()
    if (!(body instanceof Uint8Array)) return { ...response, body }
    const length = body.length > 0 ? { "content-length": String(body.length) } : {}
    const answer = { status, headers: { ...headers, ...length }, body }
    const freshness = freshnessOf(headers, times, undefined, longestGuess(status, resource.url, headers))
    const isForAnonymous = asker.credential === "" && (asker.cookie === ANONYMOUS || isForAnyCookie(headers))
    const mayStore = hasBody && isForAnonymous && varyNames(headers).length === 0 &&
      (isHeuristicallyCacheable(status) ||
        (freshness.explicit && !isServerError(status) && !isOfTheRequest(status)))
    const stored = mayStore && isFresh(freshness, clock.currentTimeMillisUnsafe())
    if (stored) answers.put(resource, answer, freshness)
    return { _tag: "Final", answer, asked: { ...asked, status }, stored }
  })

  /** A response other than 200, 206 and 304. */
  return Effect.fnUntraced(function*(
    exchange: Exchange,
    answered: FirstResponse
  ): Effect.fn.Return<LookupResult, OriginError, Scope.Scope> {
    const { asked, request } = exchange
    const { asker, stored } = request
    const { status } = answered.response
    // A response of 5xx is as good as none (RFC 9111 §4.3.3).
    const stale = isServerError(status) ? staleFor(request, { ...asked, status }) : undefined
    if (stale !== undefined) return stale
    // A 404 or 410 is final: don't serve the old copy even if the origin fails later. Nor to a viewer who was refused it.
    if (stored !== undefined && (status === 404 || status === 410)) yield* withdraw(request)
    else if (stored !== undefined && isRefusal(status)) catalog.exclude(stored.representation, asker.cookie)
    const found = yield* readShort(request, answered, asked)
    return "_tag" in found ? found : yield* passOn(exchange, "STATUS", found)
  })
})
