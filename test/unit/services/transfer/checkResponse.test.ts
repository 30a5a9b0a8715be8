import { assert, describe, it } from "@effect/vitest"
import { fromHead, Representation } from "../../../../src/domain/Representation.ts"
import { make as makeResource } from "../../../../src/domain/Resource.ts"
import { checkResponse, ignoresRanges } from "../../../../src/services/transfer/checkResponse.ts"

const SIZE = 1000
const POSITION = 100
const strong = { etag: "\"1\"" }
const part = { ...strong, "content-range": `bytes ${POSITION}-${SIZE - 1}/${SIZE}` }
const full = { ...strong, "content-length": String(SIZE) }
const representation = fromHead(
  makeResource("http://origin.test/film.mp4"),
  { status: 206, headers: part },
  64
) as Representation

type Mode = "conditional" | "plain" | "none"

const check = (status: number, headers: Record<string, string>, mode: Mode = "conditional", known?: Mode) => {
  const { ranges: _, ...unknown } = representation
  const expected = new Representation({ ...unknown, ...(known !== undefined && { ranges: known }) })
  const result = checkResponse({ status, headers }, { representation: expected, position: POSITION, mode }, 0)
  if (!("_tag" in result)) return result
  return result._tag === "OriginUnexpected" ? `${result._tag} ${result.retryAfter ?? ""}`.trim() : result._tag
}

const whole = { start: 0, end: SIZE }
const rest = { start: POSITION, end: SIZE }

describe("checkResponse", () => {
  const cases: ReadonlyArray<readonly [string, unknown, unknown]> = [
    ["the requested range", check(206, part), { range: rest }],
    ["a shorter range", check(206, { ...part, "content-range": `bytes 100-199/${SIZE}` }), {
      range: { start: 100, end: 200 }
    }],
    ["another range", check(206, { ...part, "content-range": `bytes 99-999/${SIZE}` }), "OriginUnexpected"],
    ["another ETag", check(206, { ...part, etag: "\"2\"" }), "RepresentationChanged"],
    ["another size", check(206, { ...part, "content-range": "bytes 100-1000/1001" }), "RepresentationChanged"],
    ["a part without a validator", check(206, { "content-range": part["content-range"] }), {
      range: undefined,
      ranges: "plain"
    }],
    ["the same without If-Range", check(206, { "content-range": part["content-range"] }, "plain"), {
      range: undefined,
      ranges: "none"
    }],
    ["304 to If-Range", check(304, strong), { range: undefined, ranges: "plain" }],
    ["304 without a condition", check(304, strong, "plain"), "OriginUnexpected"],
    ["the whole file", check(200, full), { range: whole, ranges: "plain" }],
    ["the whole file, though If-Range has worked", check(200, full, "conditional", "conditional"), {
      range: whole,
      ranges: "plain"
    }],
    ["the whole file, when less is known already", check(200, full, "conditional", "plain"), { range: whole }],
    ["the whole file without If-Range", check(200, full, "plain"), { range: whole, ranges: "none" }],
    ["the whole file of an origin with ranges", check(200, { ...full, "accept-ranges": "Bytes" }, "plain"), {
      range: whole
    }],
    ["the whole file as requested", check(200, full, "none"), { range: whole }],
    ["the whole of another file", check(200, { ...full, etag: "\"2\"" }), "RepresentationChanged"],
    ...[404, 410, 412, 416].map((status) => [`${status}`, check(status, {}), "RepresentationChanged"] as const),
    ...[204, 301, 403, 500].map((status) => [`${status}`, check(status, {}), "OriginUnexpected"] as const),
    ["503 with Retry-After", check(503, { "retry-after": "5" }), "OriginUnexpected 5000"]
  ]

  it.each(cases)("of %s", (_, result, expected) => {
    assert.deepStrictEqual(result, expected)
  })
})

describe("ignoresRanges", () => {
  it("only of a 200 to a plain range request, without Accept-Ranges", () => {
    assert.isTrue(ignoresRanges({ status: 200, headers: {} }, "plain"))
    assert.isFalse(ignoresRanges({ status: 206, headers: {} }, "plain"))
    assert.isFalse(ignoresRanges({ status: 200, headers: { "accept-ranges": "bytes" } }, "plain"))
    assert.isFalse(ignoresRanges({ status: 200, headers: {} }, "conditional"))
  })
})
