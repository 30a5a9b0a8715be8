import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber } from "effect"
import { PassThrough, type Readable, Writable } from "node:stream"
import { pour } from "../../../src/workers/pour.ts"

/** A target that takes the first piece and then waits. */
const stuck = () => new Writable({ highWaterMark: 1, write() {} })

const endOf = (source: Readable, target: Writable) => Effect.exit(pour(source, target))

const assertBothGone = (exit: Exit.Exit<void, unknown>, source: Readable, target: Writable) => {
  assert.isTrue(Exit.isFailure(exit))
  assert.isTrue(source.destroyed)
  assert.isTrue(target.destroyed)
}

describe("pour", () => {
  it.live("writes everything and ends the target", () =>
    Effect.gen(function*() {
      const [source, target] = [new PassThrough(), new PassThrough()]
      source.end("all of it")
      yield* pour(source, target)
      assert.isTrue(target.writableFinished)
      assert.strictEqual(String(target.read()), "all of it")
    }))

  it.live("fails, and does not throw, when the target was destroyed before", () =>
    Effect.gen(function*() {
      const [source, target] = [new PassThrough(), new PassThrough()]
      source.write("something")
      target.destroy()
      assertBothGone(yield* endOf(source, target), source, target)
    }))

  it.live("fails when the source was destroyed before", () =>
    Effect.gen(function*() {
      const [source, target] = [new PassThrough(), new PassThrough()]
      source.destroy()
      assertBothGone(yield* endOf(source, target), source, target)
    }))

  it.live("fails when the source had failed before", () =>
    Effect.gen(function*() {
      const [source, target] = [new PassThrough(), new PassThrough()]
      source.on("error", () => {})
      source.destroy(new Error("broken"))
      yield* Effect.yieldNow
      assertBothGone(yield* endOf(source, target), source, target)
    }))

  it.live.each(["source", "target"])(
    "destroys both when the %s is destroyed on the way",
    (which) =>
      Effect.gen(function*() {
        const [source, target] = [new PassThrough(), stuck()]
        source.write("something")
        const poured = yield* Effect.forkChild(endOf(source, target), { startImmediately: true })
        yield* Effect.yieldNow
        if (which === "source") source.destroy()
        else target.destroy()
        assertBothGone(yield* Fiber.join(poured), source, target)
      })
  )

  it.live("destroys both when it is interrupted", () =>
    Effect.gen(function*() {
      const [source, target] = [new PassThrough(), stuck()]
      source.write("something")
      const poured = yield* Effect.forkChild(pour(source, target), { startImmediately: true })
      yield* Effect.yieldNow
      yield* Fiber.interrupt(poured)
      assert.isTrue(source.destroyed)
      assert.isTrue(target.destroyed)
    }))
})
