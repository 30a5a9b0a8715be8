import { Effect } from "effect"
import { type Fetch, type Throttled, yieldPlace } from "./Fetch.ts"

/** How often throttled fetches are checked, in milliseconds. */
const TICK_MILLIS = 1000

/** How many of these a fetch is throttled before it yields its place at the origin. */
const YIELD_TICKS = 5

/**
 * Has fetches that are throttled for some seconds yield: anyone who reads slowly holds no connection. A sequential fetch is left alone,
 * since it would have to read everything again. A tick that is counted for all costs less than a timer for each pause of a fetch.
 */
export const makeThrottled = (fork: (effect: Effect.Effect<void>) => unknown): Throttled => {
  const fetches = new Set<Fetch>()
  let ticks = 0
  let isWatching = false
  const watch = Effect.gen(function*() {
    while (fetches.size > 0) {
      yield* Effect.sleep(TICK_MILLIS)
      ticks += 1
      for (const fetch of fetches) {
        const { sequential, state } = fetch
        if (state._tag === "Throttled" && !sequential && ticks - state.since > YIELD_TICKS) yieldPlace(fetch)
      }
    }
    isWatching = false
  })
  return {
    tick: () => ticks,
    enter: (fetch) => {
      fetches.add(fetch)
      if (isWatching) return
      isWatching = true
      fork(watch)
    },
    leave: (fetch) => void fetches.delete(fetch)
  }
}
