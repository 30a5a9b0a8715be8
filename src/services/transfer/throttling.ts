import { Effect } from "effect"
import type { Fetch } from "./Fetch.ts"

/** How often throttled fetches are checked, in milliseconds. */
const TICK_MILLIS = 1000

/** How many ticks a fetch may be throttled before it is preempted. */
const PREEMPT_TICKS = 5

/** Waits until a fetch should go on, `true`, or end, `false`. */
export type AwaitDemand = (fetch: Fetch) => Effect.Effect<boolean>

/**
 * Makes `AwaitDemand`. A fetch that waits is throttled. After some seconds it is preempted, so that slow viewers hold no connection; but
 * not if it is sequential, since it would have to read everything again. One timer that ticks for all fetches costs less than a
 * timer for each pause.
 */
export const makeAwaitDemand = (fork: (effect: Effect.Effect<void>) => unknown): AwaitDemand => {
  const throttled = new Set<Fetch>()
  let ticks = 0
  let isTicking = false

  const tick = Effect.gen(function*() {
    while (throttled.size > 0) {
      yield* Effect.sleep(TICK_MILLIS)
      ticks += 1
      for (const fetch of throttled) {
        // The disk may have caught up.
        fetch.wake?.()
        if (!fetch.sequential && fetch.throttledTicks(ticks) > PREEMPT_TICKS) fetch.preempt()
      }
    }
    isTicking = false
  })

  const throttle = (fetch: Fetch): void => {
    fetch.throttle(ticks)
    throttled.add(fetch)
    if (isTicking) return
    isTicking = true
    fork(tick)
  }

  return (fetch) =>
    Effect.callback((resume) => {
      const release = () => {
        fetch.wake = undefined
        throttled.delete(fetch)
      }
      const look = () => {
        const { demand } = fetch
        if (demand === "wait") return false
        if (demand === "go") fetch.resume()
        else fetch.abandon()
        if (fetch.wake !== undefined) release()
        resume(Effect.succeed(demand === "go"))
        return true
      }
      if (look()) return
      throttle(fetch)
      fetch.wake = look
      return Effect.sync(release)
    })
}
