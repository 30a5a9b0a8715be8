import { Clock, Effect } from "effect"
import * as Metrics from "../observe/pullMetrics.ts"
import type { DiskState } from "./breakerStates.ts"

/** The errnos that are counted from the start, so that 0 differs from a missing series. */
export const COMMON_ERRNOS = ["ENOSPC", "EDQUOT", "EROFS", "EACCES", "EIO", "TIMEOUT", "MAX_SIZE"]

/** The values of the label `state`: that the cache is usable, or the error for which it isn't. */
const STATES = ["Usable", "DiskFull", "PermissionDenied", "IoError"] as const

const labelOf = (state: DiskState): typeof STATES[number] => state._tag === "Usable" ? state._tag : state.error._tag

/** Registers the metrics of the breaker, whose state `current` returns. */
export const make = Effect.fnUntraced(function*(current: () => DiskState) {
  const clock = yield* Clock.Clock
  const countFailure = yield* Metrics.counters(
    "spillway_cache_failures_total",
    "How often the cache became unusable, or did so for another reason, by errno",
    "errno",
    COMMON_ERRNOS
  )
  const millis = { Usable: 0, DiskFull: 0, PermissionDenied: 0, IoError: 0 }
  let countedTo = clock.currentTimeMillisUnsafe()
  const countTime = () => {
    const now = clock.currentTimeMillisUnsafe()
    millis[labelOf(current())] += now - countedTo
    countedTo = now
  }
  yield* Metrics.gauge(
    "spillway_cache_usable",
    "1 while chunks are kept, 0 while streams pass the cache",
    () => current()._tag === "Usable" ? 1 : 0
  )
  for (const state of STATES) {
    yield* Metrics.counter("spillway_cache_state_seconds_total", "Time that the cache was in each state", () => {
      countTime()
      return millis[state] / 1000
    }, { state })
  }
  return {
    /** Counts a new cause for which the cache is unusable. */
    countFailure: (errno: string) => countFailure(errno),
    /** Adds the time since the last call to the current state. Call it before the state changes. */
    countTime
  }
})
