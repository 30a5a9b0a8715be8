import { Effect } from "effect"

/** A step of waiting, in milliseconds. */
const STEP_MILLIS = 500

/**
 * Waits until no message has arrived for `millis`. `wasHeard` says whether one has arrived since its last call. Time is counted in steps
 * of this process. After a pause of the process or the machine, the first overdue timer fires before the waiting messages are read, so
 * a pause counts for one step at most.
 */
export const silence = Effect.fnUntraced(function*(millis: number, wasHeard: () => boolean): Effect.fn.Return<void> {
  for (let left = millis; left > 0;) {
    yield* Effect.sleep(STEP_MILLIS)
    left = wasHeard() ? millis : left - STEP_MILLIS
  }
})

/** Waits for `millis`, counted in the same steps. */
export const patience = (millis: number): Effect.Effect<void> => silence(millis, () => false)
