import { assert, describe, it } from "@effect/vitest"
import { endToEnd } from "../../../../src/domain/rfc/HeaderFields.ts"

describe("endToEnd", () => {
  it("keeps what is for the viewer and drops what is for one connection", () => {
    assert.deepStrictEqual(
      endToEnd({
        "content-type": "video/mp4",
        "x-own": "1",
        "etag": "\"a\"",
        "connection": "keep-alive",
        "keep-alive": "timeout=5",
        "proxy-authenticate": "Basic",
        "proxy-authorization": "Basic YTpi",
        "proxy-connection": "keep-alive",
        "te": "trailers",
        "trailer": "x-checksum",
        "transfer-encoding": "chunked",
        "upgrade": "h2c",
        "http2-settings": "AAMAAABk"
      }),
      { "content-type": "video/mp4", "x-own": "1", "etag": "\"a\"" }
    )
  })

  it("drops the fields that Connection lists, in any case and spacing", () => {
    assert.deepStrictEqual(
      endToEnd({ "connection": "close, X-Hop ,\tx-Other,,", "x-hop": "1", "x-other": "2", "x-own": "3" }),
      { "x-own": "3" }
    )
  })

  it("drops what it is told to, and leaves its argument alone", () => {
    const headers = { "age": "1", "x-own": "2" }
    assert.deepStrictEqual(endToEnd(headers, new Set(["age"])), { "x-own": "2" })
    assert.deepStrictEqual(headers, { "age": "1", "x-own": "2" })
  })

  it("gives a record that has only the fields", () => {
    assert.deepStrictEqual(endToEnd({}), {})
    assert.isUndefined(endToEnd({})["connection"])
  })
})
