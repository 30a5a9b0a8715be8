import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { TestClock } from "effect/testing"
import { fromErrno } from "../../../../src/domain/CacheError.ts"
import { DiskBreaker } from "../../../../src/services/disk/DiskBreaker.ts"
import { Counters } from "../../../../src/services/observe/Counters.ts"
import { ResponseMetrics } from "../../../../src/services/observe/ResponseMetrics.ts"
import { CAPACITY, SAMPLE_MILLIS, TrafficHistory } from "../../../../src/services/operate/TrafficHistory.ts"
import { stack } from "../../../support/stack.ts"

const respond = (status: number, firstByteMillis: number) =>
  Effect.map(
    ResponseMetrics,
    ({ record }) => record({ status, source: "memory", firstByteMillis, milliseconds: firstByteMillis })
  )

describe("TrafficHistory", () => {
  it.effect("has a sample each ten seconds, of what happened in them", () =>
    Effect.gen(function*() {
      const history = yield* TrafficHistory
      const counters = yield* Counters
      counters.bytes("disk", 5000)
      for (const status of [200, 200, 206, 503]) yield* respond(status, 2)
      yield* TestClock.adjust(SAMPLE_MILLIS)
      yield* TestClock.adjust(SAMPLE_MILLIS - 1)
      // A probe would close it soon.
      yield* (yield* DiskBreaker).open(fromErrno("EROFS", "write", "/cache"))
      yield* TestClock.adjust(1)
      const [first, second] = history.samples()
      assert.deepInclude(first, {
        at: SAMPLE_MILLIS,
        bytesPerSecond: { memory: 0, disk: 500, peer: 0, origin: 0, passthrough: 0 },
        responsesPerSecond: 0.4,
        errorsPerSecond: 0.1,
        firstByte: { p50: 0.0025, p95: 0.0025 },
        isUsable: true
      })
      assert.deepInclude(second, { responsesPerSecond: 0, firstByte: undefined, isUsable: false })
    }).pipe(Effect.provide(stack("memory"))))

  it.effect("knows the last minute", () =>
    Effect.gen(function*() {
      const { lastMinute } = yield* TrafficHistory
      yield* respond(200, 2)
      yield* TestClock.adjust("2 seconds")
      assert.deepInclude(lastMinute(), { responsesPerSecond: 0.5 })
      yield* TestClock.adjust("2 minutes")
      assert.deepInclude(lastMinute(), { responsesPerSecond: 0, firstByte: undefined })
    }).pipe(Effect.provide(stack("memory"))))

  it.effect("keeps an hour", () =>
    Effect.gen(function*() {
      const { samples } = yield* TrafficHistory
      yield* TestClock.adjust((CAPACITY + 10) * SAMPLE_MILLIS)
      assert.strictEqual(samples().length, CAPACITY)
      assert.strictEqual(samples()[0]!.at, 11 * SAMPLE_MILLIS)
    }).pipe(Effect.provide(stack("memory"))))
})
