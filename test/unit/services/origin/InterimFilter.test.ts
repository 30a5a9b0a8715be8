import { assert, describe, it } from "@effect/vitest"
import { InterimFilter } from "../../../../src/services/origin/InterimFilter.ts"

const CONTINUE = "HTTP/1.1 100 Continue\r\n\r\n"
const HINTS = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nX-Early: 1\r\n\r\n"
const FINAL = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

/** What passes of an answer in pieces of `size` bytes. */
const passed = (text: string, size: number, filter = new InterimFilter()): string => {
  filter.expect()
  let all = ""
  for (let at = 0; at < text.length; at += size) {
    all += filter.take(Buffer.from(text.slice(at, at + size), "latin1"))?.toString("latin1") ?? ""
  }
  return all
}

describe("InterimFilter", () => {
  it.each([
    ["no interim answer", FINAL],
    ["a 100", CONTINUE + FINAL],
    ["a 100 of HTTP/1.0", "HTTP/1.0 100 Continue\r\n\r\n" + FINAL],
    ["a 100 without a reason", "HTTP/1.1 100\r\n\r\n" + FINAL],
    ["a 102", "HTTP/1.1 102 Processing\r\n\r\n" + FINAL],
    ["several of them", CONTINUE + CONTINUE + FINAL],
    ["an unknown one", "HTTP/1.1 199 What\r\nA: b\r\n\r\n" + FINAL]
  ])("passes the final answer alone, however it is cut into pieces: %s", (_, text) => {
    for (let size = 1; size <= text.length; size++) assert.strictEqual(passed(text, size), FINAL, `by ${size}`)
  })

  it("passes a 103, however it is cut into pieces", () => {
    const text = CONTINUE + HINTS + CONTINUE + HINTS + FINAL
    for (let size = 1; size <= text.length; size++) assert.strictEqual(passed(text, size), HINTS + HINTS + FINAL)
  })

  it.each([
    ["switches protocols", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n"],
    ["is no HTTP", "ICY 200 OK\r\n\r\n"],
    ["is of another version", "HTTP/2 100\r\n\r\n"],
    ["has a status of four digits", "HTTP/1.1 1000 No\r\n\r\n"],
    ["ends its lines in two ways", "HTTP/1.1 100 Continue\nA: b\r\n\r\n" + FINAL],
    ["is short", "HTTP/1.1 2"]
  ])("passes as it is what %s", (_, text) => {
    for (const size of [1, 7, text.length]) assert.strictEqual(passed(text, size), text)
  })

  it("leaves a body alone that looks like an interim answer, and everything up to the next request", () => {
    const filter = new InterimFilter()
    const answer = `HTTP/1.1 200 OK\r\nContent-Length: ${CONTINUE.length}\r\n\r\n${CONTINUE}`
    for (const size of [1, answer.length - CONTINUE.length, answer.length]) {
      assert.strictEqual(passed(answer, size, filter), answer)
      assert.strictEqual(filter.take(Buffer.from(CONTINUE))?.toString(), CONTINUE)
    }
    assert.strictEqual(passed(CONTINUE + FINAL, 5, filter), FINAL)
  })

  it("passes an interim answer that is longer than 16 KiB", () => {
    const long = `HTTP/1.1 103 Early Hints\r\nLink: ${"a".repeat(17_000)}\r\n\r\n${FINAL}`
    for (const size of [1000, long.length]) assert.strictEqual(passed(long, size), long)
    const endless = `HTTP/1.1 100 Continue\r\nA: ${"a".repeat(40_000)}`
    assert.strictEqual(passed(endless, 1000), endless)
  })

  it("passes interim answers beyond the 64th", () => {
    assert.strictEqual(passed(CONTINUE.repeat(64) + FINAL, 1000), FINAL)
    assert.strictEqual(passed(CONTINUE.repeat(65) + FINAL, 1000), CONTINUE + FINAL)
  })

  it("tells whether a byte has come since the request", () => {
    const filter = new InterimFilter()
    filter.expect()
    assert.isFalse(filter.hasBegun)
    filter.take(Buffer.from("H"))
    assert.isTrue(filter.hasBegun)
    filter.expect()
    assert.isFalse(filter.hasBegun)
  })
})
