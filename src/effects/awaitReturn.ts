import { Effect } from "effect"

/**
 * Waits until something that was lost is back, and asks it after each pause. `false` if nobody waits for it any more. `pauseBefore` is in
 * milliseconds, and gets the number of questions so far.
 */
export const awaitReturn = ({ isAwaited, isBack, pauseBefore }: {
  readonly isBack: Effect.Effect<boolean>
  readonly isAwaited: () => boolean
  readonly pauseBefore: (asked: number) => number
}): Effect.Effect<boolean> =>
  Effect.gen(function*() {
    for (let asked = 0; isAwaited(); asked++) {
      yield* Effect.sleep(pauseBefore(asked))
      if (yield* isBack) return true
    }
    return false
  })
