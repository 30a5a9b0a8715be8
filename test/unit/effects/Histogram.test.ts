import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"
import { countsSince, Histogram, quantileOf, sumOf } from "../../../src/effects/Histogram.ts"

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

  it("keeps the last exemplar of each bucket, of another process too", () => {
    const trace = (traceId: string, at: number) => ({ traceId, at })
    const other = histogramOf([1])
    assert.notProperty(other.counts(), "exemplars")
    other.observe(2, trace("old", 1))
    const then = other.counts()
    other.observe(3, trace("b", 5))
    other.observe(50, trace("c", 6))
    other.observe(60)
    const since = countsSince(then, other.counts())!
    // A bucket without new values isn't told again.
    assert.deepStrictEqual(
      [...countsSince(other.counts(), { ...other.counts(), buckets: [2, 2, 2, 0] })!.exemplars!],
      []
    )
    const sum = histogramOf([])
    sum.observe(4, trace("a", 9))
    sum.add(since)
    assert.deepStrictEqual([...sum.state().exemplars!], [
      [1, { value: 4, traceId: "a", at: 9 }],
      [2, { value: 50, traceId: "c", at: 6 }]
    ])
  })

  it("has quantiles, which are bounds of buckets", () => {
    const quantile = (values: ReadonlyArray<number>, q: number) => quantileOf(histogramOf(values).counts(), BOUNDS, q)
    assert.strictEqual(quantile([], 0.5), undefined)
    assert.strictEqual(quantile([0, 5, 50, 50], 0.5), 10)
    assert.strictEqual(quantile([0, 5, 50, 50], 0.51), 100)
    assert.strictEqual(quantile([5000], 0.5), 100)
  })

  it("can be summed", () => {
    const counts = [[1, 2], [3, 20], [200]].map((values) => histogramOf(values).counts())
    assert.deepStrictEqual(sumOf(counts), histogramOf([1, 2, 3, 20, 200]).counts())
    assert.strictEqual(sumOf([]), undefined)
  })
})
