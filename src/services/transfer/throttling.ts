import { Effect } from "effect"
import { type Run, type Throttled, yieldPlace } from "./Run.ts"

/** How often throttled runs are looked at, in milliseconds. */
const TICK_MILLIS = 1000

/** How many of these a run is throttled before it yields its place at the origin. */
const YIELD_TICKS = 5

/**
 * Has runs that are throttled for some seconds yield: whoever reads slowly holds no connection. A sequential run is left alone,
 * since it would have to read everything again. A tick that is counted for all costs less than a timer for each pause of a run.
 */
export const makeThrottled = (fork: (effect: Effect.Effect<void>) => unknown): Throttled => {
  const runs = new Set<Run>()
  let ticks = 0
  let isWatching = false
  const watch = Effect.gen(function*() {
    while (runs.size > 0) {
      yield* Effect.sleep(TICK_MILLIS)
      ticks += 1
      for (const run of runs) {
        const { sequential, state } = run
        if (state._tag === "Throttled" && !sequential && ticks - state.since > YIELD_TICKS) yieldPlace(run)
      }
    }
    isWatching = false
  })
  return {
    tick: () => ticks,
    enter: (run) => {
      runs.add(run)
      if (isWatching) return
      isWatching = true
      fork(watch)
    },
    leave: (run) => void runs.delete(run)
  }
}
