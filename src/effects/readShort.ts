import { Cause, Effect, type Scope, Stream } from "effect"
import { toPull } from "./pieces.ts"

/**
 * A body of at most `limit` bytes; or else the whole body as a stream, which can be run once, of which the beginning has been read
 * and the rest follows in the scope.
 */
export const readShort = Effect.fnUntraced(function*<E>(
  body: Stream.Stream<Uint8Array, E>,
  limit: number
): Effect.fn.Return<Uint8Array | Stream.Stream<Uint8Array, E>, E, Scope.Scope> {
  const pull = yield* toPull(body)
  const pieces: Array<Uint8Array> = []
  let length = 0
  while (length <= limit) {
    const next = yield* Effect.catchIf(pull, Cause.isDone, () => Effect.succeed([]))
    if (next.length === 0) return Buffer.concat(pieces)
    for (const piece of next) {
      pieces.push(piece)
      length += piece.length
    }
  }
  return Stream.concat(Stream.fromIterable(pieces), Stream.fromPull(Effect.succeed(pull)))
})
