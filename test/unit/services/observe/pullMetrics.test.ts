import { assert, describe, it } from "@effect/vitest"
import { Effect, Metric } from "effect"
import * as Metrics from "../../../../src/services/observe/pullMetrics.ts"

/** The state of a summary. */
const stateOf = (id: string) =>
  Effect.map(Metric.snapshot, (all) => all.find((metric) => metric.id === id)?.state as Metric.SummaryState)

describe("observations", () => {
  it.effect("has quantiles of the last values, and count and sum of all", () =>
    Effect.gen(function*() {
      const observe = yield* Metrics.observations("test_seconds", "A test")
      for (let value = 1; value <= 2000; value++) observe(value)
      const { count, quantiles, sum } = yield* stateOf("test_seconds")
      assert.deepStrictEqual({ count, sum }, { count: 2000, sum: 2_001_000 })
      // The last 1024 are 977 to 2000.
      assert.deepStrictEqual(quantiles, [[0.5, 1488], [0.9, 1898], [0.99, 1990], [1, 2000]])
    }))

  it.effect("has quantiles of 0 without a value", () =>
    Effect.gen(function*() {
      yield* Metrics.observations("test_empty_seconds", "A test")
      const { count, quantiles } = yield* stateOf("test_empty_seconds")
      assert.strictEqual(count, 0)
      assert.deepStrictEqual(quantiles.map(([, value]) => value), [0, 0, 0, 0])
    }))
})
