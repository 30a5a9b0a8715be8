import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"
import { fromHead, Representation } from "../../../../src/domain/Representation.ts"
import * as Resource from "../../../../src/domain/Resource.ts"
import type { HeaderFields } from "../../../../src/domain/rfc/HeaderFields.ts"
import {
  evaluate,
  isNotModified,
  notModifiedHeaders,
  rangeApplies,
  type Validators
} from "../../../../src/domain/rfc/Preconditions.ts"

const BEFORE = "Tue, 01 Jan 2030 11:59:59 GMT"
const MODIFIED = "Tue, 01 Jan 2030 12:00:00 GMT"
const AFTER = "Tue, 01 Jan 2030 12:00:01 GMT"

const make = (headers: Record<string, string>): Representation => {
  const head = { status: 200, headers: { "content-length": "10", ...headers } }
  const found = fromHead(Resource.make("http://origin.example/a"), head, 65_536)
  assert.instanceOf(found, Representation)
  return found as Representation
}

const strong = make({ "etag": "\"v1\"", "last-modified": MODIFIED })
const weak = make({ "etag": "W/\"v1\"", "last-modified": MODIFIED })
const dated = make({ "last-modified": MODIFIED })
const tagged = make({ "etag": "\"v1\"" })

/** As it will be when a representation keeps the `Date` of its answer. */
const at = (representation: Validators, date: string): Validators => ({
  ...representation,
  headers: { ...representation.headers, date }
})

describe("isNotModified", () => {
  const cases: ReadonlyArray<readonly [string, HeaderFields, Validators, boolean]> = [
    ["no condition", {}, strong, false],
    ["the same ETag", { "if-none-match": "\"v1\"" }, strong, true],
    ["another ETag", { "if-none-match": "\"v2\"" }, strong, false],
    ["a weak one against a strong one", { "if-none-match": "W/\"v1\"" }, strong, true],
    ["a strong one against a weak one", { "if-none-match": "\"v1\"" }, weak, true],
    ["a weak one against a weak one", { "if-none-match": "W/\"v1\"" }, weak, true],
    ["*", { "if-none-match": "*" }, strong, true],
    ["* without an ETag", { "if-none-match": " * " }, dated, true],
    ["an ETag that is *", { "if-none-match": "\"*\"" }, strong, false],
    ["a list with it", { "if-none-match": "\"a\", W/\"b\" ,\"v1\"" }, strong, true],
    ["a list without spaces", { "if-none-match": "\"a\",\"v1\",\"b\"" }, strong, true],
    ["a list without it", { "if-none-match": "\"a\", \"b\"" }, strong, false],
    ["an ETag with a comma inside", { "if-none-match": "\"a,\"" }, make({ "etag": "\"a,\"" }), true],
    ["a part of the ETag", { "if-none-match": "\"v\"" }, strong, false],
    ["no quotes", { "if-none-match": "v1" }, strong, false],
    ["a list with empty elements", { "if-none-match": ",, \"a\" ,\t, \"v1\"," }, strong, true],
    ["a comma within quotes", { "if-none-match": "\"a,\"v1\",b\"" }, strong, false],
    ["no comma between", { "if-none-match": "\"a\" \"v1\"" }, strong, false],
    ["a list that is malformed behind it", { "if-none-match": "\"v1\", v2" }, strong, false],
    ["an open quote behind it", { "if-none-match": "\"v1\", \"v2" }, strong, false],
    ["an open quote", { "if-none-match": "\"v1" }, strong, false],
    ["a small w/", { "if-none-match": "w/\"v1\"" }, strong, false],
    ["a space after W/", { "if-none-match": "W/ \"v1\"" }, strong, false],
    [
      "half a quote on both sides",
      { "if-none-match": "v1\"" },
      make({ "etag": "v1\"", "last-modified": AFTER }),
      false
    ],
    ["* in a list", { "if-none-match": "*, \"v1\"" }, strong, false],
    [
      "an ETag without quotes on both sides",
      { "if-none-match": "v1" },
      make({ "etag": "v1", "last-modified": AFTER }),
      false
    ],
    ["empty", { "if-none-match": "" }, strong, false],
    ["an ETag where there is none", { "if-none-match": "\"v1\"" }, dated, false],
    ["modified at that second", { "if-modified-since": MODIFIED }, strong, true],
    ["modified before", { "if-modified-since": AFTER }, strong, true],
    ["modified after", { "if-modified-since": BEFORE }, strong, false],
    ["no date", { "if-modified-since": "whenever" }, strong, false],
    ["a year alone", { "if-modified-since": "2031" }, strong, false],
    ["a number", { "if-modified-since": "1" }, make({ "last-modified": "Mon, 01 Jan 1990 00:00:00 GMT" }), false],
    ["an ISO date", { "if-modified-since": "2031-01-01T00:00:00Z" }, strong, false],
    ["an asctime date", { "if-modified-since": "Tue Jan  1 12:00:00 2030" }, strong, true],
    ["an RFC 850 date", { "if-modified-since": "Tuesday, 01-Jan-30 12:00:00 GMT" }, strong, true],
    ["an RFC 850 date before", { "if-modified-since": "Tuesday, 01-Jan-30 11:59:59 GMT" }, strong, false],
    [
      "modified at no date",
      { "if-modified-since": AFTER },
      make({ "etag": "\"v1\"", "last-modified": "2030-01-01" }),
      false
    ],
    ["received by then, modified at an unknown time", { "if-modified-since": MODIFIED }, at(tagged, MODIFIED), true],
    ["received after, modified at an unknown time", { "if-modified-since": BEFORE }, at(tagged, MODIFIED), false],
    ["modified by then, received after", { "if-modified-since": MODIFIED }, at(strong, AFTER), true],
    ["modified at an unknown time", { "if-modified-since": AFTER }, tagged, false],
    ["another ETag and a date that matches", { "if-none-match": "\"v2\"", "if-modified-since": AFTER }, strong, false],
    [
      "the ETag and a date that does not match",
      { "if-none-match": "\"v1\"", "if-modified-since": BEFORE },
      strong,
      true
    ]
  ]

  it.each(cases)("%s", (_, headers, representation, expected) => {
    assert.strictEqual(isNotModified(headers, representation), expected)
  })
})

describe("evaluate", () => {
  type Outcome = ReturnType<typeof evaluate>
  const cases: ReadonlyArray<readonly [string, HeaderFields, Validators, Outcome]> = [
    ["no condition", {}, strong, "Proceed"],
    ["If-Match: the same", { "if-match": "\"v1\"" }, strong, "Proceed"],
    ["If-Match: another", { "if-match": "\"v2\"" }, strong, "Failed"],
    ["If-Match: one of a list", { "if-match": "\"v2\",W/\"v1\" , \"v1\"" }, strong, "Proceed"],
    ["If-Match: a weak one of a list", { "if-match": "\"v2\", W/\"v1\"" }, strong, "Failed"],
    ["If-Match: a weak one against a weak one", { "if-match": "W/\"v1\"" }, weak, "Failed"],
    ["If-Match: a strong one against a weak one", { "if-match": "\"v1\"" }, weak, "Failed"],
    ["If-Match: *", { "if-match": "*" }, strong, "Proceed"],
    ["If-Match: * without an ETag", { "if-match": " * " }, dated, "Proceed"],
    ["If-Match: an ETag where there is none", { "if-match": "\"v1\"" }, dated, "Failed"],
    ["If-Match: malformed", { "if-match": "\"v1\", v2" }, strong, "Failed"],
    ["If-Match: empty", { "if-match": "" }, strong, "Failed"],
    ["If-Unmodified-Since: at that second", { "if-unmodified-since": MODIFIED }, strong, "Proceed"],
    ["If-Unmodified-Since: modified before", { "if-unmodified-since": AFTER }, strong, "Proceed"],
    ["If-Unmodified-Since: modified after", { "if-unmodified-since": BEFORE }, strong, "Failed"],
    ["If-Unmodified-Since: no date", { "if-unmodified-since": "1990" }, strong, "Proceed"],
    ["If-Unmodified-Since: modified at an unknown time", { "if-unmodified-since": BEFORE }, tagged, "Proceed"],
    ["If-Unmodified-Since: received after", { "if-unmodified-since": BEFORE }, at(tagged, AFTER), "Proceed"],
    ["If-Match before If-Unmodified-Since", { "if-match": "\"v1\"", "if-unmodified-since": BEFORE }, strong, "Proceed"],
    [
      "If-Match that fails before If-Unmodified-Since",
      { "if-match": "\"v2\"", "if-unmodified-since": AFTER },
      strong,
      "Failed"
    ],
    ["If-Match that fails before If-None-Match", { "if-match": "\"v2\"", "if-none-match": "\"v1\"" }, strong, "Failed"],
    ["If-Match and then If-None-Match", { "if-match": "\"v1\"", "if-none-match": "\"v1\"" }, strong, "NotModified"],
    ["If-Match and then another If-None-Match", { "if-match": "*", "if-none-match": "\"v2\"" }, strong, "Proceed"],
    [
      "If-Unmodified-Since and then If-Modified-Since",
      { "if-unmodified-since": MODIFIED, "if-modified-since": MODIFIED },
      strong,
      "NotModified"
    ],
    [
      "If-Unmodified-Since that fails before If-Modified-Since",
      { "if-unmodified-since": BEFORE, "if-modified-since": AFTER },
      strong,
      "Failed"
    ],
    ["If-None-Match: the same", { "if-none-match": "W/\"v1\"" }, strong, "NotModified"],
    ["If-None-Match: *", { "if-none-match": "*" }, dated, "NotModified"],
    ["If-None-Match: another", { "if-none-match": "\"v2\"" }, strong, "Proceed"],
    [
      "If-None-Match before If-Modified-Since",
      { "if-none-match": "\"v2\"", "if-modified-since": AFTER },
      strong,
      "Proceed"
    ],
    ["If-Modified-Since: not since", { "if-modified-since": MODIFIED }, strong, "NotModified"],
    ["If-Modified-Since: since", { "if-modified-since": BEFORE }, strong, "Proceed"],
    ["If-Range is not among them", { "if-range": "\"v2\"" }, strong, "Proceed"]
  ]

  it.each(cases)("%s", (_, headers, representation, expected) => {
    assert.strictEqual(evaluate(headers, representation), expected)
  })

  it.prop("finds an ETag in any list that has it, and in none that has not", {
    tags: Schema.Array(Schema.Struct({
      text: Schema.Literals(["", "v1", "a", "b,c", ", ", "*", "W/", "\u00e9"]),
      prefix: Schema.Literals(["", "W/"]),
      gap: Schema.Literals([",", ", ", " ,\t", ",, ,"])
    })).check(Schema.isMaxLength(6))
  }, ({ tags }) => {
    const field = tags.map(({ gap, prefix, text }) => `${prefix}"${text}"${gap}`).join("")
    const weakly = tags.some(({ text }) => text === "v1")
    const strongly = tags.some(({ prefix, text }) => text === "v1" && prefix === "")
    assert.strictEqual(evaluate({ "if-none-match": field }, strong), weakly ? "NotModified" : "Proceed")
    assert.strictEqual(evaluate({ "if-none-match": field }, weak), weakly ? "NotModified" : "Proceed")
    assert.strictEqual(evaluate({ "if-match": field }, strong), strongly ? "Proceed" : "Failed")
    assert.strictEqual(evaluate({ "if-match": field }, weak), "Failed")
  })

  it.prop("throws for no fields at all", {
    match: Schema.String,
    date: Schema.String,
    quoted: Schema.Literals(["", "\"", "\"v1\","])
  }, ({ date, match, quoted }) => {
    const field = quoted + match
    assert.include(["Failed", "Proceed"], evaluate({ "if-match": field, "if-unmodified-since": date }, strong))
    assert.include(["NotModified", "Proceed"], evaluate({ "if-none-match": field, "if-modified-since": date }, strong))
  })

  // In quadratic time these would take minutes.
  const length = 2 ** 19
  it.each(
    [
      ["quotes", "\"".repeat(length + 1)],
      ["spaces", `${" ".repeat(length)}x`],
      ["tags", `${"\"\",".repeat(length / 3)}x`],
      ["prefixes", "W/".repeat(length / 2)]
    ] as const
  )("takes linear time: %s", (_, field) => {
    assert.strictEqual(evaluate({ "if-none-match": field }, strong), "Proceed")
  }, 5000)
})

describe("notModifiedHeaders", () => {
  it("keeps what guides caches and clients, and drops what describes the representation", () => {
    const kept = {
      "access-control-allow-origin": "*",
      "age": "5",
      "cache-control": "max-age=60",
      "cache-status": "spillway; hit",
      "content-location": "/a",
      "content-security-policy": "default-src 'none'",
      "date": MODIFIED,
      "etag": "W/\"v1\"",
      "expires": AFTER,
      "vary": "accept-encoding",
      "x-own": "1"
    }
    assert.deepStrictEqual(
      notModifiedHeaders({
        ...kept,
        "accept-ranges": "bytes",
        "content-digest": "sha-256=:AA==:",
        "content-disposition": "inline",
        "content-encoding": "identity",
        "content-language": "en",
        "content-length": "10",
        "content-range": "bytes 0-9/10",
        "content-type": "video/mp4",
        "last-modified": BEFORE,
        "repr-digest": "sha-256=:AA==:"
      }),
      kept
    )
  })

  it("keeps Last-Modified where it is the only validator, and leaves its argument alone", () => {
    const headers = { "last-modified": BEFORE, "content-type": "video/mp4" }
    assert.deepStrictEqual(notModifiedHeaders(headers), { "last-modified": BEFORE })
    assert.deepStrictEqual(headers, { "last-modified": BEFORE, "content-type": "video/mp4" })
  })
})

describe("rangeApplies", () => {
  const cases: ReadonlyArray<readonly [string, string | undefined, Validators, boolean]> = [
    ["no condition", undefined, strong, true],
    ["the ETag", "\"v1\"", strong, true],
    ["the ETag with spaces around", " \"v1\" ", strong, true],
    ["another ETag", "\"v2\"", strong, false],
    ["the ETag as a weak one", "W/\"v1\"", strong, false],
    ["a strong one against a weak one", "\"v1\"", weak, false],
    ["a weak one against a weak one", "W/\"v1\"", weak, false],
    ["the date", MODIFIED, strong, true],
    ["the date without an ETag", MODIFIED, dated, true],
    ["an earlier date", BEFORE, strong, false],
    ["a later date", AFTER, strong, false],
    ["a date where none is known", MODIFIED, tagged, false],
    ["the date with spaces around", ` ${MODIFIED} `, strong, true],
    ["the same time in another format", "Tue Jan  1 12:00:00 2030", strong, false],
    ["the date, a second before it was received", MODIFIED, at(strong, AFTER), true],
    ["the date, in the second in which it was received", MODIFIED, at(strong, MODIFIED), false],
    ["the date, later than it was received", MODIFIED, at(strong, BEFORE), false],
    ["the date, received at no date", MODIFIED, at(strong, "whenever"), true],
    ["the ETag, in the second in which it was received", "\"v1\"", at(strong, MODIFIED), true],
    ["what is the same, and no date", "2030", make({ "etag": "\"v1\"", "last-modified": "2030" }), false],
    ["an ETag where there is none", "\"v1\"", dated, false],
    ["empty", "", strong, false],
    ["*", "*", strong, false],
    ["several", "\"v1\", \"v2\"", strong, false]
  ]

  it.each(cases)("%s", (_, ifRange, representation, expected) => {
    assert.strictEqual(rangeApplies(ifRange, representation), expected)
  })
})
