import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"
import {
  isHeuristicallyCacheable,
  isSharable,
  varyNames,
  whyUncacheable
} from "../../../../src/domain/rfc/Cacheability.ts"
import type { HeaderFields } from "../../../../src/domain/rfc/HeaderFields.ts"

type Why = ReturnType<typeof whyUncacheable>

const cacheControl = (field: string): HeaderFields => ({ "cache-control": field })
const names = (count: number) => Array.from({ length: count }, (_, index) => `x-${index}`).join(", ")

describe("whyUncacheable", () => {
  const cases: ReadonlyArray<readonly [string, HeaderFields, Why]> = [
    ["§3 nothing said", {}, undefined],
    ["§3 max-age", cacheControl("max-age=60"), undefined],
    ["§3 stale at once", cacheControl("max-age=0, must-revalidate"), undefined],
    ["§5.2.2.4 no-cache may be kept", cacheControl("no-cache"), undefined],
    ["§5.2.2.5 no-store", cacheControl("no-store"), "NO_STORE"],
    ["§5.2.2.5 no-store in any case", cacheControl("max-age=60, No-Store"), "NO_STORE"],
    ["§5.2.2.5 no-store with an argument", cacheControl("no-store=x"), "NO_STORE"],
    ["§5.2 no-store in a quoted argument", cacheControl("x=\"no-store\""), undefined],
    ["§5.2.2.5 no-store before public", cacheControl("public, no-store"), "NO_STORE"],
    ["§5.2.2.7 private", cacheControl("private, max-age=60"), "PRIVATE"],
    ["§5.2.2.7 qualified private", cacheControl("private=\"x-user\""), "PRIVATE"],
    ["§5.2.2.7 private before public", cacheControl("public, private"), "PRIVATE"],
    ["§5.4 Pragma in a response", { "pragma": "no-cache" }, undefined],
    ["RFC 9110 §12.5.5 Vary", { "vary": "origin, Accept-Language" }, undefined],
    ["RFC 9110 §12.5.5 Vary: Accept-Encoding", { "vary": "Accept-Encoding" }, undefined],
    ["§4.1 Vary: *", { "vary": "*" }, "VARY"],
    ["§4.1 Vary with * in a list", { "vary": "origin, *" }, "VARY"],
    ["Vary: Cookie", { "vary": "Accept-Encoding,Cookie" }, "VARY"],
    ["Vary: Authorization", { "vary": "AUTHORIZATION" }, "VARY"],
    ["Vary on as many as are kept", { "vary": `${names(8)}, accept-encoding, x-0` }, undefined],
    ["Vary on more", { "vary": names(9) }, "VARY"],
    ["§7.3 Set-Cookie", { "set-cookie": "a=b" }, "SET_COOKIE"],
    ["§7.3 Set-Cookie with max-age", { ...cacheControl("max-age=60"), "set-cookie": "a=b" }, "SET_COOKIE"],
    ["§7.3 Set-Cookie with public", { ...cacheControl("public"), "set-cookie": "a=b" }, undefined],
    ["§7.3 Set-Cookie with s-maxage", { ...cacheControl("s-maxage=60"), "set-cookie": "a=b" }, undefined],
    ["§7.3 Set-Cookie with must-revalidate", { ...cacheControl("must-revalidate"), "set-cookie": "" }, "SET_COOKIE"],
    ["RFC 9213 §2.2 CDN-Cache-Control: no-store", { "cdn-cache-control": "no-store" }, "NO_STORE"],
    ["RFC 9213 §2.2 CDN-Cache-Control: private", { "cdn-cache-control": "private=\"x\"" }, "PRIVATE"],
    [
      "RFC 9213 §2.2 CDN-Cache-Control lifts no-store",
      { ...cacheControl("no-store"), "cdn-cache-control": "max-age=60" },
      undefined
    ],
    [
      "RFC 9213 §2.1 a malformed CDN-Cache-Control lifts nothing",
      { ...cacheControl("no-store"), "cdn-cache-control": "max-age=60," },
      "NO_STORE"
    ],
    [
      "RFC 9213 §2.2 CDN-Cache-Control hides public",
      { ...cacheControl("public"), "cdn-cache-control": "max-age=60", "set-cookie": "a=b" },
      "SET_COOKIE"
    ]
  ]

  it.each(cases)("%s", (_, headers, expected) => {
    assert.strictEqual(whyUncacheable(200, headers, false), expected)
  })

  const understood: ReadonlyArray<readonly [number, string, Why]> = [
    ...[200, 203, 204, 206, 300, 301, 308, 404, 405, 410, 414, 501].map((status) =>
      [status, "no-store, must-understand", undefined] as const
    ),
    ...[201, 202, 302, 303, 304, 307, 403, 416, 500, 502, 503, 599].map((status) =>
      [status, "no-store, must-understand", "NO_STORE"] as const
    ),
    [599, "must-understand, max-age=60", "NO_STORE"],
    [599, "max-age=60", undefined],
    [200, "must-understand, no-store, private", "PRIVATE"]
  ]

  it.each(understood)("§5.2.2.3 %d with %s", (status, field, expected) => {
    assert.strictEqual(whyUncacheable(status, cacheControl(field), false), expected)
  })

  const authorized: ReadonlyArray<readonly [string, HeaderFields, Why]> = [
    ["nothing", {}, "AUTHORIZATION"],
    ["max-age", cacheControl("max-age=60"), "AUTHORIZATION"],
    ["proxy-revalidate", cacheControl("max-age=60, proxy-revalidate"), "AUTHORIZATION"],
    ["public", cacheControl("public"), undefined],
    ["s-maxage", cacheControl("s-maxage=60"), undefined],
    ["must-revalidate", cacheControl("max-age=60, must-revalidate"), undefined],
    ["public in a quoted argument", cacheControl("x=\"public, s-maxage\""), "AUTHORIZATION"],
    ["public, which CDN-Cache-Control hides", {
      ...cacheControl("public"),
      "cdn-cache-control": "max-age=60"
    }, "AUTHORIZATION"],
    ["public in CDN-Cache-Control", { "cdn-cache-control": "public" }, undefined],
    ["public, and no-store", cacheControl("public, no-store"), "NO_STORE"],
    ["public, and private", cacheControl("public, private"), "PRIVATE"]
  ]

  it.each(authorized)("§3.5 Authorization with %s", (_, headers, expected) => {
    assert.strictEqual(whyUncacheable(200, headers, true), expected)
    assert.strictEqual(isSharable(headers), expected !== "AUTHORIZATION")
  })
})

describe("varyNames", () => {
  const cases: ReadonlyArray<readonly [string | undefined, ReadonlyArray<string>]> = [
    [undefined, []],
    ["", []],
    ["Origin", ["origin"]],
    ["origin,\tAccept ,, Accept-Language,ORIGIN", ["accept", "accept-language", "origin"]],
    ["Accept-Encoding", []],
    ["x, Accept-Encoding, a", ["a", "x"]],
    ["*", ["*"]]
  ]

  it.each(cases)("RFC 9110 §12.5.5 %s", (vary, expected) => {
    assert.deepStrictEqual(varyNames(vary === undefined ? {} : { vary }), expected)
  })

  it.prop("are the same in any order and case", {
    names: Schema.Array(Schema.Literals(["a", "B", "c", "Accept-Encoding", "A"]))
  }, ({ names }) => {
    const reversed = names.toReversed().map((name) => name.toUpperCase())
    assert.deepStrictEqual(varyNames({ vary: names.join(",") }), varyNames({ vary: reversed.join(" , ") }))
  })
})

describe("isHeuristicallyCacheable", () => {
  it("RFC 9110 §15.1 knows the statuses", () => {
    const all = Array.from({ length: 500 }, (_, index) => index + 100)
    assert.deepStrictEqual(all.filter(isHeuristicallyCacheable), [
      200,
      203,
      204,
      206,
      300,
      301,
      308,
      404,
      405,
      410,
      414,
      501
    ])
  })
})
