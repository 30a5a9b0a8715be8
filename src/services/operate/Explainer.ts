import { Clock, Context, Effect, Layer, Option } from "effect"
import { randomUUID } from "node:crypto"
import { longestGuess } from "../../domain/Guess.ts"
import { loggable, OriginTimeout } from "../../domain/OriginError.ts"
import { fromHead, isFile, isReusable } from "../../domain/Representation.ts"
import type { Resource } from "../../domain/Resource.ts"
import { isStorableStatus } from "../../domain/rfc/Cacheability.ts"
import { freshnessOf, isFresh } from "../../domain/rfc/Freshness.ts"
import { matchesAny, ttlOf } from "../../domain/TtlRule.ts"
import { CacheConfig } from "../config/CacheConfig.ts"
import { OriginConfig } from "../config/OriginConfig.ts"
import { DiskBreaker } from "../disk/DiskBreaker.ts"
import { makeAskOrigin, type Source } from "../origin/askOrigin.ts"
import type { Origin } from "../origin/Origin.ts"
import type { OriginResolver } from "../origin/OriginResolver.ts"
import { makeAddressing } from "./addressing.ts"
import {
  type Circumstances,
  explainCached,
  explainFailure,
  explainOffline,
  explainStorable,
  explainUncacheable,
  explainUnmeasured,
  type Explanation,
  notServed
} from "./explanations.ts"
import { Inventory } from "./Inventory.ts"

/** Explains why a resource is cached or not: from the cache, or else from the origin's response to HEAD, or GET without that. */
export class Explainer extends Context.Service<Explainer, {
  /** Explains `resource`, which an operator has written as `text`. */
  readonly why: (text: string, resource: Resource) => Effect.Effect<Explanation>
}>()("spillway/services/operate/Explainer") {
  static readonly layer: Layer.Layer<
    Explainer,
    never,
    CacheConfig | DiskBreaker | Origin | OriginConfig | OriginResolver | Inventory
  > = Layer.effect(Explainer, Effect.suspend(() => make))
}

/** How long the origin may take to respond. */
const DEADLINE = "10 seconds"

const make = Effect.gen(function*() {
  const clock = yield* Clock.Clock
  const config = yield* CacheConfig
  const { chunkSize, maxSize } = config
  const breaker = yield* DiskBreaker
  const { isServed, sourceOf } = yield* makeAddressing
  const askOrigin = yield* makeAskOrigin
  const { offline } = yield* OriginConfig
  const inventory = yield* Inventory
  const now = () => clock.currentTimeMillisUnsafe()
  const circumstances = (): Circumstances => ({
    now: now(),
    ttl: config.ttl,
    maxSize,
    unwritable: breaker.unwritable()
  })

  const explainOrigin = Effect.fnUntraced(function*(resource: Resource, source: Source) {
    const requested = now()
    const head = yield* askOrigin(source, { method: "HEAD", headers: {} })
    // Some origins have no HEAD. The scope ends the transfer of the body.
    const hasHead = head.status !== 405 && head.status !== 501
    const { headers, status } = hasHead ? head : yield* askOrigin(source, { method: "GET", headers: {} })
    const found = fromHead(resource, { headers, status }, chunkSize, false, {
      transfer: randomUUID(),
      isAssumed: matchesAny(config.assumeUnchanged, resource.url)
    })
    const isForFile = isFile(status)
    const times = { requested, received: now() }
    const guess = longestGuess(status, resource.url, headers)
    const freshness = freshnessOf(headers, times, isForFile ? ttlOf(config.ttl, resource.url) : undefined, guess)
    const isStorable = isFresh(freshness, times.received) && (isForFile || isStorableStatus(status, freshness.explicit))
    if (found === "NO_LENGTH" && isStorable) {
      return explainUnmeasured(circumstances(), freshness, headers, resource.url)
    }
    if (typeof found === "string") return explainUncacheable(circumstances(), isForFile ? found : "STATUS", status)
    return isReusable(found, isStorable)
      ? explainStorable(circumstances(), found, freshness, headers)
      : explainUncacheable(circumstances(), isForFile ? "NO_VALIDATOR" : "STATUS", status)
  }, Effect.scoped)

  return Explainer.of({
    why: Effect.fnUntraced(function*(text, resource) {
      if (!isServed(resource)) return notServed
      // If the disk fails, nothing is cached as far as viewers are concerned.
      const known = Option.flatten(yield* Effect.option(inventory.find(resource.url)))
      if (Option.isSome(known)) return explainCached(circumstances(), known.value)
      if (offline) return explainOffline(circumstances())
      return yield* explainOrigin(resource, sourceOf(text, resource, false)).pipe(
        Effect.timeoutOrElse({
          duration: DEADLINE,
          orElse: () => Effect.fail(new OriginTimeout({ url: loggable(resource.url), phase: "header" }))
        }),
        Effect.catch((error) => Effect.succeed(explainFailure(circumstances(), error)))
      )
    })
  })
})
