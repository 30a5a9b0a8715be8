import { Effect, Exit, Scope, Stream } from "effect"
import { loggable, type OriginError, OriginUnexpected } from "../../domain/OriginError.ts"
import { isSingle, type RangeSupport } from "../../domain/Representation.ts"
import { HEDGE_AFTER_MILLIS } from "../../domain/RoutePolicy.ts"
import { toPull } from "../../effects/pieces.ts"
import type { OriginResponse } from "../origin/Origin.ts"
import { checkResponse } from "./checkResponse.ts"
import type { Fetch } from "./Fetch.ts"
import type { OpenResponse } from "./fetchLoop.ts"

/** How long a fetch has run before it looks for silence, in milliseconds. By then the policy of its route is known. */
const FIRST_LOOK_MILLIS = 100

/** What hedging needs of its surroundings. */
interface Means {
  /** Requests the missing bytes once more, from another origin of the route if there is one. */
  readonly requestAgain: (fetch: Fetch, mode: RangeSupport) => Effect.Effect<OriginResponse, OriginError, Scope.Scope>
  /** A clock that doesn't jump, in milliseconds. */
  readonly now: () => number
  /** The time, in milliseconds since 1970. */
  readonly date: () => number
}

/** The second response of a fetch. */
interface Second {
  /** Its scope, until it is handed on or has ended. */
  scope: Scope.Closeable | undefined
}

/** How long the origin of a fetch may be silent, in milliseconds; `Infinity` if it is never asked twice. */
const hedgeAfterOf = ({ download: { policy, representation }, sequential }: Fetch): number => {
  // Only part of a known version can be requested twice, and compared with what has arrived.
  if (sequential || representation.ranges === "none" || isSingle(representation)) return Number.POSITIVE_INFINITY
  if (policy === undefined || policy === "none") return HEDGE_AFTER_MILLIS
  const mayBeSilent = policy.longPolls || policy.silenceTimeout === Number.POSITIVE_INFINITY
  return mayBeSilent || policy.hedgeAfter <= 0 ? Number.POSITIVE_INFINITY : policy.hedgeAfter
}

/** Waits until `listen`, which gets a function to call, has it called. */
const called = (listen: (call: (() => void) | undefined) => void): Effect.Effect<void> =>
  Effect.callback((resume) => {
    listen(() => resume(Effect.void))
    return Effect.sync(() => listen(undefined))
  })

/**
 * Makes the function that runs `read`, which requests and reads a response for a fetch, and sends a second request at the exact byte if the
 * origin is silent while a reader waits. The one that sends first continues, and the other is ended. Returns the second response, to be read
 * from now on, or what `read` returns.
 */
export const makeHedge = ({ date, now, requestAgain }: Means) => {
  /** Waits until the origin has been silent for long while a reader waits. */
  const overdue = Effect.fnUntraced(function*(fetch: Fetch, hedgeAfter: number) {
    while (true) {
      const left = fetch.silentSince === undefined ? hedgeAfter : fetch.silentSince + hedgeAfter - now()
      if (left > 0) yield* Effect.sleep(left)
      else if (fetch.isAwaited) return
      else yield* called((call) => fetch.onAwaited = call)
    }
  })

  /** Sends the second request. Succeeds when the first bytes are there. */
  const openAgain = Effect.fnUntraced(function*(fetch: Fetch, mode: RangeSupport, scope: Scope.Closeable) {
    const { download: { representation }, position } = fetch
    const response = yield* requestAgain(fetch, mode)
    const usable = checkResponse(response, { representation, position, mode }, date())
    if ("_tag" in usable) return yield* usable
    const { status } = response
    if (usable.range?.start !== position) {
      return yield* new OriginUnexpected({ url: loggable(representation.url), status, detail: "not the missing bytes" })
    }
    const pull = yield* toPull(response.body)
    const first = yield* pull
    const body = Stream.concat(Stream.fromArray(first), Stream.fromPull(Effect.succeed(pull)))
    return { response: { ...response, body }, mode, scope } satisfies OpenResponse
  })

  /** Ends the second response, unless it was handed on. */
  const end = (second: Second) =>
    Effect.suspend(() => {
      const { scope } = second
      second.scope = undefined
      return scope === undefined ? Effect.void : Scope.close(scope, Exit.void)
    })

  /** Sends second requests while the origin is silent, and returns the response of the first of them that succeeds. */
  const watch = Effect.fnUntraced(function*(fetch: Fetch, mode: RangeSupport, second: Second) {
    yield* Effect.sleep(FIRST_LOOK_MILLIS)
    const hedgeAfter = hedgeAfterOf(fetch)
    if (hedgeAfter === Number.POSITIVE_INFINITY) return yield* Effect.never
    while (true) {
      yield* overdue(fetch, hedgeAfter)
      const scope = second.scope = yield* Scope.make()
      const again = Effect.option(Scope.provide(openAgain(fetch, mode, scope), scope))
      const received = Effect.asSome(called((call) => fetch.onReceived = call))
      const outcome = yield* Effect.raceFirst(again, received)
      if (outcome._tag === "Some" && outcome.value !== undefined) return outcome.value
      yield* end(second)
      // It was refused, or may not be sent now.
      if (outcome._tag === "None") yield* Effect.sleep(hedgeAfter)
    }
  })

  return <A>(
    fetch: Fetch,
    mode: RangeSupport,
    read: Effect.Effect<A, OriginError>
  ): Effect.Effect<A | OpenResponse, OriginError> => {
    const second: Second = { scope: undefined }
    return Effect.raceFirst(read, watch(fetch, mode, second)).pipe(
      Effect.onExit((exit) => {
        const isHandedOn = Exit.isSuccess(exit) && second.scope !== undefined &&
          (exit.value as Partial<OpenResponse> | undefined)?.scope === second.scope
        return isHandedOn ? Effect.void : end(second)
      })
    )
  }
}
