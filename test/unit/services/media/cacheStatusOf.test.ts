import { assert, describe, it } from "@effect/vitest"
import { Audience } from "../../../../src/domain/Audience.ts"
import { Representation } from "../../../../src/domain/Representation.ts"
import { type CacheStatus, format } from "../../../../src/domain/rfc/CacheStatus.ts"
import { cacheStatusOf } from "../../../../src/services/media/cacheStatusOf.ts"
import type { Current } from "../../../../src/services/media/LookupResult.ts"

const NOW = 1_000_000

const freshness = {
  generatedAt: NOW,
  lifetime: 5000,
  staleWhileRevalidate: 0,
  staleIfError: undefined,
  mustRevalidate: false,
  explicit: true
}

const representation = new Representation({
  url: "http://origin.test/a",
  resource: "KEY",
  id: "ID",
  size: 10,
  chunkSize: 65536,
  etag: "\"1\"",
  headers: {},
  generatedAt: NOW
})

const current = (some: Partial<Current>): Current => ({
  _tag: "Current",
  entry: { representation, freshness, audience: Audience.nobody, isSharable: true, isShared: true },
  means: "fresh",
  ...some
})

const HIT: CacheStatus = { hit: true }
const FULL: CacheStatus = { fwd: "bypass", detail: "DISK_FULL" }

const cases: ReadonlyArray<readonly [Partial<Current>, CacheStatus, boolean, string]> = [
  [{ means: "fresh" }, HIT, true, "hit"],
  [{ means: "fresh" }, FULL, false, "fwd=bypass; detail=DISK_FULL"],
  [{ means: "revalidating" }, HIT, true, "hit; detail=REVALIDATING"],
  [{ means: "revalidating" }, FULL, false, "fwd=bypass; detail=DISK_FULL"],
  [{ means: "validated", asked: { reason: "stale", status: 304 } }, HIT, true, "fwd=stale; fwd-status=304"],
  [
    { means: "validated", asked: { reason: "stale", status: 304 }, collapsed: true },
    HIT,
    true,
    "fwd=stale; fwd-status=304; collapsed"
  ],
  [{ means: "described", asked: { reason: "uri-miss", status: 200 } }, HIT, true, "fwd=uri-miss; fwd-status=200"],
  [{ means: "fetched", asked: { reason: "uri-miss", status: 206 } }, HIT, true, "fwd=uri-miss; fwd-status=206; stored"],
  [
    { means: "fetched", asked: { reason: "uri-miss", status: 206, hasLostPeer: true } },
    HIT,
    true,
    "fwd=uri-miss; fwd-status=206; stored; detail=PEER_LOST"
  ],
  [
    { means: "validated", asked: { reason: "stale", status: 304, hasLostPeer: true } },
    HIT,
    true,
    "fwd=stale; fwd-status=304; detail=PEER_LOST"
  ],
  [{ means: "fetched", asked: { reason: "uri-miss", status: 206 } }, FULL, false, "fwd=bypass; detail=DISK_FULL"],
  [{ means: "fetched", asked: { reason: "request", status: 200 } }, FULL, false, "fwd=request; fwd-status=200"],
  [{ means: "stale" }, HIT, true, "hit; detail=OFFLINE"],
  [
    { means: "stale", asked: { reason: "stale", status: 503 } },
    HIT,
    true,
    "fwd=stale; fwd-status=503; detail=ORIGIN_ERROR"
  ],
  [{ means: "stale", asked: { reason: "stale", status: undefined } }, HIT, true, "hit; detail=ORIGIN_UNREACHABLE"],
  [
    { means: "stale", asked: { reason: "stale", status: undefined } },
    { fwd: "miss" },
    true,
    "fwd=stale; detail=ORIGIN_UNREACHABLE"
  ]
]

describe("the Cache-Status of a representation (RFC 9211)", () => {
  it.each(cases)("of %o with %o, storing: %s", (some, transfer, isStoring, expected) => {
    const { key, ttl, ...status } = cacheStatusOf(current(some), transfer, { now: NOW, isStoring })
    assert.strictEqual(format(status), `spillway; ${expected}`)
    assert.deepStrictEqual([key, ttl], ["KEY", 5])
  })
})
