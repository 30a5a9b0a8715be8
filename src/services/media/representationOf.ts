import { Effect, type Scope, Stream } from "effect"
import { randomUUID } from "node:crypto"
import { longestGuess } from "../../domain/Guess.ts"
import type { OriginError } from "../../domain/OriginError.ts"
import { fromHead, isReusable, isSingle, type Representation } from "../../domain/Representation.ts"
import type { Resource } from "../../domain/Resource.ts"
import type { Uncacheable } from "../../domain/rfc/Cacheability.ts"
import { freshnessOf, isFresh } from "../../domain/rfc/Freshness.ts"
import { matchesAny, ttlOf } from "../../domain/TtlRule.ts"
import { readShort } from "../../effects/readShort.ts"
import { CacheConfig } from "../config/CacheConfig.ts"
import type { FirstResponse } from "../origin/firstResponse.ts"
import type { OriginResponse } from "../origin/Origin.ts"
import type { Exchange } from "./Exchange.ts"

/** The longest body without a length that is read before it is sent on, in bytes. */
const MAX_MEASURED_BYTES = 64 * 1024

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
 * Makes the function that finds the representation that a response is of, or why it is uncacheable; with the response to use. A short body
 * without a length is measured first if the response is fresh, so that it can be stored. A stream without a length is passed on at once.
 */
export const makeRepresentationOf = Effect.gen(function*() {
  const { assumeUnchanged, ttl } = yield* CacheConfig

  return Effect.fnUntraced(function*(
    { request: { asker, method, resource } }: Exchange,
    { response, times }: FirstResponse,
    selected: Resource,
    chunkSize: number
  ): Effect.fn.Return<
    { readonly found: Representation | Uncacheable; readonly response: OriginResponse },
    OriginError,
    Scope.Scope
  > {
    const isAssumed = matchesAny(assumeUnchanged, resource.url)
    const transfer = method === "GET" ? randomUUID() : undefined
    const read = (response: OriginResponse, isMeasured = false) =>
      fromHead(selected, response, chunkSize, asker.credential !== "", { transfer, isMeasured, isAssumed })
    const stated = read(response)
    if (stated !== "NO_LENGTH" && (typeof stated === "string" || !isSingle(stated))) return { found: stated, response }
    const guess = longestGuess(response.status, resource.url, response.headers)
    const freshness = freshnessOf(response.headers, times, ttlOf(ttl, resource.url), guess)
    const isFreshNow = isFresh(freshness, times.received)
    if (stated !== "NO_LENGTH") return { found: isReusable(stated, isFreshNow) ? stated : "NO_VALIDATOR", response }
    if (method !== "GET" || !isFreshNow) return { found: stated, response }
    const known = yield* measured(response)
    return { found: read(known, true), response: known }
  })
})
