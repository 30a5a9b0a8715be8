import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"
import { countsSince, Histogram } from "../../../src/effects/Histogram.ts"

const BOUNDS = [1, 10, 100]

const histogramOf = (values: ReadonlyArray<number>): Histogram => {
  const histogram = new Histogram(BOUNDS)
  for (const value of values) histogram.observe(value)
  return histogram
}

const values = Schema.Array(Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 200 })))

describe("Histogram", () => {
  it("counts a value in the first bucket whose bound is not below it", () => {
    const { buckets, count, max, min, sum } = histogramOf([1, 1.5, 10, 100, 101]).state()
    assert.deepStrictEqual(buckets, [[1, 1], [10, 3], [100, 4], [Number.POSITIVE_INFINITY, 5]])
    assert.deepStrictEqual([count, min, max, sum], [5, 1, 101, 213.5])
  })

  it("is empty at first", () => {
    const { count, max, min, sum } = histogramOf([]).state()
    assert.deepStrictEqual([count, min, max, sum], [0, 0, 0, 0])
  })

  it.prop(
    "adds what another one has counted since a moment",
    { own: values, before: values, after: values },
    (given) => {
      const other = histogramOf(given.before)
      const then = other.counts()
      for (const value of given.after) other.observe(value)
      const sum = histogramOf(given.own)
      const since = countsSince(then, other.counts())
      if (since !== undefined) sum.add(since)
      assert.strictEqual(since === undefined, given.after.length === 0)
      assert.deepStrictEqual(sum.counts(), histogramOf([...given.own, ...given.after]).counts())
    }
  )
})
