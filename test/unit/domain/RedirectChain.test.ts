import { assert, describe, it } from "@effect/vitest"
import { foldChain, type HopAnswer } from "../../../src/domain/RedirectChain.ts"
import { isSharable, whyUncacheable } from "../../../src/domain/rfc/Cacheability.ts"
import type { HeaderFields } from "../../../src/domain/rfc/HeaderFields.ts"
import * as HttpDate from "../../../src/domain/rfc/HttpDate.ts"

const NOW = Date.parse("Tue, 01 Jan 2030 12:00:00 GMT")

const answer = (status: number, headers: HeaderFields = {}, isFirstOrigin = true): HopAnswer => ({
  url: "http://a.example/film",
  status,
  headers: { date: HttpDate.format(NOW), ...headers },
  times: { requested: NOW, received: NOW },
  isFirstOrigin
})

/** An answer with this `Cache-Control`. */
const saying = (status: number, control: string, isFirstOrigin = true): HopAnswer =>
  answer(status, control === "" ? {} : { "cache-control": control }, isFirstOrigin)

const elsewhere = (status: number, control: string): HopAnswer => saying(status, control, false)

const control = (...answers: ReadonlyArray<HopAnswer>) => foldChain(answers)["cache-control"]

describe("a chain of redirects", () => {
  it("leaves an answer without redirects as it is", () => {
    const { headers } = answer(200, { "cache-control": "max-age=60, x-own", "expires": "0", "vary": "A" })
    assert.strictEqual(foldChain([answer(200, headers)])["cache-control"], headers["cache-control"])
    assert.deepStrictEqual(foldChain([answer(200, headers)]), headers)
  })

  const lifetimes: ReadonlyArray<readonly [string, ReadonlyArray<HopAnswer>, string | undefined]> = [
    [
      "the least of all",
      [saying(302, "max-age=60"), saying(307, "max-age=30"), saying(200, "max-age=90")],
      "max-age=30"
    ],
    ["that of the end, if it is the least", [saying(302, "max-age=60"), saying(200, "max-age=5")], "max-age=5"],
    ["0 by a 302 that says none", [saying(302, ""), saying(200, "max-age=90")], "max-age=0"],
    ["0 by a 303 that says none", [saying(303, ""), saying(200, "max-age=90")], "max-age=0"],
    ["0 by a 307 that says none", [saying(307, ""), saying(200, "max-age=90, immutable")], "max-age=0"],
    ["no other by a 301 that says none", [saying(301, ""), saying(200, "max-age=90")], "max-age=90"],
    ["no other by a 308 that says none", [saying(308, ""), saying(200, "")], undefined],
    ["limited by a 308 that says one", [saying(308, "max-age=7"), saying(200, "max-age=90")], "max-age=7"],
    [
      "0 by an Expires in the past",
      [answer(302, { expires: HttpDate.format(NOW - 1000) }), saying(200, "max-age=9")],
      "max-age=0"
    ],
    [
      "that of an Expires",
      [answer(302, { expires: HttpDate.format(NOW + 20_000) }), saying(200, "max-age=90")],
      "max-age=20"
    ],
    ["less the age of the redirect", [
      answer(302, { "cache-control": "max-age=60", "age": "50" }),
      saying(200, "max-age=90")
    ], "max-age=10"],
    ["and counts from the end's own age", [
      saying(302, "max-age=60"),
      answer(200, { "cache-control": "max-age=9000", "age": "500" })
    ], "max-age=560"],
    ["0 for an error that says none", [saying(302, "max-age=60"), saying(403, "")], "max-age=0"],
    ["a guess, within the redirect's", [
      saying(302, "max-age=60"),
      answer(200, { "last-modified": HttpDate.format(NOW - 100_000) })
    ], "max-age=10"]
  ]

  it.each(lifetimes)("has a lifetime of its own: %s", (_, answers, expected) => {
    assert.strictEqual(control(...answers), expected)
    assert.notProperty(foldChain(answers), "expires")
  })

  it.each([
    ["no-store", "NO_STORE"],
    ["private", "PRIVATE"]
  ])("is stored by nobody if one of it says %s", (directive, reason) => {
    for (const at of [0, 1, 2]) {
      const answers = [301, 302, 200].map((status, i) =>
        saying(status, `public, max-age=60${i === at ? `, ${directive}` : ""}`)
      )
      assert.strictEqual(whyUncacheable(200, foldChain(answers), false), reason)
    }
  })

  it("is as strict as the strictest", () => {
    assert.strictEqual(control(saying(302, "no-cache"), saying(200, "max-age=60")), "no-cache, max-age=0")
    assert.include(control(saying(301, ""), saying(200, "max-age=60, proxy-revalidate")), "proxy-revalidate")
    assert.include(control(saying(301, "no-transform"), saying(200, "max-age=60")), "no-transform")
    const fold = control(
      saying(302, "max-age=60, stale-while-revalidate=5, stale-if-error=80"),
      saying(200, "max-age=60, stale-while-revalidate=50, stale-if-error=8")
    )
    assert.strictEqual(fold, "max-age=60, stale-while-revalidate=5, stale-if-error=8")
    assert.strictEqual(
      control(saying(302, "max-age=60"), saying(200, "max-age=60, stale-while-revalidate=50")),
      "max-age=60"
    )
  })

  const permissions: ReadonlyArray<readonly [string, ReadonlyArray<HopAnswer>, boolean]> = [
    ["each says public", [saying(302, "public, max-age=9"), saying(200, "public, max-age=9")], true],
    ["only the end says public", [saying(302, "max-age=9"), saying(200, "public, max-age=9")], false],
    ["only the end says must-revalidate", [saying(302, "max-age=9"), saying(200, "max-age=9, must-revalidate")], false],
    ["only the redirect says public", [saying(302, "public, max-age=9"), saying(200, "max-age=9")], false],
    ["one says public, the other must-revalidate", [saying(302, "public"), saying(200, "must-revalidate")], true],
    ["the redirect leads to another origin", [saying(302, "public, max-age=9"), elsewhere(200, "max-age=9")], true],
    ["only another origin says public", [saying(302, "max-age=9"), elsewhere(200, "public, max-age=9")], false]
  ]

  it.each(permissions)("is for others than the one with credentials or not: %s", (_, answers, expected) => {
    assert.strictEqual(isSharable(foldChain(answers)), expected)
  })

  it("depends on all fields that one of it depends on", () => {
    const { vary } = foldChain([
      answer(302, { vary: "X-Country, Accept" }),
      answer(301),
      answer(200, { vary: "accept,Origin" })
    ])
    assert.strictEqual(vary, "x-country, accept, origin")
    assert.strictEqual(foldChain([answer(302, { vary: "*" }), answer(200)])["vary"], "*")
  })

  it("says to this cache what the origins say to it, and to browsers what they say to those", () => {
    const folded = foldChain([saying(302, "public, max-age=0, s-maxage=60"), saying(200, "public, max-age=600")])
    assert.strictEqual(folded["cache-control"], "public, max-age=0")
    assert.strictEqual(folded["cdn-cache-control"], "public, proxy-revalidate, max-age=60")
    const targeted = answer(302, { "cache-control": "no-store", "cdn-cache-control": "max-age=60" })
    const other = foldChain([targeted, saying(200, "max-age=600")])
    assert.strictEqual(other["cache-control"], "no-store, max-age=0")
    assert.strictEqual(other["cdn-cache-control"], "max-age=60")
    const refused = answer(302, { "cache-control": "public, max-age=60", "cdn-cache-control": "no-store" })
    assert.strictEqual(whyUncacheable(200, foldChain([refused, saying(200, "max-age=600")]), false), "NO_STORE")
  })

  it("writes nothing into the fields that was in quotes", () => {
    assert.strictEqual(
      control(saying(301, "private=\"a, max-age=9\""), saying(200, "max-age=60")),
      "private, max-age=60"
    )
  })
})
