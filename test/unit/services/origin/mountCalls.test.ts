import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber } from "effect"
import { TestClock } from "effect/testing"
import { makeMountCalls } from "../../../../src/services/origin/mountCalls.ts"

/** Calls that end when they are told to, with a pool as large as that of the program. */
const makeCalls = Effect.gen(function*() {
  const calls = yield* Effect.acquireUseRelease(
    Effect.sync(() => {
      const before = process.env["UV_THREADPOOL_SIZE"]
      process.env["UV_THREADPOOL_SIZE"] = "24"
      return before
    }),
    () => makeMountCalls,
    (before) =>
      Effect.sync(() => {
        if (before === undefined) delete process.env["UV_THREADPOOL_SIZE"]
        else process.env["UV_THREADPOOL_SIZE"] = before
      })
  )
  const running: Array<{ readonly mount: string; readonly end: Effect.Effect<boolean> }> = []
  const start = (mount: string) =>
    Effect.flatMap(Deferred.make<string>(), (end) =>
      Effect.forkChild(
        calls.run(
          mount,
          Effect.suspend(() => {
            running.push({ mount, end: Deferred.succeed(end, mount) })
            return Deferred.await(end)
          })
        ),
        { startImmediately: true }
      ))
  const count = (mount: string) => running.filter((call) => call.mount === mount).length
  return { start, running, count }
})

/** Lets every fiber run until all of them wait. */
const settle = TestClock.adjust(0)

describe("calls to mounts", () => {
  it.effect("get a quarter of the threads, and one mount half of these", () =>
    Effect.gen(function*() {
      const { count, running, start } = yield* makeCalls
      for (let n = 0; n < 10; n++) yield* start("/a")
      yield* settle
      assert.strictEqual(count("/a"), 3)
      for (let n = 0; n < 10; n++) yield* start("/b")
      for (let n = 0; n < 10; n++) yield* start("/c")
      yield* settle
      assert.deepStrictEqual([count("/a"), count("/b"), count("/c")], [3, 3, 0])
      // One by one, as others end.
      yield* running[0]!.end
      yield* settle
      assert.strictEqual(running.length, 7)
    }))

  it.effect("end in the order in which they came, and give back what they held", () =>
    Effect.gen(function*() {
      const { running, start } = yield* makeCalls
      const fibers = yield* Effect.forEach(Array.from({ length: 9 }), () => start("/a"))
      for (let n = 0; n < 9; n++) {
        yield* settle
        yield* running[n]!.end
      }
      const ended = yield* Effect.forEach(fibers, Fiber.join)
      assert.strictEqual(ended.length, 9)
      yield* start("/a")
      yield* settle
      assert.strictEqual(running.length, 10)
    }))

  it.effect("run to their end when nobody waits for them any more, and don't begin if that was before", () =>
    Effect.gen(function*() {
      const { count, running, start } = yield* makeCalls
      const fibers = yield* Effect.forEach(Array.from({ length: 5 }), () => start("/a"))
      yield* settle
      yield* Effect.forEach(fibers, Fiber.interrupt)
      assert.isTrue(Exit.hasInterrupts(yield* Fiber.await(fibers[0]!)))
      yield* start("/a")
      yield* settle
      // The three still hold their threads.
      assert.strictEqual(count("/a"), 3)
      yield* running[0]!.end
      yield* settle
      assert.strictEqual(count("/a"), 4)
      for (const { end } of running) yield* end
      yield* settle
      assert.strictEqual(count("/a"), 4)
    }))
})
