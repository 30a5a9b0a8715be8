import { assert, describe, it } from "@effect/vitest"
import { type Exchange, formatJson, formatPretty } from "../../../../src/http/server/RequestLog.ts"

const exchange: Exchange = {
  method: "GET",
  url: "/films/a.mp4",
  status: 206,
  outcome: "hit",
  source: "memory",
  detail: undefined,
  bytes: 65536,
  milliseconds: 1.23456,
  isCut: false
}

const AT = "2030-01-02T03:04:05.678Z"

describe("the log of requests", () => {
  it("has a JSON object a line", () => {
    const { detail: _, isCut: _1, ...told } = exchange
    assert.deepStrictEqual(JSON.parse(formatJson(exchange, AT)), {
      timestamp: AT,
      level: "INFO",
      message: "request",
      ...told,
      milliseconds: 1.23
    })
    assert.deepInclude(JSON.parse(formatJson({ ...exchange, isCut: true, detail: "DISK_FULL" }, AT)), {
      cut: true,
      detail: "DISK_FULL"
    })
    assert.notProperty(JSON.parse(formatJson({ ...exchange, source: undefined }, AT)), "source")
  })

  it("has a line for people", () => {
    assert.strictEqual(
      formatPretty({ ...exchange, isCut: true }, AT),
      "[03:04:05.678] INFO: GET /films/a.mp4 206 hit memory 65536 B 1.23 ms CUT"
    )
  })

  it("lets nothing through that a terminal or a reader of lines takes for more", () => {
    const url = "/a\"b\\c\u009b31m\u0085\u2028\u00e9?…"
    for (const line of [formatJson({ ...exchange, url }, AT), formatPretty({ ...exchange, url }, AT)]) {
      assert.match(line, /^[ -~…]*$/)
    }
    assert.strictEqual(JSON.parse(formatJson({ ...exchange, url }, AT)).url, "/a\"b\\c%9B31m%85%2028%E9?…")
  })
})
