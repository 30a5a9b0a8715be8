import { Effect, Exit, Scope } from "effect"
import type { OriginResponse } from "../origin/Origin.ts"

/**
 * An answer that turned out to be for nobody but the viewer whose request brought it, with its body still to be read: it saves that
 * viewer a second request.
 */
export interface SpareResponse {
  readonly status: number
  /** The answer, whose connection is now the caller's scope's; `undefined` when it was too late. */
  readonly take: Effect.Effect<OriginResponse | undefined, never, Scope.Scope>
}

/** How long it is kept for its viewer, who is about to take it, or has just gone, in milliseconds. */
const KEEP_MILLIS = 1000

/** Keeps `response`, which `scope` holds, for anyone who takes it first, or closes it soon. */
export const make = (response: OriginResponse, scope: Scope.Closeable): Effect.Effect<SpareResponse> => {
  let isTaken = false
  const take = Effect.suspend(() => {
    if (isTaken) return Effect.succeed(undefined)
    isTaken = true
    return Effect.as(Effect.addFinalizer((exit) => Scope.close(scope, exit)), response)
  })
  const expire = Effect.suspend(() => {
    if (isTaken) return Effect.void
    isTaken = true
    return Scope.close(scope, Exit.void)
  })
  return Effect.as(Effect.forkDetach(Effect.andThen(Effect.sleep(KEEP_MILLIS), expire)), {
    status: response.status,
    take
  })
}
