import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"
import { type RequestDirectives, requestDirectives } from "../../../../src/domain/rfc/CacheControl.ts"
import {
  age,
  type Freshness,
  freshnessOf,
  HEURISTIC_MILLIS,
  IMMUTABLE_MILLIS,
  isFresh,
  mayRevalidateBehind,
  mayServeStale,
  type Ttl,
  ttlSeconds
} from "../../../../src/domain/rfc/Freshness.ts"
import type { HeaderFields } from "../../../../src/domain/rfc/HeaderFields.ts"

const NOW = Date.UTC(2030, 0, 1, 12, 0, 0)
const date = (milliseconds: number) => new Date(NOW + milliseconds).toUTCString()

const SECOND = 1000
const HOUR = 3600 * SECOND
const DAY = 24 * HOUR

const times = { requested: NOW, received: NOW }

describe("freshnessOf: lifetime", () => {
  const cases: ReadonlyArray<readonly [string, HeaderFields, number, boolean]> = [
    ["§4.2.1 nothing said", {}, 0, false],
    ["§4.2.1 max-age", { "cache-control": "max-age=60" }, 60 * SECOND, true],
    ["§4.2.1 max-age=0", { "cache-control": "max-age=0" }, 0, true],
    ["§4.2.1 s-maxage before max-age", { "cache-control": "max-age=60, s-maxage=10" }, 10 * SECOND, true],
    ["§4.2.1 s-maxage=0 before max-age", { "cache-control": "s-maxage=0, max-age=60" }, 0, true],
    ["§5.3 max-age before Expires", { "cache-control": "max-age=5", "expires": date(HOUR) }, 5 * SECOND, true],
    ["§5.3 max-age before an invalid Expires", { "cache-control": "max-age=5", "expires": "0" }, 5 * SECOND, true],
    ["§5.3 s-maxage before Expires", { "cache-control": "s-maxage=5", "expires": date(HOUR) }, 5 * SECOND, true],
    ["§4.2.1 Expires less Date", { "expires": date(HOUR), "date": date(-HOUR) }, 2 * HOUR, true],
    ["§4.2.1 Expires without Date", { "expires": date(HOUR) }, HOUR, true],
    ["§4.2.1 Expires with an invalid Date", { "expires": date(HOUR), "date": "yesterday" }, HOUR, true],
    ["§4.2.1 Expires in the past", { "expires": date(-HOUR), "date": date(0) }, 0, true],
    ["§5.3 Expires: 0", { "expires": "0", "date": date(0) }, 0, true],
    ["§5.3 Expires: -1", { "expires": "-1" }, 0, true],
    ["§5.3 Expires without a value", { "expires": "" }, 0, true],
    ["§4.2 Expires in another zone", { "expires": "Wed, 02 Jan 2030 12:00:00 EST" }, 0, true],
    ["§4.2 Expires in any case", { "expires": date(HOUR).toLowerCase(), "date": date(0) }, HOUR, true],
    ["§4.2.1 several Expires", { "expires": `${date(HOUR)}, ${date(2 * HOUR)}` }, 0, true],
    ["§4.2.1 several max-age", { "cache-control": "max-age=5, max-age=60" }, 5 * SECOND, true],
    ["§4.2.1 invalid max-age", { "cache-control": "max-age=soon", "expires": date(HOUR) }, 0, true],
    ["§4.2.1 max-age without argument", { "cache-control": "max-age", "expires": date(HOUR) }, 0, true],
    ["§4.2.1 negative max-age", { "cache-control": "max-age=-1" }, 0, true],
    ["§4.2.1 fractional max-age", { "cache-control": "max-age=1.5" }, 0, true],
    ["§4.2.1 invalid s-maxage before max-age", { "cache-control": "s-maxage=x, max-age=60" }, 0, true],
    ["§1.2.2 huge max-age", { "cache-control": "max-age=99999999999999999999" }, 2 ** 31 * SECOND, true],
    ["§5.2 quoted max-age", { "cache-control": "max-age=\"60\"" }, 60 * SECOND, true],
    ["§5.2 max-age within a quoted argument", { "cache-control": "x=\"max-age=60\", max-age=1" }, SECOND, true],
    ["§5.2.2.4 no-cache", { "cache-control": "no-cache, max-age=60", "expires": date(HOUR) }, 0, true],
    ["§5.2.2.4 qualified no-cache", { "cache-control": "max-age=60, no-cache=\"set-cookie\"" }, 0, true],
    ["§5.2.2.4 no-cache and Last-Modified", { "cache-control": "no-cache", "last-modified": date(-DAY) }, 0, true],
    ["§5.4 Pragma in a response", { "pragma": "no-cache", "cache-control": "max-age=60" }, 60 * SECOND, true],
    ["§4.2.2 Last-Modified", { "last-modified": date(-HOUR), "date": date(0) }, HOUR / 10, false],
    [
      "§4.2.2 Last-Modified counts from Date",
      { "last-modified": date(-2 * HOUR), "date": date(-HOUR) },
      HOUR / 10,
      false
    ],
    ["§4.2.2 Last-Modified without Date", { "last-modified": date(-HOUR) }, HOUR / 10, false],
    ["§4.2.2 Last-Modified long ago", { "last-modified": date(-30 * DAY) }, HEURISTIC_MILLIS, false],
    ["§4.2.2 Last-Modified after Date", { "last-modified": date(HOUR), "date": date(0) }, 0, false],
    ["§4.2.2 Last-Modified that is no date", { "last-modified": "long ago" }, 0, false],
    ["§4.2.2 public", { "last-modified": date(-HOUR), "cache-control": "public" }, HOUR / 10, false],
    ["§4.2.2 not beside Expires", { "last-modified": date(-HOUR), "expires": "0" }, 0, true],
    ["§4.2.2 not beside max-age", { "last-modified": date(-HOUR), "cache-control": "max-age=0" }, 0, true],
    [
      "§4.2.2 not beside must-revalidate",
      { "last-modified": date(-HOUR), "cache-control": "must-revalidate" },
      0,
      false
    ],
    [
      "§4.2.2 not beside proxy-revalidate",
      { "last-modified": date(-HOUR), "cache-control": "proxy-revalidate" },
      0,
      false
    ],
    [
      "§4.2.2 not beside no-store that must-understand lifts",
      { "last-modified": date(-HOUR), "cache-control": "no-store, must-understand" },
      0,
      false
    ],
    ["RFC 8246 immutable", { "cache-control": "immutable" }, IMMUTABLE_MILLIS, false],
    [
      "RFC 8246 immutable and Last-Modified",
      { "cache-control": "immutable", "last-modified": date(-HOUR) },
      IMMUTABLE_MILLIS,
      false
    ],
    ["RFC 8246 immutable with max-age", { "cache-control": "immutable, max-age=60" }, 60 * SECOND, true],
    ["RFC 8246 immutable with Expires", { "cache-control": "immutable", "expires": date(HOUR) }, HOUR, true],
    ["RFC 8246 immutable with no-cache", { "cache-control": "immutable, no-cache" }, 0, true],
    [
      "RFC 9213 §2.2 CDN-Cache-Control before Cache-Control",
      { "cdn-cache-control": "max-age=600", "cache-control": "no-cache, s-maxage=60" },
      600 * SECOND,
      true
    ],
    ["RFC 9213 §2.2 no-cache for CDNs", { "cdn-cache-control": "no-cache", "cache-control": "max-age=60" }, 0, true],
    [
      "RFC 9213 §2.2 CDN-Cache-Control hides Expires",
      { "cdn-cache-control": "none", "expires": date(HOUR) },
      0,
      false
    ],
    [
      "RFC 9213 §2.2 a malformed one hides nothing",
      { "cdn-cache-control": "Max-Age=600", "expires": date(HOUR) },
      HOUR,
      true
    ],
    ["RFC 9213 §2.1 a string for an integer", { "cdn-cache-control": "max-age=\"600\"" }, 0, true],
    ["RFC 9213 §2.1 a decimal for an integer", { "cdn-cache-control": "max-age=600.0" }, 0, true]
  ]

  it.each(cases)("%s", (_, headers, expected, explicit) => {
    const freshness = freshnessOf(headers, times)
    assert.strictEqual(freshness.lifetime, expected)
    assert.strictEqual(freshness.explicit, explicit)
  })
})

describe("freshnessOf: an operator's lifetime", () => {
  const modified = date(-HOUR)
  const byDefault: Ttl = { lifetime: 7 * SECOND, override: false }
  const override: Ttl = { lifetime: 7 * SECOND, override: true }

  const cases: ReadonlyArray<readonly [string, HeaderFields, Ttl, Partial<Freshness>]> = [
    ["for want of any", {}, byDefault, { lifetime: 7 * SECOND, explicit: false }],
    ["instead of a guess", { "last-modified": modified }, byDefault, { lifetime: 7 * SECOND, explicit: false }],
    ["instead of immutable", { "cache-control": "immutable" }, byDefault, { lifetime: 7 * SECOND, explicit: false }],
    ["beside must-revalidate", { "cache-control": "must-revalidate" }, byDefault, {
      lifetime: 7 * SECOND,
      mustRevalidate: true
    }],
    ["not instead of max-age", { "cache-control": "max-age=60" }, byDefault, { lifetime: 60 * SECOND, explicit: true }],
    ["not instead of an invalid max-age", { "cache-control": "max-age=x" }, byDefault, { lifetime: 0, explicit: true }],
    ["not instead of Expires", { "expires": date(HOUR) }, byDefault, { lifetime: HOUR, explicit: true }],
    ["not instead of no-cache", { "cache-control": "no-cache" }, byDefault, { lifetime: 0, mustRevalidate: true }],
    ["overrides max-age", { "cache-control": "max-age=60" }, override, { lifetime: 7 * SECOND, explicit: false }],
    ["overrides Expires", { "expires": "0" }, override, { lifetime: 7 * SECOND, explicit: false }],
    ["overrides no-cache", { "cache-control": "no-cache" }, override, { lifetime: 7 * SECOND, mustRevalidate: false }],
    ["overrides s-maxage", { "cache-control": "s-maxage=0" }, override, {
      lifetime: 7 * SECOND,
      mustRevalidate: false
    }],
    [
      "overrides must-revalidate",
      { "cache-control": "must-revalidate, stale-while-revalidate=5, stale-if-error=6" },
      override,
      { lifetime: 7 * SECOND, mustRevalidate: false, staleWhileRevalidate: 5 * SECOND, staleIfError: 6 * SECOND }
    ],
    ["overrides CDN-Cache-Control", { "cdn-cache-control": "max-age=60" }, override, { lifetime: 7 * SECOND }],
    ["leaves the age alone", { "age": "100" }, override, { lifetime: 7 * SECOND, generatedAt: NOW - 100 * SECOND }]
  ]

  it.each(cases)("%s", (_, headers, ttl, expected) => {
    const found = freshnessOf(headers, times, ttl)
    assert.deepStrictEqual({ ...found, ...expected }, found)
  })
})

describe("freshnessOf: age", () => {
  const cases: ReadonlyArray<readonly [string, HeaderFields, number, number]> = [
    ["§4.2.3 neither Date nor Age", {}, 0, 0],
    ["§4.2.3 the time the response took", {}, 300, 300],
    ["§4.2.3 Date", { "date": date(-60 * SECOND) }, 0, 60 * SECOND],
    ["§4.2.3 Date in the future", { "date": date(60 * SECOND) }, 0, 0],
    ["§4.2.3 Age", { "age": "20" }, 0, 20 * SECOND],
    ["§4.2.3 Age and the time the response took", { "age": "20" }, 300, 20_300],
    ["§4.2.3 Age more than Date", { "age": "20", "date": date(-5 * SECOND) }, 300, 20_300],
    ["§4.2.3 Date more than Age", { "age": "20", "date": date(-60 * SECOND) }, 300, 60 * SECOND],
    ["§4.2.3 the time the response took more than Date", { "date": date(-SECOND) }, 5000, 5000],
    ["RFC 9110 §6.6.1 an invalid Date", { "date": "yesterday", "age": "1" }, 0, SECOND],
    ["a clock that was set back", { "age": "1" }, -5000, SECOND],
    ["§5.1 the first of a list", { "age": "20, 0" }, 0, 20 * SECOND],
    ["§5.1 the first of a list, the other way around", { "age": " 0 ,20" }, 0, 0],
    ["§5.1 no number", { "age": "old" }, 0, 0],
    ["§5.1 negative", { "age": "-5" }, 0, 0],
    ["§5.1 fractional", { "age": "5.5" }, 0, 0],
    ["§5.1 with parameters", { "age": "5;a=b" }, 0, 0],
    ["§1.2.2 huge", { "age": "99999999999" }, 0, 2 ** 31 * SECOND]
  ]

  it.each(cases)("%s", (_, headers, delay, expected) => {
    const freshness = freshnessOf(headers, { requested: NOW - delay, received: NOW })
    assert.strictEqual(freshness.generatedAt, NOW - expected)
    assert.strictEqual(age(freshness, NOW), expected)
    assert.strictEqual(age(freshness, NOW + 500), expected + 500)
  })

  it("§4.2.3 is never negative", () => {
    assert.strictEqual(age(freshnessOf({}, times), NOW - 1), 0)
  })
})

describe("freshnessOf: stale responses", () => {
  const cases: ReadonlyArray<readonly [string, string, number, number | undefined, boolean]> = [
    ["§4.2.4 nothing said", "max-age=60", 0, undefined, false],
    ["§5.2.2.2 must-revalidate", "max-age=60, must-revalidate", 0, undefined, true],
    ["§5.2.2.8 proxy-revalidate", "max-age=60, proxy-revalidate", 0, undefined, true],
    ["§5.2.2.10 s-maxage implies it", "s-maxage=60", 0, undefined, true],
    ["§5.2.2.4 no-cache", "no-cache", 0, undefined, true],
    ["RFC 5861 §3", "max-age=60, stale-while-revalidate=30", 30 * SECOND, undefined, false],
    ["RFC 5861 §3 invalid", "max-age=60, stale-while-revalidate=x", 0, undefined, false],
    ["RFC 5861 §3 without argument", "max-age=60, stale-while-revalidate", 0, undefined, false],
    ["RFC 5861 §4", "max-age=60, stale-if-error=40", 0, 40 * SECOND, false],
    ["RFC 5861 §4 zero", "max-age=60, stale-if-error=0", 0, 0, false],
    ["RFC 5861 §4 invalid", "max-age=60, stale-if-error=x", 0, undefined, false],
    ["RFC 5861 §3 with s-maxage", "s-maxage=60, stale-while-revalidate=30", 30 * SECOND, undefined, true],
    ["RFC 5861 §4 with s-maxage", "s-maxage=60, stale-if-error=40", 0, 40 * SECOND, false],
    ["RFC 5861 §3 with must-revalidate", "must-revalidate, stale-while-revalidate=30", 0, undefined, true],
    ["RFC 5861 §3 with proxy-revalidate", "proxy-revalidate, stale-while-revalidate=30", 0, undefined, true],
    ["RFC 5861 §3 with no-cache", "no-cache, stale-while-revalidate=30", 0, undefined, true]
  ]

  it.each(cases)("%s", (_, field, staleWhileRevalidate, staleIfError, mustRevalidate) => {
    const expected = { staleWhileRevalidate, staleIfError, mustRevalidate }
    for (const name of ["cache-control", "cdn-cache-control"]) {
      const found = freshnessOf({ [name]: field }, times)
      assert.deepStrictEqual({ ...found, ...expected }, found)
    }
  })
})

/** The freshness that `field` gives, `seconds` after it was had. */
const after = (seconds: number, field: string, fieldOfRequest?: string) => ({
  freshness: freshnessOf({ "cache-control": field }, times),
  now: NOW + seconds * SECOND,
  request: fieldOfRequest === undefined ? undefined : requestDirectives({ "cache-control": fieldOfRequest })
})

type Judge = (freshness: Freshness, now: number, request?: RequestDirectives) => boolean
type Case = readonly [string, number, string, string | undefined, boolean]

const judges = (judge: Judge, cases: ReadonlyArray<Case>) =>
  it.each(cases)("%s: after %d s of \"%s\" for \"%s\"", (_, seconds, field, fieldOfRequest, expected) => {
    const { freshness, now, request } = after(seconds, field, fieldOfRequest)
    assert.strictEqual(judge(freshness, now, request), expected)
  })

describe("isFresh", () => {
  judges(isFresh, [
    ["§4.2 younger than its lifetime", 59.999, "max-age=60", undefined, true],
    ["§4.2 as old as its lifetime", 60, "max-age=60", undefined, false],
    ["§4.2 no lifetime", 0, "max-age=0", undefined, false],
    ["a request that says nothing of it", 59, "max-age=60", "no-transform", true],
    ["§5.2.1.1 old", 11, "max-age=60", "max-age=10", false],
    ["§5.2.1.1 just young enough", 10, "max-age=60", "max-age=10", true],
    ["§5.2.1.1 stale", 61, "max-age=60", "max-age=100", false],
    ["§5.2.1.1 with max-stale", 65, "max-age=60", "max-age=100, max-stale=10", true],
    ["§5.2.1.1 old, with max-stale", 65, "max-age=60", "max-age=10, max-stale=10", false],
    ["§5.2.1.2 not too stale", 70, "max-age=60", "max-stale=10", true],
    ["§5.2.1.2 too stale", 70.001, "max-age=60", "max-stale=10", false],
    ["§5.2.1.2 stale in any way", 1e6, "max-age=60", "max-stale", true],
    ["§5.2.2.2 must-revalidate", 61, "max-age=60, must-revalidate", "max-stale", false],
    ["§5.2.2.2 must-revalidate while fresh", 59, "max-age=60, must-revalidate", "max-stale", true],
    ["§5.2.2.8 proxy-revalidate", 61, "max-age=60, proxy-revalidate", "max-stale", false],
    ["§5.2.2.10 s-maxage", 61, "s-maxage=60", "max-stale", false],
    ["§5.2.2.4 no-cache of the origin", 0, "no-cache", "max-stale", false],
    ["§5.2.1.3 long enough fresh", 40, "max-age=60", "min-fresh=20", true],
    ["§5.2.1.3 not long enough fresh", 40.001, "max-age=60", "min-fresh=20", false],
    ["§5.2.1.3 stale anyhow", 60, "max-age=60", "min-fresh=0", false],
    ["§5.2.1.3 before max-stale", 50, "max-age=60", "min-fresh=20, max-stale", false],
    ["§5.2.1.4 no-cache", 1, "max-age=60", "no-cache", false],
    ["§5.2.1.4 no-cache before max-stale", 61, "max-age=60", "no-cache, max-stale", false],
    ["§5.2.1.5 no-store is of what is not stored yet", 1, "max-age=60", "no-store", true],
    ["§5.2.1.7 only-if-cached", 61, "max-age=60", "only-if-cached", false]
  ])
})

describe("a response from the future", () => {
  const field = "max-age=60, stale-while-revalidate=30, stale-if-error=40"
  const { freshness, now } = after(-DAY / SECOND, field)

  it("is stale, whatever the lifetime", () => {
    assert.isFalse(isFresh(freshness, now))
    assert.isFalse(isFresh(after(-0.001, "max-age=60").freshness, NOW - 1))
    assert.isFalse(isFresh(freshness, now, requestDirectives({ "cache-control": "max-age=100, max-stale=60" })))
    assert.isBelow(ttlSeconds(freshness, now), 0)
    assert.strictEqual(age(freshness, now), 0)
  })

  it("is within no limit of staleness that is shorter than the clock is behind", () => {
    assert.isFalse(mayRevalidateBehind(freshness, now))
    assert.isFalse(mayServeStale(freshness, now))
    assert.isFalse(mayServeStale(after(0, "max-age=60, must-revalidate").freshness, NOW - DAY))
    assert.isTrue(mayServeStale(after(0, "max-age=60").freshness, NOW - DAY))
    assert.isTrue(isFresh(freshness, now, requestDirectives({ "cache-control": "max-stale" })))
  })
})

describe("mayRevalidateBehind", () => {
  const field = "max-age=60, stale-while-revalidate=30"
  judges(mayRevalidateBehind, [
    ["RFC 5861 §3 not said", 61, "max-age=60", undefined, false],
    ["RFC 5861 §3 just stale", 60, field, undefined, true],
    ["RFC 5861 §3 nearly over", 89.999, field, undefined, true],
    ["RFC 5861 §3 over", 90, field, undefined, false],
    ["RFC 5861 §3 not while fresh", 59, field, undefined, false],
    ["§5.2.1.1 max-age", 61, field, "max-age=100", false],
    ["§5.2.1.2 max-stale allows, and forbids nothing", 80, field, "max-stale=10", true],
    ["§5.2.1.3 min-fresh", 61, field, "min-fresh=0", false],
    ["§5.2.1.4 no-cache", 61, field, "no-cache", false],
    ["another directive", 61, field, "only-if-cached", true],
    ["§5.2.2.10 s-maxage", 61, "s-maxage=60, stale-while-revalidate=30", undefined, true],
    ["§5.2.2.2 must-revalidate", 61, `${field}, must-revalidate`, undefined, false],
    ["§5.2.2.8 proxy-revalidate", 61, `${field}, proxy-revalidate`, undefined, false],
    ["§5.2.2.4 no-cache of the origin", 1, `${field}, no-cache`, undefined, false]
  ])
})

describe("mayServeStale", () => {
  const field = "max-age=60, stale-if-error=40"
  judges(mayServeStale, [
    ["§4.2.4 disconnected", 1e6, "max-age=60", undefined, true],
    ["§4.2.4 disconnected, and no lifetime", 1e6, "", undefined, true],
    ["§5.2.2.2 must-revalidate", 60, "max-age=60, must-revalidate", undefined, false],
    ["§5.2.2.2 must-revalidate while fresh", 59, "max-age=60, must-revalidate", undefined, true],
    ["§5.2.2.2 must-revalidate before stale-if-error", 61, `${field}, must-revalidate`, undefined, false],
    ["§5.2.2.2 must-revalidate before a request", 61, "max-age=60, must-revalidate", "stale-if-error=60", false],
    ["§5.2.2.8 proxy-revalidate", 60, "max-age=60, proxy-revalidate", undefined, false],
    ["§5.2.2.10 s-maxage", 60, "s-maxage=60", undefined, false],
    ["§5.2.2.4 no-cache of the origin", 0, "no-cache", undefined, false],
    ["RFC 5861 §4 within it", 99.999, field, undefined, true],
    ["RFC 5861 §4 beyond it", 100, field, undefined, false],
    ["RFC 5861 §4 zero", 60, "max-age=60, stale-if-error=0", undefined, false],
    ["RFC 5861 §4 of the request", 69, "max-age=60", "stale-if-error=10", true],
    ["RFC 5861 §4 beyond that of the request", 70, "max-age=60", "stale-if-error=10", false],
    ["RFC 5861 §4 of the request, longer", 149, field, "stale-if-error=90", true],
    ["RFC 5861 §4 of the request, shorter", 99, field, "stale-if-error=10", true],
    ["§5.2.1.1 max-age", 61, "max-age=60", "max-age=100", true],
    ["§5.2.1.1 max-age of what is fresh", 59, "max-age=60", "max-age=10", true],
    ["§5.2.1.1 max-age, and stale-if-error", 69, "max-age=60", "max-age=0, stale-if-error=10", true],
    ["§5.2.1.1 max-age, and stale-if-error, beyond", 71, field, "max-age=0, stale-if-error=10", true],
    ["§5.2.1.2 max-stale forbids nothing", 1e6, "max-age=60", "max-stale=1", true],
    ["§5.2.1.3 min-fresh", 61, "max-age=60", "min-fresh=1", true],
    ["§5.2.1.4 no-cache", 61, "max-age=60", "no-cache", true],
    ["§5.2.1.4 no-cache, and stale-if-error", 61, "max-age=60", "no-cache, stale-if-error=10", true]
  ])
})

describe("ttlSeconds", () => {
  const cases: ReadonlyArray<readonly [number, number]> = [
    [0, 60],
    [0.5, 59],
    [59.999, 0],
    [60, 0],
    [60.001, -1],
    [61, -1],
    [61.5, -2]
  ]

  it.each(cases)("RFC 9211 §2.5 after %d s", (seconds, expected) => {
    const { freshness, now } = after(seconds, "max-age=60")
    assert.strictEqual(ttlSeconds(freshness, now), expected)
  })
})

describe("what the judgements have to do with one another", () => {
  const amount = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 100 }))
  const maybe = Schema.UndefinedOr(amount)
  const freshness = Schema.Struct({
    generatedAt: Schema.Literal(NOW),
    lifetime: amount,
    staleWhileRevalidate: amount,
    staleIfError: maybe,
    mustRevalidate: Schema.Boolean,
    explicit: Schema.Boolean
  })
  const request = Schema.UndefinedOr(Schema.Struct({
    noCache: Schema.Boolean,
    noStore: Schema.Boolean,
    onlyIfCached: Schema.Boolean,
    maxAge: maybe,
    minFresh: maybe,
    maxStale: maybe,
    staleIfError: maybe
  }))

  it.prop("§4.2 time only takes away", { freshness, request, now: amount, later: amount }, (given) => {
    const now = NOW + given.now
    const later = now + given.later
    for (const judge of [isFresh, mayServeStale]) {
      assert.isTrue(judge(given.freshness, now, given.request) || !judge(given.freshness, later, given.request))
    }
    assert.isAtMost(ttlSeconds(given.freshness, later), ttlSeconds(given.freshness, now))
  }, { arbitrary: { runs: 2000 } })

  it.prop("RFC 5861 §3 nothing is both fresh and revalidated behind, unless a request takes it stale", {
    freshness,
    request,
    now: amount
  }, (given) => {
    const now = NOW + given.now
    const behind = mayRevalidateBehind(given.freshness, now, given.request)
    assert.isFalse(behind && isFresh(given.freshness, now, given.request) && given.request?.maxStale === undefined)
    assert.isFalse(behind && isFresh(given.freshness, now))
  }, { arbitrary: { runs: 2000 } })

  it.prop("§4.2.4 what must be revalidated is never used once stale, except behind a revalidation", {
    freshness,
    request,
    now: amount
  }, (given) => {
    const strict = { ...given.freshness, mustRevalidate: true }
    const now = NOW + given.now
    if (ttlSeconds(strict, now) < 0 || age(strict, now) >= strict.lifetime) {
      assert.isFalse(isFresh(strict, now, given.request))
      assert.isFalse(mayServeStale(strict, now, given.request))
    }
  }, { arbitrary: { runs: 2000 } })
})
