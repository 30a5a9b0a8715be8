import { assert, describe, it } from "@effect/vitest"
import { formatCombined, formatJson, formatPretty } from "../../../src/cli/requestLines.ts"
import type { Exchange } from "../../../src/http/server/RequestLog.ts"

const exchange: Exchange = {
  client: "192.0.2.7",
  forwardedFor: undefined,
  host: "media.example.org",
  method: "GET",
  url: "/films/a.mp4",
  httpVersion: "1.1",
  range: "bytes=0-65535",
  referer: undefined,
  userAgent: "VLC/3.0",
  requestId: "4bf92f3577b34da6a3ce929d0e0e4736",
  isOwnPage: false,
  status: 206,
  outcome: "hit",
  source: "memory",
  detail: undefined,
  bytes: 65536,
  firstByteMillis: 0.98765,
  milliseconds: 1.23456,
  isCut: false
}

const AT = "2030-01-02T03:04:05.678Z"

const formats = { formatJson, formatPretty, formatCombined }

describe("a line of the access log", () => {
  it("can be an object of JSON", () => {
    assert.deepStrictEqual(JSON.parse(formatJson(exchange, AT)), {
      timestamp: AT,
      level: "INFO",
      message: "request",
      client: "192.0.2.7",
      host: "media.example.org",
      method: "GET",
      url: "/films/a.mp4",
      range: "bytes=0-65535",
      status: 206,
      outcome: "hit",
      source: "memory",
      bytes: 65536,
      firstByteMilliseconds: 0.99,
      milliseconds: 1.23,
      userAgent: "VLC/3.0",
      requestId: "4bf92f3577b34da6a3ce929d0e0e4736"
    })
    const told = { isCut: true, detail: "DISK_FULL", forwardedFor: "203.0.113.9", isOwnPage: true }
    assert.deepInclude(JSON.parse(formatJson({ ...exchange, ...told }, AT)), {
      cut: true,
      detail: "DISK_FULL",
      forwardedFor: "203.0.113.9",
      level: "DEBUG"
    })
    assert.notProperty(JSON.parse(formatJson({ ...exchange, source: undefined }, AT)), "source")
  })

  it("can be text for people", () => {
    assert.strictEqual(
      formatPretty({ ...exchange, isCut: true }, AT),
      "[03:04:05.678] INFO: 192.0.2.7 GET /films/a.mp4 bytes=0-65535 206 hit memory 65536 B 1.23 ms CUT"
    )
    assert.strictEqual(
      formatPretty({ ...exchange, client: undefined, range: undefined, isOwnPage: true }, AT),
      "[03:04:05.678] DEBUG: - GET /films/a.mp4 206 hit memory 65536 B 1.23 ms"
    )
  })

  it("can have the combined format", () => {
    assert.strictEqual(
      formatCombined({ ...exchange, referer: "https://example.org/" }, AT),
      "192.0.2.7 - - [02/Jan/2030:03:04:05 +0000] \"GET /films/a.mp4 HTTP/1.1\" 206 65536 \"https://example.org/\" \"VLC/3.0\""
    )
    assert.include(formatCombined({ ...exchange, userAgent: "a\"b\\c" }, AT), "\"-\" \"a\\\"b\\\\c\"")
  })

  it.each(Object.entries(formats))(
    "has nothing that a terminal or a reader of lines takes for more (%s)",
    (_, format) => {
      const hostile = "/a\"b\\c\u009b31m\u0085\u2028\u00e9\n\x1b[31m"
      const fields = ["url", "host", "range", "referer", "userAgent", "requestId", "forwardedFor"] as const
      for (const field of fields) assert.match(format({ ...exchange, [field]: hostile }, AT), /^[ -~]*$/)
    }
  )

  it("has no space in the URL of a line for people", () => {
    for (const format of [formatPretty, formatCombined]) {
      assert.include(format({ ...exchange, url: "/a b" }, AT), "/a%20b")
    }
  })
})
