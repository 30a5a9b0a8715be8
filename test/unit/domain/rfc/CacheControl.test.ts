import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"
import {
  deltaMillis,
  parse,
  type RequestDirectives,
  requestDirectives,
  responseDirectives,
  targetedDirectives
} from "../../../../src/domain/rfc/CacheControl.ts"
import type { HeaderFields } from "../../../../src/domain/rfc/HeaderFields.ts"

type Listed = ReadonlyArray<readonly [string, string]>

describe("parse", () => {
  const cases: ReadonlyArray<readonly [string, string, Listed]> = [
    ["§5.2 an empty field", "", []],
    ["§5.2 a directive", "no-store", [["no-store", ""]]],
    ["§5.2 names in any case", "No-Store, MAX-AGE=1", [["no-store", ""], ["max-age", "1"]]],
    ["§5.2 arguments in their case", "x=AbC", [["x", "AbC"]]],
    ["§5.2 a token", "max-age=60", [["max-age", "60"]]],
    ["§5.2 a quoted string", "max-age=\"60\"", [["max-age", "60"]]],
    ["§5.2 a list", "public,max-age=60, immutable", [["public", ""], ["max-age", "60"], ["immutable", ""]]],
    ["§5.2 white space", "  public ,\tmax-age = 60\t", [["public", ""], ["max-age", "60"]]],
    ["RFC 9110 §5.6.1 empty elements", ",, ,a,\t,b,,", [["a", ""], ["b", ""]]],
    ["RFC 9110 §5.6.4 commas in quotes", "private=\"set-cookie, no-store\", a", [
      ["private", "set-cookie, no-store"],
      ["a", ""]
    ]],
    ["RFC 9110 §5.6.4 escapes in quotes", "x=\"a\\\"b\\\\\", y", [["x", "a\"b\\"], ["y", ""]]],
    ["RFC 9110 §5.6.4 an empty quoted string", "x=\"\", y", [["x", ""], ["y", ""]]],
    ["§4.2.1 the first of a name counts", "max-age=1, a, MAX-AGE=1800", [["max-age", "1"], ["a", ""]]],
    ["§4.2.1 the first counts without its argument too", "max-age, max-age=1800", [["max-age", ""]]],
    ["a missing comma", "no-store max-age=60", [["no-store", ""], ["max-age", "60"]]],
    ["a missing comma after quotes", "x=\"a\"no-store", [["x", "a"], ["no-store", ""]]],
    ["a missing argument", "max-age=, a", [["max-age", ""], ["a", ""]]],
    ["a missing name", "=5, a, =\"x\"", [["a", ""]]],
    ["a quote that is not closed", "x=\"a, no-store, y=\"", [["x", "a, no-store, y="]]],
    ["a quote that is never closed", "x=\"a, no-store", [["x", "\"a"], ["no-store", ""]]],
    ["a quote whose end is escaped", "x=\"a\\\", no-store", [["x", "\"a\\\""], ["no-store", ""]]],
    ["a quote in the middle", "x=a\"b,c\"d", [["x", "a\"b"], ["c\"d", ""]]],
    ["names that objects have", "__proto__=1, constructor", [["__proto__", "1"], ["constructor", ""]]]
  ]

  it.each(cases)("%s", (_, field, expected) => {
    assert.deepStrictEqual([...parse(field)], expected)
  })

  it("has no directives without a field", () => {
    assert.strictEqual(parse(undefined).size, 0)
  })

  it.prop("reads any text without throwing", { field: Schema.String }, ({ field }) => {
    for (const name of parse(field).keys()) assert.strictEqual(name, name.toLowerCase())
  })

  it.prop("reads back what was written, whatever the arguments", {
    members: Schema.Array(Schema.Struct({ name: Schema.Literals(["a", "b", "c"]), argument: Schema.String }))
  }, ({ members }) => {
    const field = members.map(({ argument, name }) => `${name}="${argument.replaceAll(/["\\]/g, "\\$&")}"`).join(",")
    const first = new Map(members.toReversed().map(({ argument, name }) => [name, argument]))
    assert.deepStrictEqual(new Map(parse(field)), new Map(first))
  })

  // Quadratic time would be half a minute.
  const hostile = ["x=\"", "x=\"\\", "x=\"\\\"", "\"", "\\", "=", " ", ",", "x =", "x=\"a\"", "a", "\t,", "x=\"\\\\"]
  it.each(hostile)("takes linear time for %j again and again", (piece) => {
    const field = piece.repeat(200_000)
    parse(field)
    parse(`x="${field}`)
    targetedDirectives({ "cdn-cache-control": field })
    targetedDirectives({ "cdn-cache-control": `x="${field}` })
    targetedDirectives({ "cdn-cache-control": `a${field}` })
  })
})

describe("deltaMillis", () => {
  const cases: ReadonlyArray<readonly [string | undefined, number | undefined]> = [
    [undefined, undefined],
    ["", undefined],
    ["0", 0],
    ["60", 60_000],
    ["0060", 60_000],
    ["-1", undefined],
    ["+1", undefined],
    ["1.5", undefined],
    ["1e3", undefined],
    ["0x10", undefined],
    ["60s", undefined],
    [" 60", undefined],
    ["'60'", undefined],
    ["\"60\"", undefined],
    ["٣", undefined],
    ["2147483648", 2_147_483_648_000],
    ["2147483649", 2_147_483_648_000],
    ["9".repeat(400), 2_147_483_648_000]
  ]

  it.each(cases)("§1.2.2 %s", (argument, expected) => {
    assert.strictEqual(deltaMillis(argument), expected)
  })
})

describe("responseDirectives", () => {
  const cases: ReadonlyArray<readonly [string, HeaderFields, Listed]> = [
    ["nothing", {}, []],
    ["Cache-Control alone", { "cache-control": "max-age=60" }, [["max-age", "60"]]],
    ["RFC 9111 §5.4 Pragma says nothing in a response", { "pragma": "no-cache" }, []],
    [
      "RFC 9213 §2.2 CDN-Cache-Control goes before Cache-Control",
      { "cdn-cache-control": "max-age=600", "cache-control": "no-store, max-age=60" },
      [["max-age", "600"]]
    ],
    [
      "RFC 9213 §3.1 CDN-Cache-Control with an unknown directive alone counts",
      { "cdn-cache-control": "none", "cache-control": "no-store" },
      [["none", ""]]
    ],
    [
      "RFC 9213 §2.1 an empty one is ignored",
      { "cdn-cache-control": "", "cache-control": "max-age=60" },
      [["max-age", "60"]]
    ],
    [
      "RFC 9213 §2.1 a malformed one is ignored",
      { "cdn-cache-control": "max-age=600, &&&", "cache-control": "no-store" },
      [["no-store", ""]]
    ],
    [
      "RFC 9213 §2.1 upper case is malformed",
      { "cdn-cache-control": "Max-Age=600", "cache-control": "max-age=60" },
      [["max-age", "60"]]
    ],
    ["RFC 9213 §2.1 malformed, and nothing else", { "cdn-cache-control": "max-age =600" }, []],
    ["RFC 8941 §3.2 the last of a name counts", { "cdn-cache-control": "max-age=1, max-age=2" }, [["max-age", "2"]]],
    [
      "RFC 9213 §2.1 parameters are ignored",
      { "cdn-cache-control": "max-age=60;a=b, private;c" },
      [["max-age", "60"], ["private", ""]]
    ],
    ["RFC 9213 §2.1 a string is no integer", { "cdn-cache-control": "max-age=\"60\"" }, [["max-age", "\"60\""]]],
    ["RFC 9213 §2.1 a list of names", { "cdn-cache-control": "private=\"x\"" }, [["private", "\"x\""]]],
    [
      "RFC 9213 §2.1 booleans",
      { "cdn-cache-control": "no-store=?0, private=?1", "cache-control": "max-age=60" },
      [["private", ""]]
    ],
    [
      "RFC 9213 §2.1 false alone is not empty",
      { "cdn-cache-control": "no-store=?0", "cache-control": "max-age=60" },
      []
    ],
    [
      "RFC 9213 §2.2 other targets are not this cache's",
      { "surrogate-control": "max-age=600", "example-cache-control": "max-age=60" },
      []
    ]
  ]

  it.each(cases)("%s", (_, headers, expected) => {
    assert.deepStrictEqual([...responseDirectives(headers)], expected)
  })
})

describe("requestDirectives", () => {
  const said = (directives: Partial<RequestDirectives>): RequestDirectives => ({
    noCache: false,
    noStore: false,
    onlyIfCached: false,
    maxAge: undefined,
    minFresh: undefined,
    maxStale: undefined,
    staleIfError: undefined,
    ...directives
  })

  const cases: ReadonlyArray<readonly [string, HeaderFields, RequestDirectives | undefined]> = [
    ["nothing", {}, undefined],
    ["nothing of caches", { "range": "bytes=0-", "accept": "*/*" }, undefined],
    ["an empty field", { "cache-control": " , " }, undefined],
    ["§5.2.1.1 max-age", { "cache-control": "max-age=5" }, said({ maxAge: 5000 })],
    ["§5.2.1.1 max-age=0", { "cache-control": "max-age=0" }, said({ maxAge: 0 })],
    ["§5.2.1.1 max-age that is none", { "cache-control": "max-age=x" }, said({})],
    ["§5.2.1.2 max-stale", { "cache-control": "max-stale" }, said({ maxStale: Infinity })],
    ["§5.2.1.2 max-stale with an argument", { "cache-control": "max-stale=10" }, said({ maxStale: 10_000 })],
    ["§5.2.1.2 max-stale that is none", { "cache-control": "max-stale=x" }, said({})],
    ["§5.2.1.3 min-fresh", { "cache-control": "min-fresh=20" }, said({ minFresh: 20_000 })],
    ["§5.2.1.4 no-cache", { "cache-control": "no-cache" }, said({ noCache: true })],
    ["§5.2.1.5 no-store", { "cache-control": "no-store" }, said({ noStore: true })],
    ["§5.2.1.6 no-transform", { "cache-control": "no-transform" }, said({})],
    ["§5.2.1.7 only-if-cached", { "cache-control": "only-if-cached" }, said({ onlyIfCached: true })],
    ["RFC 5861 §4 stale-if-error", { "cache-control": "stale-if-error=60" }, said({ staleIfError: 60_000 })],
    ["RFC 5861 §4 stale-if-error without argument", { "cache-control": "stale-if-error" }, said({})],
    [
      "several",
      { "cache-control": "Max-Age=1,min-fresh=2 , max-stale=\"3\", stale-if-error=4, only-if-cached" },
      said({ maxAge: 1000, minFresh: 2000, maxStale: 3000, staleIfError: 4000, onlyIfCached: true })
    ],
    ["§5.4 Pragma", { "pragma": "no-cache" }, said({ noCache: true })],
    ["§5.4 Pragma in a list", { "pragma": "x=\"y, z\", No-Cache" }, said({ noCache: true })],
    ["§5.4 another Pragma", { "pragma": "x-no-cache" }, undefined],
    [
      "§5.4 Pragma beside Cache-Control",
      { "pragma": "no-cache", "cache-control": "max-age=5" },
      said({ maxAge: 5000 })
    ],
    ["§5.4 Pragma beside an empty Cache-Control", { "pragma": "no-cache", "cache-control": "" }, undefined]
  ]

  it.each(cases)("%s", (_, headers, expected) => {
    assert.deepStrictEqual(requestDirectives(headers), expected)
  })
})
