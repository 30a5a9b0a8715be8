import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"
import {
  acceptedBy,
  codingOf,
  dependsOnAccepted,
  everyAccepted,
  isAcceptable,
  isSubset,
  only,
  UNCODED,
  withCodingInVary
} from "../../../../src/domain/rfc/ContentCoding.ts"

describe("acceptedBy", () => {
  it.each([
    ["no field", undefined, "identity"],
    ["an empty field", "", "identity"],
    ["curl", "deflate, gzip, br, zstd", "zstd, br, gzip"],
    ["a browser", "gzip, deflate, br", "br, gzip"],
    ["a browser's player", "identity;q=1, *;q=0", "identity"],
    ["another order", "br,gzip", "br, gzip"],
    ["upper case", "GZIP, Br", "br, gzip"],
    ["an alias (RFC 9110 §8.4.1.3)", "x-gzip", "gzip"],
    ["any", "*", "zstd, br, gzip"],
    ["any but one", "br;q=0, *", "zstd, gzip"],
    ["one refused", "gzip;q=0, br", "br"],
    ["a weight of 0.000", "gzip;q=0.000, br; Q=0.5", "br"],
    ["no uncoded response", "gzip, identity;q=0", "gzip, identity;q=0"],
    ["nothing else", "gzip, *;q=0", "gzip, identity;q=0"],
    ["nothing", "*;q=0", "identity;q=0"],
    ["a preference for none", "identity, gzip;q=0.5", "identity"],
    ["a preference for one", "identity;q=0.5, gzip", "gzip"],
    ["no preference", "identity, gzip", "gzip"],
    ["unknown codings", "compress, deflate, dcb", "identity"],
    ["a malformed weight", "gzip;q=nonsense, br;q=2, zstd;q=0.1234", "identity"],
    ["a malformed weight beside any", "gzip;q=nonsense, *", "zstd, br"],
    ["a parameter", "gzip;level=9, br;q=1;x=2", "identity"],
    ["empty members", ", gzip,,", "gzip"],
    ["one twice", "gzip;q=0, gzip", "identity"]
  ])("of %s: %j is %j (RFC 9110 §12.5.3)", (_, field, expected) => {
    assert.strictEqual(acceptedBy(field).field, expected)
  })

  const Weight = Schema.Literals(["", ";q=0", ";q=0.0", ";q=0.001", ";q=1", "; q=1.0", ";q=x"])
  const Name = Schema.Literals(["zstd", "br", "gzip", "GZIP", "x-gzip", "identity", "*", "deflate", ""])
  const Member = Schema.Struct({ name: Name, weight: Weight })

  it.prop("accepts nothing that is refused, in any order", { members: Schema.Array(Member) }, ({ members }) => {
    const field = (members: ReadonlyArray<typeof Member.Type>) => members.map((_) => _.name + _.weight).join(", ")
    const accepted = acceptedBy(field(members))
    assert.strictEqual(acceptedBy(field(members.toReversed())), accepted)
    for (const { name, weight } of members) {
      if (!/q=(0(\.0)?|x)$/.test(weight)) continue
      const coding = name.toLowerCase().replace("x-", "")
      for (const other of accepted.codings) assert.notStrictEqual(other, coding)
    }
    for (const coding of accepted.codings) {
      const isNamed = members.some(({ name }) => name === "*" || name.toLowerCase().replace("x-", "") === coding)
      assert.isTrue(isNamed || coding === "identity", coding)
    }
  })

  it("returns the same for what it has returned, and one of 16 values for anything", () => {
    assert.strictEqual(new Set(everyAccepted.map(({ field }) => field)).size, 16)
    for (const accepted of everyAccepted) assert.strictEqual(acceptedBy(accepted.field), accepted)
  })

  it.prop("is one of 16 values for any text", { field: Schema.String }, ({ field }) => {
    assert.include(everyAccepted, acceptedBy(field))
  })
})

it("isSubset compares sets", () => {
  assert.isTrue(isSubset(UNCODED, only("gzip")))
  assert.isTrue(isSubset(acceptedBy("gzip"), acceptedBy("gzip, br")))
  assert.isFalse(isSubset(acceptedBy("gzip, br"), acceptedBy("gzip")))
  assert.isFalse(isSubset(acceptedBy("gzip"), acceptedBy("gzip, br, identity;q=0")))
})

describe("codingOf", () => {
  it.each([
    [undefined, "identity"],
    ["", "identity"],
    ["Identity", "identity"],
    ["gzip", "gzip"],
    ["x-gzip", "gzip"],
    ["X-GZIP", "gzip"],
    [" br ", "br"],
    ["zstd", "zstd"],
    ["deflate", undefined],
    ["compress", undefined],
    ["aws-chunked", undefined],
    ["gzip, gzip", undefined],
    ["gzip, identity", undefined],
    ["aws-chunked,gzip", undefined],
    ["__proto__", undefined]
  ])("of Content-Encoding %j is %s (RFC 9110 §8.4)", (field, expected) => {
    assert.strictEqual(codingOf(field === undefined ? {} : { "content-encoding": field }), expected)
  })

  it.prop(
    "is acceptable only to requests that name it",
    { field: Schema.Literals(["gzip", "br", "deflate", "zstd"]) },
    ({ field }) => {
      for (const accepted of everyAccepted) {
        assert.strictEqual(
          isAcceptable({ "content-encoding": field }, accepted),
          accepted.field.split(", ").includes(field)
        )
      }
    }
  )
})

describe("Vary", () => {
  it.each([
    [{ "content-encoding": "gzip" }, "Accept-Encoding"],
    [{ "content-encoding": "gzip", vary: "Origin" }, "Origin, Accept-Encoding"],
    [{ "content-encoding": "gzip", vary: "origin, accept-encoding" }, "origin, accept-encoding"],
    [{ vary: "Origin" }, "Origin"],
    [{ "content-encoding": "identity" }, undefined]
  ])("of %j is %j", (headers, expected) => {
    assert.strictEqual(withCodingInVary(headers)["vary"], expected)
  })

  it.each([
    [{ "content-encoding": "gzip" }, true],
    [{ "content-encoding": "deflate" }, true],
    [{ vary: "x, ACCEPT-ENCODING" }, true],
    [{ vary: "accept-encoding-2" }, false],
    [{}, false]
  ])("of %j depends on Accept-Encoding: %s", (headers, expected) => {
    assert.strictEqual(dependsOnAccepted(headers), expected)
  })
})
