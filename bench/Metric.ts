import { median, type Spread, spreadOf } from "./statistics.ts"

/** One quantity, measured for several servers in the same rounds. */
export interface Metric {
  readonly scenario: string
  readonly name: string
  readonly unit: string
  readonly better: "higher" | "lower"
  /** By server, one sample a round. */
  readonly samples: Record<string, ReadonlyArray<number>>
  /** What the ratio of Spillway to another server should reach, or stay below where less is better. */
  readonly targets?: Record<string, number>
  /** How much more than another server's the value may be, where that says more than a ratio. */
  readonly within?: Record<string, number>
}

/** Spillway beside one other server. */
export interface Comparison {
  readonly metric: Metric
  readonly peer: string
  readonly spillway: number
  readonly other: number
  /** Of the samples of one round each. */
  readonly ratio: Spread
  readonly difference: Spread
  /** For the ratio. */
  readonly target: number | undefined
  /** For the difference. */
  readonly within: number | undefined
  readonly reached: boolean | undefined
}

/** Collects samples by server. */
export class Samples {
  readonly #byServer: Record<string, Array<number>> = {}

  add(server: string, value: number): void {
    const samples = this.#byServer[server] ??= []
    samples.push(value)
  }

  of(server: string): ReadonlyArray<number> {
    return this.#byServer[server] ?? []
  }

  all(): Metric["samples"] {
    return this.#byServer
  }
}

export const comparisons = (metric: Metric): Array<Comparison> => {
  const mine = metric.samples["spillway"] ?? []
  return Object.entries(metric.samples).filter(([peer]) => peer !== "spillway").map(([peer, others]) => {
    const ratio = spreadOf(mine.map((value, round) => value / (others[round] ?? Number.NaN)))
    const difference = spreadOf(mine.map((value, round) => value - (others[round] ?? Number.NaN)))
    const target = metric.targets?.[peer]
    const within = metric.within?.[peer]
    const reached = within !== undefined
      ? difference.median <= within
      : target === undefined
      ? undefined
      : metric.better === "higher"
      ? ratio.median >= target
      : ratio.median <= target
    return { metric, peer, spillway: median(mine), other: median(others), ratio, difference, target, within, reached }
  })
}
