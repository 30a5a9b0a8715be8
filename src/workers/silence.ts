import { Effect } from "effect"

/** A step of waiting, in milliseconds. */
const STEP_MILLIS = 500

/**
 * Waits until nothing was heard for `millis`. `wasHeard` tells whether something was since it was last asked. Time is counted in steps
 * of this process: after a pause of the process or the machine, the first overdue timer fires before what others said meanwhile is
 * read. A pause, however long, is thus one step at most.
 */
export const silence = Effect.fnUntraced(function*(millis: number, wasHeard: () => boolean): Effect.fn.Return<void> {
  for (let left = millis; left > 0;) {
    yield* Effect.sleep(STEP_MILLIS)
    left = wasHeard() ? millis : left - STEP_MILLIS
  }
})

/** Waits for `millis`, counted in the same way. */
export const patience = (millis: number): Effect.Effect<void> => silence(millis, () => false)
