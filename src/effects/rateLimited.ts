import { Clock, Effect } from "effect"

/** How often the same thing is said, in milliseconds. */
const INTERVAL_MILLIS = 60_000

/** How many things are distinguished; all others count as one. */
const MAX_THINGS = 64

/**
 * Runs an effect, which does nothing when one for the same thing was run less than a minute ago: what strangers bring about must not
 * fill the log.
 */
export const makeRateLimited = (): (thing: string, effect: Effect.Effect<void>) => Effect.Effect<void> => {
  const said = new Map<string, number>()
  return (thing, effect) =>
    Effect.flatMap(Clock.currentTimeMillis, (now) => {
      for (const [other, at] of said) {
        // A clock that has been set back silences nothing for longer.
        if (Math.abs(now - at) >= INTERVAL_MILLIS) said.delete(other)
      }
      const known = said.has(thing) || said.size < MAX_THINGS ? thing : ""
      if (said.has(known)) return Effect.void
      said.set(known, now)
      return effect
    })
}

/** `effect`, which does nothing when it was run less than a minute ago. */
export const rateLimited = (effect: Effect.Effect<void>): Effect.Effect<void> => makeRateLimited()("", effect)
