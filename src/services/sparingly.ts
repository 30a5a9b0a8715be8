import { Clock, Effect } from "effect"

/** How often the same thing is said, in milliseconds. */
const INTERVAL_MILLIS = 60_000

/** `effect`, which does nothing when it was run less than a minute ago: what strangers bring about must not fill the log. */
export const sparingly = (effect: Effect.Effect<void>): Effect.Effect<void> => {
  let last = Number.NEGATIVE_INFINITY
  return Effect.flatMap(Clock.currentTimeMillis, (now) => {
    // A clock that has been set back silences nothing for longer.
    if (Math.abs(now - last) < INTERVAL_MILLIS) return Effect.void
    last = now
    return effect
  })
}
