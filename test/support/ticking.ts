import { Effect, Fiber } from "effect"
import { TestClock } from "effect/testing"

/** Advances the test clock while `effect` runs, so that whatever waits for the clock goes on. */
export const ticking = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.gen(function*() {
    const fiber = yield* Effect.forkChild(
      Effect.forever(Effect.andThen(TestClock.adjust("100 millis"), Effect.promise(() => new Promise(setImmediate))))
    )
    return yield* Effect.ensuring(effect, Fiber.interrupt(fiber))
  })
