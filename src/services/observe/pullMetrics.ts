import { Effect, Metric, type Scope } from "effect"
import { Histogram } from "../../effects/Histogram.ts"

/**
 * Metrics whose values are read when they are exported. The values are plain numbers of the services that count, so counting costs one
 * addition.
 */

type Labels = Readonly<Record<string, string>>

const ignore = (): void => {}

/**
 * Registers a series, and replaces one of the same name and labels. When the scope closes, the series keeps its last value, to be exported,
 * but no reference to the service.
 */
const enter = <State>(
  type: "Counter" | "Gauge" | "Histogram" | "Summary",
  id: string,
  description: string,
  labels: Labels,
  get: () => State
): Effect.Effect<void, never, Scope.Scope> =>
  Effect.flatMap(Metric.MetricRegistry, (registry) => {
    const key = `${type}:${id}:${JSON.stringify(labels)}`
    const hooks = { get, update: ignore, modify: ignore }
    return Effect.acquireRelease(
      Effect.sync(() => registry.set(key, { id, type, description, attributes: labels, hooks })),
      () =>
        Effect.sync(() => {
          const last = hooks.get()
          hooks.get = () => last
        })
    )
  })

/** A value that only grows. `name` ends with `_total`. */
export const counter = (name: string, description: string, read: () => number, labels: Labels = {}) =>
  enter("Counter", name, description, labels, () => ({ count: read(), incremental: true }))

/** A value that grows and shrinks. */
export const gauge = (name: string, description: string, read: () => number, labels: Labels = {}) =>
  enter("Gauge", name, description, labels, () => ({ value: read() }))

/** How many observed values lie in each range, with count and sum since the start. */
export const histogram = (
  name: string,
  description: string,
  read: () => Metric.HistogramState,
  labels: Labels = {}
) => enter("Histogram", name, description, labels, read)

/** Quantiles of observed values, with count and sum since the start. */
export const summary = (name: string, description: string, read: () => Metric.SummaryState) =>
  enter("Summary", name, description, {}, read)

/** How many of the last values `observations` computes quantiles from, and which ones. */
const MAX_OBSERVATIONS = 1024
const QUANTILES = [0.5, 0.9, 0.99, 1]

/** A summary of the last observed values. Returns the function that observes one. Until there is one, the quantiles are 0. */
export const observations = Effect.fnUntraced(function*(name: string, description: string) {
  const last: Array<number> = []
  let count = 0
  let sum = 0
  yield* summary(name, description, () => {
    const sorted = last.toSorted((a, b) => a - b)
    const at = (q: number) => sorted[Math.max(0, Math.ceil(q * sorted.length) - 1)] ?? 0
    return { quantiles: QUANTILES.map((q) => [q, at(q)] as const), count, min: at(0), max: at(1), sum }
  })
  return (value: number): void => {
    last[count % MAX_OBSERVATIONS] = value
    count += 1
    sum += value
  }
})

/** How many values a label may have. Further values are counted as `other`. */
const MAX_VALUES = 64

/**
 * A counter for each value of a label, registered when it is first counted. Those of `known` are registered at once, because monitoring can't
 * distinguish a missing series from one that is 0.
 */
export const counters = Effect.fnUntraced(function*(
  name: string,
  description: string,
  label: string,
  known: ReadonlyArray<string> = []
) {
  const context = yield* Effect.context<Scope.Scope>()
  const counts = new Map<string, number>()
  const begin = (value: string) =>
    Effect.runSyncWith(context)(
      counter(name, description, () => counts.get(value) ?? 0, { [label]: value })
    )
  for (const value of known) {
    counts.set(value, 0)
    begin(value)
  }
  return (value: string, by = 1): void => {
    const counted = counts.has(value) || counts.size < MAX_VALUES ? value : "other"
    const before = counts.get(counted)
    counts.set(counted, (before ?? 0) + by)
    if (before === undefined) begin(counted)
  }
})

/** A histogram for each value of a label, registered when it is first observed. */
export const histograms = Effect.fnUntraced(function*(
  name: string,
  description: string,
  label: string,
  bounds: ReadonlyArray<number>
) {
  const context = yield* Effect.context<Scope.Scope>()
  const series = new Map<string, Histogram>()
  return (value: string, observed: number): void => {
    const counted = series.has(value) || series.size < MAX_VALUES ? value : "other"
    const known = series.get(counted)
    if (known !== undefined) return known.observe(observed)
    const begun = new Histogram(bounds)
    series.set(counted, begun)
    Effect.runSyncWith(context)(histogram(name, description, () => begun.state(), { [label]: counted }))
    begun.observe(observed)
  }
})
