import { Effect, Metric, type Scope } from "effect"

/**
 * Metrics that are read when somebody asks for them. What is counted is a plain number of the service that counts, so that counting costs an
 * addition.
 */

type Labels = Readonly<Record<string, string>>

const ignore = (): void => {}

/**
 * Enters a series, in place of an older one of the same name and labels. When the scope closes, it keeps its last value, which has
 * yet to be exported, and releases the service that counted.
 */
const enter = <State>(
  type: "Counter" | "Gauge" | "Summary",
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

/** What only grows; `name` ends with `_total`. */
export const counter = (name: string, description: string, read: () => number, labels: Labels = {}) =>
  enter("Counter", name, description, labels, () => ({ count: read(), incremental: true }))

/** What comes and goes. */
export const gauge = (name: string, description: string, read: () => number, labels: Labels = {}) =>
  enter("Gauge", name, description, labels, () => ({ value: read() }))

/** Quantiles of what is observed, with the count and sum since the start. */
export const summary = (name: string, description: string, read: () => Metric.SummaryState) =>
  enter("Summary", name, description, {}, read)

/** How many values a label may have; what is counted under more is counted under `other`. */
const MAX_VALUES = 64

/**
 * A counter for each value of a label, entered when it is first counted; those of `known` at once, since a series that is not there
 * looks the same as one that is 0.
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
    const told = counts.has(value) || counts.size < MAX_VALUES ? value : "other"
    const before = counts.get(told)
    counts.set(told, (before ?? 0) + by)
    if (before === undefined) begin(told)
  }
})
