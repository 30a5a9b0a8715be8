import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber } from "effect"
import { TestClock } from "effect/testing"
import * as SingleFlight from "../../../src/effects/SingleFlight.ts"

/** Lets every fiber run until all of them wait. */
const settle = TestClock.adjust(0)

const setUp = Effect.gen(function*() {
  const { share: shared } = SingleFlight.make<string, number, string>()
  const outcome = yield* Deferred.make<number, string>()
  let starts = 0
  let interrupts = 0
  const work = Effect.suspend(() => {
    starts += 1
    return Effect.onInterrupt(Deferred.await(outcome), () => Effect.sync(() => interrupts += 1))
  })
  return { join: Effect.forkChild(shared("key", work)), outcome, counts: () => ({ starts, interrupts }) }
})

describe("SingleFlight", () => {
  it.effect("runs the work once for all who ask while it runs, and anew for who asks later", () =>
    Effect.gen(function*() {
      const { counts, join, outcome } = yield* setUp
      const fibers = [yield* join, yield* join, yield* join]
      yield* settle
      yield* Deferred.succeed(outcome, 7)
      assert.deepStrictEqual(yield* Fiber.joinAll(fibers), [7, 7, 7])
      assert.strictEqual(yield* Fiber.join(yield* join), 7)
      assert.deepStrictEqual(counts(), { starts: 2, interrupts: 0 })
    }))

  it.effect("wakes every waiter when the work fails", () =>
    Effect.gen(function*() {
      const { join, outcome } = yield* setUp
      const fibers = [yield* join, yield* join]
      yield* settle
      yield* Deferred.fail(outcome, "boom")
      for (const fiber of fibers) assert.strictEqual(yield* Effect.flip(Fiber.join(fiber)), "boom")
    }))

  it.effect("goes on while somebody waits, also when the first one leaves, and stops when nobody does", () =>
    Effect.gen(function*() {
      const { counts, join } = yield* setUp
      const first = yield* join
      const second = yield* join
      yield* settle
      yield* Fiber.interrupt(first)
      assert.deepStrictEqual(counts(), { starts: 1, interrupts: 0 })
      yield* Fiber.interrupt(second)
      yield* settle
      assert.deepStrictEqual(counts(), { starts: 1, interrupts: 1 })
      yield* Fiber.interrupt(yield* Effect.tap(join, () => settle))
      assert.strictEqual(counts().starts, 2)
    }))
})
