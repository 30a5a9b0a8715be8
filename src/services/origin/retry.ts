import { Duration, Effect, Metric, Random } from "effect"
import { isTransient, type OriginError } from "../../domain/OriginError.ts"

/** How often the origin is asked again without a byte having arrived in between. */
const RETRIES = 3

/** The pause before the first of these, doubled before each further one, give or take a half. */
const PAUSE = Duration.millis(100)

/** For anyone who tries again to enter it before anything failed. */
export const retries = Metric.counter("spillway_origin_retries_total", {
  description: "Requests to origins that were tried again",
  incremental: true
})

/** Whether it may help to ask again after `failures` failures in a row, of which `error` was the last. */
export const mayRetry = (error: OriginError, failures: number): boolean => isTransient(error) && failures <= RETRIES

/** Waits before the next try: exponential back-off with jitter, or at least `atLeast` milliseconds. */
export const pause = Effect.fnUntraced(function*(failures: number, atLeast = 0) {
  yield* Metric.update(retries, 1)
  const jitter = 0.5 + (yield* Random.next)
  yield* Effect.sleep(Math.max(atLeast, Duration.toMillis(PAUSE) * 2 ** (failures - 1) * jitter))
})
