import { Effect, Latch, type Scope } from "effect"
import { Socket } from "effect/socket"

/** How long a tunnel that one side has ended stays open for the other side while nothing moves, in milliseconds. */
export const HALF_OPEN_MILLIS = 30_000

/** Which way bytes move through a tunnel. */
type Direction = "forth" | "back"

/** Whether the peer has ended its side properly. */
const isEnd = ({ reason }: Socket.SocketError): boolean => reason._tag === "SocketCloseError" && reason.code === 1000

/**
 * Copies bytes between `near` and `far` in both directions until both sides have ended; returns then. An end of one side is passed on to the
 * other, which may still send. Each side is read only as fast as the other takes it, so that a tunnel holds no more than the
 * buffers of its two sockets. Fails if either connection breaks. The scope closes both connections.
 */
export const tunnel = Effect.fnUntraced(function*(
  near: Socket.Socket,
  far: Socket.Socket,
  onBytes: (bytes: number, direction: Direction) => void
): Effect.fn.Return<void, Socket.SocketError, Scope.Scope> {
  const fromNear = yield* Socket.readerBytes(near)
  const fromFar = yield* Socket.readerBytes(far)
  const isHalfOpen = yield* Latch.make()
  let moves = 0

  const copy = (pull: typeof fromNear, to: Socket.Socket, direction: Direction) =>
    Effect.gen(function*() {
      const { writeAll } = yield* to.writer
      while (true) {
        const pieces = yield* pull
        moves += 1
        for (const piece of pieces) onBytes(piece.length, direction)
        yield* writeAll(pieces)
      }
    }).pipe(
      Effect.catchIf(isEnd, () => isHalfOpen.open),
      // The end of the writer's scope ends that side.
      Effect.scoped
    )

  const untilSilent = Effect.gen(function*() {
    yield* isHalfOpen.await
    while (true) {
      const before = moves
      yield* Effect.sleep(HALF_OPEN_MILLIS)
      if (moves === before) return
    }
  })

  const both = Effect.all([copy(fromNear, far, "forth"), copy(fromFar, near, "back")], {
    concurrency: "unbounded",
    discard: true
  })
  yield* Effect.raceFirst(both, untilSilent)
})
