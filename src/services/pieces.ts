import { Channel, Effect, type Pull, type Scope, Stream } from "effect"

/**
 * Steps that are taken for every piece of a body, for which Effect's own cost too much, here where each stream has what it needs, and
 * one reader.
 */

/**
 * The pieces of `stream`, each by running the effect that this returns; the scope ends it. `Stream.toPull` copies the reader's context for
 * each piece, and lets several read.
 */
export const toPull = <A, E>(
  stream: Stream.Stream<A, E>
): Effect.Effect<Pull.Pull<readonly [A, ...Array<A>], E>, never, Scope.Scope> =>
  Effect.flatMap(Effect.scope, (scope) => Channel.toPullScoped(stream.channel, scope))

/**
 * `stream`, with each piece shown to `watch` when it has come. `Stream.map`, which could do that too, notes each stream in a `WeakMap` for
 * good, and what is in there as a value stays until V8 marks the whole heap.
 */
export const watchPieces = <A, E, R>(
  stream: Stream.Stream<A, E, R>,
  watch: (piece: A) => void
): Stream.Stream<A, E, R> =>
  Stream.transformPull(stream, (pull) =>
    Effect.succeed(Effect.map(pull, (pieces) => {
      for (const piece of pieces) watch(piece)
      return pieces
    })))
