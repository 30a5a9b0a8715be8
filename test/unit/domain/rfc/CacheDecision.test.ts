import { assert, describe, it } from "@effect/vitest"
import { requestDirectives } from "../../../../src/domain/rfc/CacheControl.ts"
import { type CacheFacts, decide, type KnownRepresentation } from "../../../../src/domain/rfc/CacheDecision.ts"
import type { Freshness } from "../../../../src/domain/rfc/Freshness.ts"

const NOW = 1_000_000
const LIFETIME = 60_000

const aged = (age: number, staleWhileRevalidate = 0): Freshness => ({
  generatedAt: NOW - age,
  lifetime: LIFETIME,
  staleWhileRevalidate,
  staleIfError: undefined,
  mustRevalidate: false,
  explicit: true
})

const FRESH = aged(0)
const STALE = aged(LIFETIME)

const shared = (freshness: Freshness): KnownRepresentation => ({
  canDeliver: true,
  freshness,
  freshnessForViewer: freshness,
  freshnessForAnonymous: freshness,
  isSharable: true,
  isChosen: true
})

const facts = (some: Partial<CacheFacts>): CacheFacts => ({
  representation: undefined,
  uncacheable: undefined,
  varies: false,
  hasCredential: false,
  directives: undefined,
  isOffline: false,
  now: NOW,
  ...some
})

const directives = (value: string) => requestDirectives({ "cache-control": value })
const onlyIfCached = directives("only-if-cached")

/** A representation that the origin has confirmed for other cookies than the viewer's. */
const ofOthers = (freshness: Freshness): KnownRepresentation => ({
  ...shared(freshness),
  freshnessForViewer: undefined,
  freshnessForAnonymous: undefined
})

const cases: ReadonlyArray<readonly [string, Partial<CacheFacts>, string]> = [
  ["nothing is known", {}, "AskOrigin uri-miss"],
  ["nothing is known of the variant", { varies: true }, "AskOrigin vary-miss"],
  ["it is fresh", { representation: shared(FRESH) }, "Fresh"],
  ["it is fresh, offline", { representation: shared(FRESH), isOffline: true }, "Fresh"],
  ["it is stale", { representation: shared(STALE) }, "AskOrigin stale"],
  ["it is fresh, but the request says no-cache", {
    representation: shared(FRESH),
    directives: directives("no-cache")
  }, "AskOrigin request"],
  ["it is fresh for others", { representation: ofOthers(FRESH) }, "AskOrigin request"],
  ["it is stale for others", { representation: ofOthers(STALE) }, "AskOrigin stale"],
  ["it is stale, and the request says max-stale", {
    representation: shared(STALE),
    directives: directives("max-stale=10")
  }, "Fresh"],
  ["it is stale within stale-while-revalidate", {
    representation: shared(aged(LIFETIME + 1, 10_000))
  }, "RevalidateBehind stale"],
  ["it is stale beyond stale-while-revalidate", {
    representation: shared(aged(LIFETIME + 10_000, 10_000))
  }, "AskOrigin stale"],
  ["it is fresh, and lacks the wanted bytes", {
    representation: { ...shared(FRESH), canDeliver: false }
  }, "AskOrigin partial"],
  ["it is stale within stale-while-revalidate, and lacks the wanted bytes", {
    representation: { ...shared(aged(LIFETIME + 1, 10_000)), canDeliver: false }
  }, "AskOrigin partial"],
  ["it lacks the wanted bytes, offline", {
    representation: { ...shared(FRESH), canDeliver: false },
    isOffline: true
  }, "NotCached"],
  ["it lacks the wanted bytes, and the request must not have it", {
    representation: { ...shared(FRESH), canDeliver: false, isSharable: false },
    hasCredential: true
  }, "Uncacheable AUTHORIZATION"],
  ["it is stale, offline", { representation: shared(STALE), isOffline: true }, "Offline"],
  ["it is of others, offline", { representation: ofOthers(FRESH), isOffline: true }, "NotCached"],
  ["only viewers without cookies have it, offline", {
    representation: { ...ofOthers(STALE), freshnessForAnonymous: STALE },
    isOffline: true
  }, "Offline"],
  ["nothing is known, offline", { isOffline: true }, "NotCached"],
  ["nothing is known, and the request says only-if-cached", { directives: onlyIfCached }, "NotCached"],
  ["it is stale, and the request says only-if-cached", {
    representation: shared(STALE),
    directives: onlyIfCached
  }, "NotCached"],
  ["the last response was uncacheable", { uncacheable: "PRIVATE" }, "Uncacheable PRIVATE"],
  ["the last response was uncacheable, only-if-cached", {
    uncacheable: "PRIVATE",
    directives: onlyIfCached
  }, "NotCached"],
  ["it is not for requests with credentials", {
    representation: { ...shared(FRESH), isSharable: false },
    hasCredential: true
  }, "Uncacheable AUTHORIZATION"],
  ["it is not for requests with credentials, offline", {
    representation: { ...shared(FRESH), isSharable: false },
    hasCredential: true,
    isOffline: true
  }, "NotCached"],
  ["the request has credentials, and it may answer those", {
    representation: shared(FRESH),
    hasCredential: true
  }, "Fresh"]
]

describe("decide (RFC 9111 §4)", () => {
  it.each(cases)("when %s: %o", (_, some, expected) => {
    const { _tag, ...rest } = decide(facts(some))
    assert.strictEqual([_tag, ...Object.values(rest)].join(" "), expected)
  })
})
