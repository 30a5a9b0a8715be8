import { Effect, type Scope } from "effect"
import { rateLimited } from "./rateLimited.ts"

/** The pause after a job that ended in a defect, so that a job that always does isn't a busy loop. */
const PAUSE = "100 millis"

/**
 * Runs `job` again and again in the background, until the scope closes. A defect ends that one job only: it is logged, at most once
 * a minute, and the next job follows.
 */
export const keepRunning =
  (name: string) => <R>(job: Effect.Effect<unknown, never, R>): Effect.Effect<void, never, R | Scope.Scope> =>
    Effect.suspend(() => {
      let last: unknown
      const say = rateLimited(Effect.suspend(() => Effect.logError(`${name}: a job failed unexpectedly`, last)))
      const survived = Effect.catchDefect(job, (defect) => {
        last = defect
        return Effect.andThen(say, Effect.sleep(PAUSE))
      })
      return Effect.asVoid(Effect.forkScoped(Effect.forever(survived)))
    })
