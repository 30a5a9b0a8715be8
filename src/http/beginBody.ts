import { Cause, Effect, Exit, Fiber, Option, type Scope, Stream } from "effect"
import type { OriginError } from "../domain/OriginError.ts"
import { toPull } from "../services/pieces.ts"

/** How many turns of the event loop the first bytes get to come, or to fail to: what came with the head is there by then. */
const TURNS = 2

/**
 * Begins `body` in the caller's scope. What fails at once is an error of this effect, which can still be told: after the head it
 * could only be cut, and in the same turn it would take the head with it.
 */
export const beginBody = Effect.fnUntraced(function*(
  body: Stream.Stream<Uint8Array, OriginError>
): Effect.fn.Return<Stream.Stream<Uint8Array, OriginError>, OriginError, Scope.Scope> {
  const pull = yield* toPull(body)
  const first = yield* Effect.forkScoped(pull)
  for (let turn = 0; turn < TURNS; turn++) yield* Effect.yieldNow
  const early = first.pollUnsafe()
  if (early !== undefined && Exit.isFailure(early)) {
    const error = Option.getOrUndefined(Cause.findErrorOption(early.cause))
    if (error !== undefined && !Cause.isDone(error)) return yield* error
  }
  let begun = false
  return Stream.fromPull(Effect.succeed(Effect.suspend(() => {
    if (begun) return pull
    begun = true
    return Fiber.join(first)
  })))
})
