import type { Metric } from "effect"

/** One of the observed values, with the trace that it belongs to. */
export interface Exemplar {
  readonly traceId: string
  readonly value: number
  /** In milliseconds since 1970. */
  readonly at: number
}

/** What a histogram has counted: how many values lie in each bucket, the last of which has no upper bound, and their sum. */
export interface HistogramCounts {
  readonly buckets: ReadonlyArray<number>
  readonly sum: number
  /** The last exemplar of each bucket that has one, by its position. Missing if no bucket has one. */
  readonly exemplars?: ReadonlyMap<number, Exemplar>
}

/** The state of a metric. */
export interface HistogramState extends Metric.HistogramState {
  readonly exemplars?: HistogramCounts["exemplars"]
}

/** Counts values by ranges. Observing a value without a trace allocates nothing. */
export class Histogram {
  readonly #bounds: ReadonlyArray<number>
  readonly #buckets: Array<number>
  #sum = 0
  #min = Number.POSITIVE_INFINITY
  #max = Number.NEGATIVE_INFINITY
  #exemplars: Map<number, Exemplar> | undefined

  /** `bounds` are the upper bounds of the buckets, inclusive, in ascending order. */
  constructor(bounds: ReadonlyArray<number>) {
    this.#bounds = bounds
    this.#buckets = Array.from({ length: bounds.length + 1 }, () => 0)
  }

  /** Counts `value`. With `trace`, it is the exemplar of its bucket from then on. */
  observe(value: number, trace?: Pick<Exemplar, "at" | "traceId">): void {
    let index = 0
    while (index < this.#bounds.length && value > this.#bounds[index]!) index += 1
    this.#buckets[index]! += 1
    this.#sum += value
    this.#min = Math.min(this.#min, value)
    this.#max = Math.max(this.#max, value)
    if (trace !== undefined) (this.#exemplars ??= new Map()).set(index, { value, at: trace.at, traceId: trace.traceId })
  }

  /** Adds what a histogram with the same bounds has counted. */
  add({ buckets, exemplars, sum }: HistogramCounts): void {
    buckets.forEach((count, index) => {
      if (count === 0) return
      this.#buckets[index]! += count
      this.#min = Math.min(this.#min, this.#bounds[index - 1] ?? 0)
      this.#max = Math.max(this.#max, this.#bounds[index] ?? this.#bounds.at(-1)!)
    })
    this.#sum += sum
    for (const [index, exemplar] of exemplars ?? []) {
      this.#exemplars ??= new Map()
      if (exemplar.at >= (this.#exemplars.get(index)?.at ?? 0)) this.#exemplars.set(index, exemplar)
    }
  }

  /** A copy of all counts. */
  counts(): HistogramCounts {
    const exemplars = this.#exemplars && new Map(this.#exemplars)
    return { buckets: [...this.#buckets], sum: this.#sum, ...(exemplars && { exemplars }) }
  }

  /** The state of a metric, with cumulative buckets. */
  state(): HistogramState {
    let count = 0
    const exemplars = this.#exemplars && new Map(this.#exemplars)
    const buckets = [...this.#bounds, Number.POSITIVE_INFINITY].map((bound, index): [number, number] => {
      count += this.#buckets[index]!
      return [bound, count]
    })
    const min = count === 0 ? 0 : this.#min
    const max = count === 0 ? 0 : this.#max
    return { buckets, count, min, max, sum: this.#sum, ...(exemplars && { exemplars }) }
  }
}

/** The counts since `before`, or `undefined` without any. */
export const countsSince = (before: HistogramCounts, now: HistogramCounts): HistogramCounts | undefined => {
  const buckets = now.buckets.map((count, index) => count - before.buckets[index]!)
  if (!buckets.some((count) => count > 0)) return undefined
  const exemplars = now.exemplars && new Map([...now.exemplars].filter(([index]) => buckets[index]! > 0))
  return { buckets, sum: now.sum - before.sum, ...(exemplars && { exemplars }) }
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
