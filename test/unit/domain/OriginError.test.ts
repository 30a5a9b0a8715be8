import { assert, describe, it } from "@effect/vitest"
import {
  isTransient,
  loggable,
  OriginBodyFailed,
  OriginForbidden,
  OriginTimeout,
  OriginUnexpected,
  OriginUnreachable,
  RepresentationChanged,
  retryAfterMillis
} from "../../../src/domain/OriginError.ts"

const url = "http://origin.example/a"

describe("isTransient", () => {
  it("holds for what a second request may mend", () => {
    assert.isTrue(isTransient(new OriginUnreachable({ url, cause: new Error("refused") })))
    assert.isTrue(isTransient(new OriginBodyFailed({ url, offset: 7, cause: new Error("reset") })))
    assert.isFalse(isTransient(new RepresentationChanged({ url, status: 200 })))
    assert.isFalse(isTransient(new OriginForbidden({ url })))
  })

  it.each(["queue", "connect", "header", "body"] as const)("holds when the time is up in the phase %s", (phase) => {
    assert.isTrue(isTransient(new OriginTimeout({ url, phase })))
  })

  it.each([[429, true], [502, true], [503, true], [504, true], [200, false], [401, false], [403, false], [500, true]])(
    "status %i: %s",
    (status, expected) => {
      assert.strictEqual(isTransient(new OriginUnexpected({ url, status, detail: "no body" })), expected)
    }
  )
})

describe("messages", () => {
  it("name the URL and what happened", () => {
    const errors = [
      new OriginUnreachable({ url, cause: "refused" }),
      new OriginTimeout({ url, phase: "queue" }),
      new OriginTimeout({ url, phase: "connect" }),
      new OriginTimeout({ url, phase: "header" }),
      new OriginTimeout({ url, phase: "body" }),
      new OriginForbidden({ url }),
      new OriginBodyFailed({ url, offset: 7, cause: "reset" }),
      new OriginUnexpected({ url, status: 418, detail: "a teapot", retryAfter: 1000 }),
      new RepresentationChanged({ url, status: 200 })
    ]
    for (const { message } of errors) assert.isTrue(message.startsWith(`${url}: `))
    assert.strictEqual(new Set(errors.map(({ message }) => message)).size, errors.length)
    assert.include(errors[6]!.message, "7")
    assert.include(errors[7]!.message, "418: a teapot")
  })
})

describe("loggable", () => {
  it.each([
    ["http://a.example/x", "http://a.example/x"],
    ["http://a.example/x?token=secret", "http://a.example/x?…"],
    ["http://a.example/x?", "http://a.example/x?…"],
    ["http://a.example/x?a?b\nsecret", "http://a.example/x?…"],
    ["http://a.example/x#secret", "http://a.example/x"],
    ["http://a.example/x?a#secret", "http://a.example/x?…"],
    ["http://user:secret@a.example/x", "http://a.example/x"],
    ["http://user@secret@a.example:8080/", "http://a.example:8080/"],
    ["HTTPS://user:secret@a.example?b@c", "HTTPS://a.example?…"],
    ["http:user:secret@a.example/", "http:a.example/"],
    ["http:\\\\user:secret@a.example/", "http:\\\\a.example/"],
    ["http://a.example/@b", "http://a.example/@b"]
  ])("%s: %s", (text, expected) => {
    assert.strictEqual(loggable(text), expected)
  })
})

describe("retryAfterMillis", () => {
  const now = Date.UTC(2026, 0, 2, 3, 4, 5)

  it.each([
    [undefined, undefined],
    ["0", 0],
    ["120", 120_000],
    ["9".repeat(400), Number.MAX_SAFE_INTEGER],
    ["Fri, 02 Jan 2026 03:04:15 GMT", 10_000],
    ["Fri, 02 Jan 2026 03:04:05 GMT", 0],
    ["Thu, 01 Jan 2026 00:00:00 GMT", 0],
    ["", undefined],
    ["-1", undefined],
    ["1.5", undefined],
    ["1e3", undefined],
    ["1, 2", undefined],
    ["2026-01-02T03:04:15Z", undefined],
    ["02 Jan 2026", undefined],
    ["Fri, 02 Foo 2026 03:04:15 GMT", undefined],
    ["Fri, 02 Jan 2026 03:04:15 +0100", undefined]
  ])("%s: %s", (value, expected) => {
    assert.strictEqual(retryAfterMillis(value === undefined ? {} : { "retry-after": value }, now), expected)
  })
})
