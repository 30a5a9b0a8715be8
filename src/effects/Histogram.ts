import type { Metric } from "effect"

/** What a histogram has counted: how many values lie in each bucket, the last of which has no upper bound, and their sum. */
export interface HistogramCounts {
  readonly buckets: ReadonlyArray<number>
  readonly sum: number
}

/** Counts values by ranges. Observing a value allocates nothing. */
export class Histogram {
  readonly #bounds: ReadonlyArray<number>
  readonly #buckets: Array<number>
  #sum = 0
  #min = Number.POSITIVE_INFINITY
  #max = Number.NEGATIVE_INFINITY

  /** `bounds` are the upper bounds of the buckets, inclusive, in ascending order. */
  constructor(bounds: ReadonlyArray<number>) {
    this.#bounds = bounds
    this.#buckets = Array.from({ length: bounds.length + 1 }, () => 0)
  }

  observe(value: number): void {
    let index = 0
    while (index < this.#bounds.length && value > this.#bounds[index]!) index += 1
    this.#buckets[index]! += 1
    this.#sum += value
    this.#min = Math.min(this.#min, value)
    this.#max = Math.max(this.#max, value)
  }

  /** Adds what a histogram with the same bounds has counted. */
  add({ buckets, sum }: HistogramCounts): void {
    buckets.forEach((count, index) => {
      if (count === 0) return
      this.#buckets[index]! += count
      this.#min = Math.min(this.#min, this.#bounds[index - 1] ?? 0)
      this.#max = Math.max(this.#max, this.#bounds[index] ?? this.#bounds.at(-1)!)
    })
    this.#sum += sum
  }

  /** A copy of all counts. */
  counts(): HistogramCounts {
    return { buckets: [...this.#buckets], sum: this.#sum }
  }

  /** The state of a metric, with cumulative buckets. */
  state(): Metric.HistogramState {
    let count = 0
    const buckets = [...this.#bounds, Number.POSITIVE_INFINITY].map((bound, index): [number, number] => {
      count += this.#buckets[index]!
      return [bound, count]
    })
    return { buckets, count, min: count === 0 ? 0 : this.#min, max: count === 0 ? 0 : this.#max, sum: this.#sum }
  }
}

/** The counts since `before`, or `undefined` without any. */
export const countsSince = (before: HistogramCounts, now: HistogramCounts): HistogramCounts | undefined => {
  const buckets = now.buckets.map((count, index) => count - before.buckets[index]!)
  return buckets.some((count) => count > 0) ? { buckets, sum: now.sum - before.sum } : undefined
}

/** The sum of counts with the same buckets. */
export const sumOf = (counts: ReadonlyArray<HistogramCounts>): HistogramCounts | undefined =>
  counts.length === 0 ? undefined : counts.reduce((a, b) => ({
    buckets: a.buckets.map((count, index) => count + b.buckets[index]!),
    sum: a.sum + b.sum
  }))

/**
 * The value that the part `q` of the observed values doesn't exceed, as the upper bound of its bucket, or the highest bound for values above
 * it; `undefined` without values.
 */
export const quantileOf = (
  { buckets }: HistogramCounts,
  bounds: ReadonlyArray<number>,
  q: number
): number | undefined => {
  const rank = q * buckets.reduce((sum, count) => sum + count, 0)
  if (rank === 0) return undefined
  let seen = 0
  const index = buckets.findIndex((count) => (seen += count) >= rank)
  return bounds[index] ?? bounds.at(-1)
}
