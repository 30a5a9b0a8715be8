import { Deferred, Effect, Fiber } from "effect"

/**
 * Shares work that is under way: anyone who asks for a key for which the work runs already gets its outcome, success or
 * failure. The work is interrupted when nobody waits for it any more; nothing is remembered once it has ended.
 */
export const make = <K, A, E>() => {
  interface Flight {
    readonly outcome: Deferred.Deferred<A, E>
    readonly leader: string
    fiber: Fiber.Fiber<unknown> | undefined
    waiters: number
  }
  const flights = new Map<K, Flight>()

  const share = (key: K, work: Effect.Effect<A, E>, leader = ""): Effect.Effect<A, E> =>
    Effect.uninterruptibleMask((restore) =>
      Effect.suspend(() => {
        let flight = flights.get(key)
        let start: Effect.Effect<unknown> = Effect.void
        if (flight === undefined) {
          const started: Flight = { outcome: Deferred.makeUnsafe(), leader, fiber: undefined, waiters: 0 }
          flights.set(key, flight = started)
          const done = Effect.sync(() => {
            if (flights.get(key) === started) flights.delete(key)
          })
          start = restore(work).pipe(
            Effect.onExit((exit) => Effect.andThen(done, Deferred.done(started.outcome, exit))),
            Effect.exit,
            Effect.forkDetach,
            Effect.tap((fiber) => Effect.sync(() => started.fiber = fiber))
          )
        }
        const joined = flight
        joined.waiters += 1
        const leave = Effect.suspend(() => {
          joined.waiters -= 1
          if (joined.waiters > 0 || flights.get(key) !== joined) return Effect.void
          flights.delete(key)
          return joined.fiber === undefined ? Effect.void : Fiber.interrupt(joined.fiber)
        })
        return Effect.andThen(start, Effect.ensuring(restore(Deferred.await(joined.outcome)), leave))
      })
    )

  return {
    /** The outcome of `work`, or of the work for `key` that is under way. `leader` says on whose behalf it is begun. */
    share,
    /** On whose behalf the work for `key` that is under way was begun. */
    leaderOf: (key: K): string | undefined => flights.get(key)?.leader
  }
}
