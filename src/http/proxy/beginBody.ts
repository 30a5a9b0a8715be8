import { Cause, Effect, Exit, Fiber, Option, type Scope, Stream } from "effect"
import type { HttpServerRequest } from "effect/http"
import type { OriginError } from "../../domain/OriginError.ts"
import { toPull } from "../../effects/pieces.ts"
import { nodeResponse } from "./turn.ts"

/** How many turns of the event loop a body gets to begin, or to fail: what came with the head is there by then. At most so many pieces are held. */
const TURNS = 4

/** Sends the head of the answer to `request`, which the platform has written. Node keeps it for the first bytes of the body. */
const sendHead = (request: HttpServerRequest.HttpServerRequest): void => {
  const response = nodeResponse(request)
  if (response?.headersSent && !response.destroyed) response.flushHeaders()
}

/**
 * Begins `body` in the caller's scope. This effect fails if the body breaks at once, also behind its first bytes, because the viewer
 * can still get an error: later the answer can only be cut, and a cut in the same turn takes the head with it. If the body has no bytes
 * for now when it is read, the head that answers `request` is sent without them: an event stream may be silent for long.
 */
export const beginBody = Effect.fnUntraced(function*(
  body: Stream.Stream<Uint8Array, OriginError>,
  request: HttpServerRequest.HttpServerRequest
): Effect.fn.Return<Stream.Stream<Uint8Array, OriginError>, OriginError, Scope.Scope> {
  const pull = yield* toPull(body)
  const early: Array<Uint8Array> = []
  let next = yield* Effect.forkScoped(pull)
  for (let turn = 0; turn < TURNS; turn++) {
    yield* Effect.yieldNow
    const exit = next.pollUnsafe()
    if (exit === undefined) continue
    if (Exit.isFailure(exit)) {
      const error = Option.getOrUndefined(Cause.findErrorOption(exit.cause))
      if (error !== undefined && !Cause.isDone(error)) return yield* error
      break
    }
    early.push(...exit.value)
    next = yield* Effect.forkScoped(pull)
  }
  const [first, ...others] = early
  const turns = [
    ...(first === undefined ? [] : [Effect.succeed([first, ...others] as const)]),
    Effect.suspend(() => {
      if (next.pollUnsafe() === undefined) sendHead(request)
      return Fiber.join(next)
    })
  ]
  return Stream.fromPull(Effect.succeed(Effect.suspend(() => turns.shift() ?? pull)))
})
