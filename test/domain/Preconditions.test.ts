import { assert, describe, it } from "@effect/vitest"
import type { HeaderFields } from "../../src/domain/Headers.ts"
import { isNotModified, rangeApplies } from "../../src/domain/Preconditions.ts"
import { fromHead, Representation } from "../../src/domain/Representation.ts"
import * as Resource from "../../src/domain/Resource.ts"

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

describe("isNotModified", () => {
  const cases: ReadonlyArray<readonly [string, HeaderFields, Representation, boolean]> = [
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
    ["empty", { "if-none-match": "" }, strong, false],
    ["an ETag where there is none", { "if-none-match": "\"v1\"" }, dated, false],
    ["modified at that second", { "if-modified-since": MODIFIED }, strong, true],
    ["modified before", { "if-modified-since": AFTER }, strong, true],
    ["modified after", { "if-modified-since": BEFORE }, strong, false],
    ["no date", { "if-modified-since": "whenever" }, strong, false],
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

describe("rangeApplies", () => {
  const cases: ReadonlyArray<readonly [string, string | undefined, Representation, boolean]> = [
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
    ["an ETag where there is none", "\"v1\"", dated, false],
    ["empty", "", strong, false],
    ["*", "*", strong, false],
    ["several", "\"v1\", \"v2\"", strong, false]
  ]

  it.each(cases)("%s", (_, ifRange, representation, expected) => {
    assert.strictEqual(rangeApplies(ifRange, representation), expected)
  })
})
