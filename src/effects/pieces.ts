import { Channel, Effect, type Pull, type Scope, Stream } from "effect"

/**
 * Steps that are taken for every piece of a body, for which Effect's own cost too much, here where each stream has what it needs, and
 * one reader.
 */

/**
 * Shorter pieces are given memory of their own, in bytes. A server may ask for the next piece before such a one has left: what it was
 * read into may be used again by then, and a few bytes that a slow viewer does not take would keep their whole chunk in memory.
 */
export const SHORT_BYTES = 64 * 1024

/** `piece`, copied if it is short. `slice` of a `Buffer` would not copy it. */
export const apart = (piece: Uint8Array): Uint8Array => piece.length < SHORT_BYTES ? new Uint8Array(piece) : piece

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
