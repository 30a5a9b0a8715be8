import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect } from "effect"
import { TestClock } from "effect/testing"
import type { Worker } from "node:cluster"
import { EventEmitter } from "node:events"
import { Member, replicasOf } from "../../../src/workers/members.ts"
import type { ToWorker } from "../../../src/workers/messages.ts"

/** A worker process that does nothing by itself. */
const makeWorker = (pid: number | undefined = 1) => {
  const sent: Array<ToWorker> = []
  const signals: Array<string> = []
  const process = Object.assign(new EventEmitter(), {
    process: { pid, kill: (signal: string) => signals.push(signal) },
    isConnected: () => true,
    send: (message: ToWorker) => sent.push(message)
  })
  return { process, sent, signals, member: new Member(process as unknown as Worker, () => {}) }
}

describe("a worker that has to take note", () => {
  it.effect("is waited for, and not killed when it does in time", () =>
    Effect.gen(function*() {
      const { member, sent, signals } = makeWorker()
      const settled = yield* Effect.forkChild(replicasOf(new Set([member])).settled, { startImmediately: true })
      assert.deepStrictEqual(sent, [{ _tag: "Settle", number: 1 }])
      yield* TestClock.adjust("1 second")
      assert.isUndefined(settled.pollUnsafe())
      member.settled(1)
      yield* TestClock.adjust("10 seconds")
      assert.isDefined(settled.pollUnsafe())
      assert.deepStrictEqual(signals, [])
    }))

  it.effect("is killed after two seconds, and then not waited for", () =>
    Effect.gen(function*() {
      const { member, signals } = makeWorker()
      const settled = yield* Effect.forkChild(member.settle, { startImmediately: true })
      yield* TestClock.adjust("2 seconds")
      assert.isDefined(settled.pollUnsafe())
      assert.deepStrictEqual(signals, ["SIGKILL"])
    }))

  it.effect("is not waited for when it ends, or has ended", () =>
    Effect.gen(function*() {
      const { member, process } = makeWorker()
      const settled = yield* Effect.forkChild(member.settle, { startImmediately: true })
      process.emit("exit", 1, null)
      yield* Effect.yieldNow
      assert.isDefined(settled.pollUnsafe())
      yield* member.settle
    }))
})

describe("the end of a worker", () => {
  it.effect.each([
    [[7, null], "7"],
    [[null, "SIGKILL"], "SIGKILL"]
  ])("is told by its exit code or signal", ([event, how]) =>
    Effect.gen(function*() {
      const { member, process } = makeWorker()
      process.emit("exit", ...event as Array<unknown>)
      assert.strictEqual(yield* Deferred.await(member.ended), how)
    }))

  it.effect("is also that it cannot be started", () =>
    Effect.gen(function*() {
      const { member, process } = makeWorker(Number.NaN)
      Object.assign(process.process, { pid: undefined })
      process.emit("error", new Error("spawn EMFILE"))
      assert.strictEqual(yield* Deferred.await(member.ended), "spawn EMFILE")
    }))

  it.effect("is not that a message could not be sent", () =>
    Effect.gen(function*() {
      const { member, process } = makeWorker()
      process.emit("error", new Error("write EPIPE"))
      assert.isFalse(Deferred.isDoneUnsafe(member.ended))
    }))
})
