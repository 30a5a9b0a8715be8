import { assert, describe, it } from "@effect/vitest"
import { fromHead, type Representation } from "../../../../src/domain/Representation.ts"
import { make } from "../../../../src/domain/Resource.ts"
import { freshnessOf } from "../../../../src/domain/rfc/Freshness.ts"
import { explainStorable } from "../../../../src/services/operate/explanations.ts"

const headers = { "etag": "\"a\"", "content-length": "1000", "cache-control": "max-age=60" }

const explain = (unwritable: { readonly message: string } | undefined) => {
  const representation = fromHead(
    make("https://media.example.org/a"),
    { status: 200, headers },
    65536
  ) as Representation
  const freshness = freshnessOf(headers, { requested: 0, received: 0 }, undefined, 0)
  return explainStorable({ now: 0, ttl: [], maxSize: 1e9, unwritable }, representation, freshness, headers)
}

describe("why a file is not cached", () => {
  it("is that nobody has requested it, if it can be written", () => {
    const { advice, reasons } = explain(undefined)
    assert.deepStrictEqual(reasons.map(({ code }) => code), ["NOT_ASKED_FOR"])
    assert.include(advice.join(), "spillway warm")
  })

  it("is the disk, if it can't be written: fetching ahead wouldn't help", () => {
    const { advice, reasons } = explain({ message: "no space left on the disk" })
    assert.deepStrictEqual(reasons.map(({ code }) => code), ["STORE_UNUSABLE"])
    assert.notInclude(advice.join(), "spillway warm")
    assert.include(advice.join(), "disk")
  })
})
