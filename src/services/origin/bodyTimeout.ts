import { Effect, Stream } from "effect"
import { OriginBodyFailed, type OriginError, OriginTimeout } from "../../domain/OriginError.ts"
import type { OriginFault } from "../../domain/OriginFault.ts"
import { monotonicMillis } from "../../effects/monotonic.ts"
import type { Slot } from "./OriginLimiter.ts"

/** Measures how long a peer takes: whether the origin has to act next, or the viewer, and since when. */
interface Turn {
  /** The origin has to act next. */
  readonly begin: () => void
  /** The viewer has to act next. */
  readonly end: () => void
  /** Ends when the origin has taken too long. */
  readonly overdue: Effect.Effect<void>
  /** How long the viewer has taken, in milliseconds; 0 while the origin has to act. */
  readonly idleFor: () => number
}

/**
 * Makes a `Turn`. The origin may take at most `limit` milliseconds at a time. A check after each such interval costs less than a timer for
 * each piece of a body.
 */
export const makeTurn = (limit: number): Effect.Effect<Turn> =>
  Effect.map(monotonicMillis, (now) => {
    let isOrigins = false
    let since = now()
    const pass = (toOrigin: boolean) => {
      isOrigins = toOrigin
      since = now()
    }
    const overdue: Effect.Effect<void> = Effect.suspend(() => {
      const left = isOrigins ? since + limit - now() : limit
      return left <= 0 ? Effect.void : Effect.andThen(Effect.sleep(left), overdue)
    })
    return { begin: () => pass(true), end: () => pass(false), idleFor: () => isOrigins ? 0 : now() - since, overdue }
  })

/** `body` on its way to the origin. It is the viewer's turn while the next piece is awaited from there. */
export const upload = (body: Stream.Stream<Uint8Array, unknown>, turn: Turn): Stream.Stream<Uint8Array, Error> =>
  Stream.transformPull(body, (pull) =>
    Effect.succeed(Effect.suspend(() => {
      turn.end()
      return Effect.ensuring(pull, Effect.sync(turn.begin))
    }))).pipe(
      // The cause belongs to the viewer, and may be secret.
      Stream.mapError(() => new Error("the body of the request broke off"))
    )

/**
 * `body` as it arrives from the origin, with typed errors. If its next bytes are overdue, `abandon` is run, which has to close the connection.
 * The same happens if its reader is idle while others wait for `slot`. It can be read once.
 */
export const withBodyTimeout = (
  body: Stream.Stream<Uint8Array, OriginFault>,
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
    (cause): OriginError =>
      late !== undefined
        ? new OriginTimeout({ url, phase: late })
        : new OriginBodyFailed({ url, offset, cause })
  )
}
