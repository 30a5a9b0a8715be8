import { assert, describe, it } from "@effect/vitest"
import { Effect, Logger } from "effect"
import { heeding } from "../../../src/workers/heeding.ts"

describe("a listener of messages", () => {
  it.effect("that throws is logged, and hears the next message", () =>
    Effect.gen(function*() {
      const heard: Array<number> = []
      const listener = (yield* heeding)((message: number) => {
        if (message === 1) throw new Error("a defect")
        heard.push(message)
      })
      for (const message of [0, 1, 2]) listener(message)
      assert.deepStrictEqual(heard, [0, 2])
      assert.strictEqual(logged, 1)
    }).pipe(Effect.provide(Logger.layer([Logger.make(() => void (logged += 1))]))))
})

let logged = 0
