import { Duration, Effect, Metric, Random } from "effect"
import { canBeHadElsewhere, isTransient, type OriginError } from "../../domain/OriginError.ts"

/** How often a request is repeated without a byte having arrived in between. */
const RETRIES = 3

/** The pause before the first retry. It doubles with each, plus or minus half. */
const PAUSE = Duration.millis(100)

/** Counts retries. */
export const retries = Metric.counter("spillway_origin_retries_total", {
  description: "Requests to origins that were retried",
  incremental: true
})

/** Whether to repeat a request after `failures` failures in a row, of which `error` was the last. */
export const mayRetry = (error: OriginError, failures: number): boolean => isTransient(error) && failures <= RETRIES

/** Whether the next try is the last one, after `failures` failures in a row. */
export const isLastTry = (failures: number): boolean => failures >= RETRIES

/** Waits before the next try: exponential backoff with jitter, but at least `atLeast` milliseconds. */
export const pause = Effect.fnUntraced(function*(failures: number, atLeast = 0) {
  yield* Metric.update(retries, 1)
  const jitter = 0.5 + (yield* Random.next)
  yield* Effect.sleep(Math.max(atLeast, Duration.toMillis(PAUSE) * 2 ** (failures - 1) * jitter))
})

/** Waits before the rest of a body that failed with `error` is requested, unless another origin has it. */
export const pauseAfter = (error: OriginError, failures: number, atLeast = 0): Effect.Effect<void> =>
  canBeHadElsewhere(error) ? Metric.update(retries, 1) : pause(failures, atLeast)
