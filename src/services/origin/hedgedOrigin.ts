import { Effect, Exit, Layer, Scope } from "effect"
import { loggable, type OriginError, OriginTimeout } from "../../domain/OriginError.ts"
import { HEDGE_AFTER_MILLIS, type RoutePolicy } from "../../domain/RoutePolicy.ts"
import * as Metrics from "../observe/pullMetrics.ts"
import { Origin, type OriginRequest, type OriginResponse } from "./Origin.ts"

/** Which part of a route's requests may be second ones for the same bytes. */
const SHARE = 1 / 20

/** How many of them may be sent at once after a quiet time. */
const BURST = 5

/** How many second requests may be sent: a token bucket for each route. */
const makeBudget = () => {
  const tokens = new WeakMap<object, number>()
  /** Of requests without a route. */
  const others = {}
  const left = (route: object) => tokens.get(route) ?? BURST
  return {
    /** Notes a first request. */
    earn: (route: RoutePolicy | undefined): void => {
      const key = route ?? others
      tokens.set(key, Math.min(BURST, left(key) + SHARE))
    },
    /** Takes a token, if there is one. */
    spend: (route: RoutePolicy | undefined): boolean => {
      const key = route ?? others
      if (left(key) < 1) return false
      tokens.set(key, left(key) - 1)
      return true
    }
  }
}

/** How long the origin may take to send a header until it is asked again, in milliseconds. */
const hedgeAfterOf = ({ isHedgeable, route }: OriginRequest): number => {
  if (isHedgeable !== true || route?.longPolls === true) return Number.POSITIVE_INFINITY
  const after = route?.hedgeAfter ?? HEDGE_AFTER_MILLIS
  return after > 0 ? after : Number.POSITIVE_INFINITY
}

/** Whether a response is as good as another one to the same request. A second request may be refused because it is one too many. */
const isGood = ({ status }: OriginResponse): boolean => status < 400

/**
 * Wraps the `Origin` in context: limits requests for bytes that have been requested already (hedges) to one in twenty. If the header of
 * a response is late, it sends such a request, to another origin of the route if there is one, and the first good response counts.
 */
export const layer: Layer.Layer<Origin, never, Origin> = Layer.effect(
  Origin,
  Effect.gen(function*() {
    const origin = yield* Origin
    const { earn, spend } = makeBudget()
    const count = yield* Metrics.counters(
      "spillway_origin_hedges_total",
      "Second requests for bytes whose origin was silent, by what became of them",
      "outcome",
      ["sent", "refused"]
    )

    const sendAgain = (request: OriginRequest) =>
      Effect.suspend(() => {
        const isSent = spend(request.route)
        count(isSent ? "sent" : "refused")
        if (isSent) return origin.request(request)
        return Effect.fail(new OriginTimeout({ url: loggable(request.url), phase: "queue" }))
      })

    /** Sends `request`, and once more if its header takes longer than `after` milliseconds. */
    const race = Effect.fnUntraced(function*(request: OriginRequest, after: number) {
      const parent = yield* Effect.scope
      const scopes = { first: yield* Scope.fork(parent), second: yield* Scope.fork(parent) }
      let admitted = () => {}
      let { avoid } = request
      /** What one of the two has failed with while the other is under way. */
      let failure: OriginError | undefined
      let underWay = 1
      const ended = (error: OriginError | undefined) => {
        failure ??= error
        underWay -= 1
        return underWay === 0 && failure !== undefined ? Effect.fail(failure) : Effect.never
      }
      const onAdmitted = (sent: OriginRequest) => {
        if (sent.server !== undefined) avoid = [...request.avoid ?? [], sent.server]
        request.onAdmitted?.(sent)
        admitted()
      }
      const first = origin.request({ ...request, onAdmitted }).pipe(
        Scope.provide(scopes.first),
        Effect.map((response) => ({ response, loser: scopes.second })),
        Effect.catch(ended)
      )
      // The time in the queue says nothing of the origin.
      const second = Effect.callback<void>((resume) => {
        admitted = () => resume(Effect.void)
      }).pipe(
        Effect.andThen(Effect.sleep(after)),
        Effect.andThen(Effect.suspend(() => {
          underWay += 1
          return sendAgain({ ...request, background: true, avoid, onAdmitted: undefined })
        })),
        Effect.flatMap((response) =>
          isGood(response) ? Effect.succeed({ response, loser: scopes.first }) : ended(undefined)
        ),
        Scope.provide(scopes.second),
        Effect.catch(() => ended(undefined))
      )
      const { loser, response } = yield* Effect.raceFirst(first, second).pipe(
        Effect.onError((cause) =>
          Effect.forEach(Object.values(scopes), (scope) => Scope.close(scope, Exit.failCause(cause)), { discard: true })
        )
      )
      yield* Scope.close(loser, Exit.void)
      return response
    })

    return Origin.of({
      request: (request) => {
        if (request.isHedge === true) return sendAgain(request)
        earn(request.route)
        const after = hedgeAfterOf(request)
        return after === Number.POSITIVE_INFINITY ? origin.request(request) : race(request, after)
      }
    })
  })
)
