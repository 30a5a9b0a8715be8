import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Fiber } from "effect"
import { TestClock } from "effect/testing"
import { patience, silence } from "../../../src/workers/silence.ts"

describe("silence", () => {
  it.effect("is over when nothing was heard for the whole time", () =>
    Effect.gen(function*() {
      let isHeard = false
      const wait = yield* Effect.forkChild(silence(10_000, () => {
        const was = isHeard
        isHeard = false
        return was
      }))
      for (let i = 0; i < 5; i++) {
        yield* TestClock.adjust("9 seconds")
        assert.isUndefined(wait.pollUnsafe())
        isHeard = true
      }
      yield* TestClock.adjust("9 seconds")
      assert.isUndefined(wait.pollUnsafe())
      yield* TestClock.adjust("2 seconds")
      assert.isDefined(wait.pollUnsafe())
    }))

  it.effect("counts a pause of the process as one step", () =>
    Effect.gen(function*() {
      // Timers of this clock fire once each, whatever time it is.
      const clock = yield* Clock.Clock
      const waiting: Array<() => void> = []
      const sleep = () => Effect.callback<void>((resume) => void waiting.push(() => resume(Effect.void)))
      const paused = Object.assign(Object.create(clock), { sleep })
      let isHeard = false
      const wait = yield* Effect.forkChild(
        silence(10_000, () => isHeard).pipe(Effect.provideService(Clock.Clock, paused)),
        { startImmediately: true }
      )
      yield* TestClock.adjust("1 hour")
      waiting.shift()!()
      yield* Effect.yieldNow
      assert.isUndefined(wait.pollUnsafe())
      // What was said meanwhile is read behind the overdue timer.
      isHeard = true
      waiting.shift()!()
      yield* Effect.yieldNow
      assert.isUndefined(wait.pollUnsafe())
      yield* Fiber.interrupt(wait)
    }))

  it.effect("patience ends by itself", () =>
    Effect.gen(function*() {
      const wait = yield* Effect.forkChild(patience(2000))
      yield* TestClock.adjust("1900 millis")
      assert.isUndefined(wait.pollUnsafe())
      yield* TestClock.adjust("200 millis")
      assert.isDefined(wait.pollUnsafe())
    }))
})
