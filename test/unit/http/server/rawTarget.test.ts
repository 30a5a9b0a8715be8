import { assert, describe, it } from "@effect/vitest"
import { encoded } from "../../../../src/http/server/rawTarget.ts"

describe("encoded", () => {
  it("encodes raw bytes only in a complete request line of the packet", () => {
    const of = (text: string, at: number) =>
      encoded({ code: "HPE_INVALID_URL", rawPacket: Buffer.from(text, "latin1"), bytesParsed: at })?.toString("latin1")
    assert.strictEqual(of("GET /\xe9 HTTP/1.1\r\n\xe9", 5), "GET /%E9 HTTP/1.1\r\n\xe9")
    const before = "GET /a HTTP/1.1\r\n\r\n"
    assert.strictEqual(of(`${before}GET /\xe9 HTTP/1.1\r\n`, before.length + 5), "GET /%E9 HTTP/1.1\r\n")
    for (
      const text of [
        "GET /\xe9",
        "/\xe9 HTTP/1.1\r\n",
        "GET /\xe9 HTTP/2.0\r\n",
        "GET /\xe9 a HTTP/1.1\r\n",
        "\xe9\r\n"
      ]
    ) {
      assert.isUndefined(of(text, text.indexOf("\xe9")), text)
    }
    assert.isUndefined(
      encoded({ code: "HPE_INVALID_METHOD", rawPacket: Buffer.from("GET /\xe9 HTTP/1.1\r\n"), bytesParsed: 5 })
    )
  })
})
