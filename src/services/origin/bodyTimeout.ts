import { Clock, Effect, Stream } from "effect"
import type { HttpClientError } from "effect/http"
import { OriginBodyFailed, type OriginError, OriginTimeout } from "../../domain/OriginError.ts"
import { causeOf } from "./originConnections.ts"
import type { Slot } from "./OriginLimiter.ts"

/** Whose turn it is between Spillway and an origin. */
export interface Turn {
  /** It is the origin's from now on. */
  readonly begin: () => void
  readonly end: () => void
  /** Ends when it was the origin's for too long at a stretch. */
  readonly overdue: Effect.Effect<void>
  /** For how long it has been somebody else's, in milliseconds. */
  readonly idleFor: () => number
}

/**
 * Nobody's turn yet; the origin's may last `limit`, in milliseconds. One look after each such time, and at its very end, costs less
 * than a timer for each piece of a body.
 */
export const makeTurn = (limit: number): Effect.Effect<Turn> =>
  Effect.map(Clock.Clock, (clock) => {
    const now = () => Number(clock.monotonicTimeNanosUnsafe()) / 1e6
    let isOrigins = false
    let since = now()
    const pass = (toOrigin: boolean) => {
      isOrigins = toOrigin
      since = now()
    }
    return {
      begin: () => pass(true),
      end: () => pass(false),
      idleFor: () => isOrigins ? 0 : now() - since,
      overdue: Effect.gen(function*() {
        while (true) {
          const left = isOrigins ? since + limit - now() : limit
          if (left <= 0) return
          yield* Effect.sleep(left)
        }
      })
    }
  })

/** `body` on its way to the origin, whose turn it is but while the next piece is awaited from anyone who sends it. */
export const upload = (body: Stream.Stream<Uint8Array, unknown>, turn: Turn): Stream.Stream<Uint8Array, Error> =>
  Stream.transformPull(body, (pull) =>
    Effect.succeed(Effect.suspend(() => {
      turn.end()
      return Effect.ensuring(pull, Effect.sync(turn.begin))
    }))).pipe(
      // The cause is known to the sender, and may be a secret.
      Stream.mapError(() => new Error("the body of the request broke off"))
    )

/**
 * `body` as it comes from the origin, with typed errors. Where its next bytes are overdue while they are wanted, `abandon` has to
 * close the connection, which ends it. So it does when whoever reads it is idle and `slot` is wanted by others. It can be run once.
 */
export const withBodyTimeout = (
  body: Stream.Stream<Uint8Array, HttpClientError.HttpClientError>,
  { abandon, slot, turn, url }: {
    readonly url: string
    readonly turn: Turn
    readonly slot: Slot
    readonly abandon: Effect.Effect<void>
  }
): Stream.Stream<Uint8Array, OriginError> => {
  let offset = 0
  let late: OriginTimeout["phase"] | undefined
  const cut = (phase: OriginTimeout["phase"]) =>
    Effect.suspend(() => {
      late = phase
      return abandon
    })
  const watch = Effect.andThen(turn.overdue, cut("body"))
  slot.idleFor = turn.idleFor
  slot.release = cut("viewer")
  const watched = Stream.transformPull(body, (pull, scope) => {
    const next = Effect.suspend(() => {
      turn.begin()
      return Effect.map(pull, (pieces) => {
        turn.end()
        for (const piece of pieces) offset += piece.length
        return pieces
      })
    })
    return Effect.as(Effect.forkIn(watch, scope), next)
  })
  return Stream.mapError(
    watched,
    (error): OriginError =>
      late !== undefined
        ? new OriginTimeout({ url, phase: late })
        : new OriginBodyFailed({ url, offset, cause: causeOf(error) })
  )
}
