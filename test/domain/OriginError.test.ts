import { assert, describe, it } from "@effect/vitest"
import {
  isTransient,
  OriginBodyFailed,
  OriginTimeout,
  OriginUnexpected,
  OriginUnreachable,
  RepresentationChanged
} from "../../src/domain/OriginError.ts"

const url = "http://origin.example/a"

describe("isTransient", () => {
  it("holds for what a second request may mend", () => {
    assert.isTrue(isTransient(new OriginUnreachable({ url, cause: new Error("refused") })))
    assert.isTrue(isTransient(new OriginTimeout({ url, phase: "header" })))
    assert.isTrue(isTransient(new OriginBodyFailed({ url, offset: 7, cause: new Error("reset") })))
    assert.isFalse(isTransient(new RepresentationChanged({ url })))
  })

  it.each([[429, true], [502, true], [503, true], [504, true], [200, false], [401, false], [403, false], [500, false]])(
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
      new OriginTimeout({ url, phase: "body" }),
      new OriginBodyFailed({ url, offset: 7, cause: "reset" }),
      new OriginUnexpected({ url, status: 418, detail: "a teapot" }),
      new RepresentationChanged({ url })
    ]
    for (const { message } of errors) assert.isTrue(message.startsWith(`${url}: `))
    assert.include(errors[2]!.message, "7")
    assert.include(errors[3]!.message, "418: a teapot")
  })
})
