import { Clock, Effect } from "effect"

/** A clock that no change of the system's time affects: returns milliseconds since some moment. */
export const monotonicMillis: Effect.Effect<() => number> = Effect.map(
  Clock.Clock,
  (clock) => () => Number(clock.monotonicTimeNanosUnsafe()) / 1e6
)
