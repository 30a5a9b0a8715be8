import { Clock, Effect, Exit, Layer, Scope, Stream } from "effect"
import { moved, movedPlaces } from "../../domain/mirrorUrls.ts"
import { codeOf, type OriginError, retryAfterMillis, toBeHadElsewhere } from "../../domain/OriginError.ts"
import type { RouteOrigin, RoutePolicy } from "../../domain/RoutePolicy.ts"
import { OriginConfig } from "../config/OriginConfig.ts"
import * as Metrics from "../observe/pullMetrics.ts"
import { Origin, type OriginRequest, type OriginResponse } from "../origin/Origin.ts"
import { inTurn, preferred } from "./choice.ts"
import type { Trouble } from "./healthStates.ts"
import { OriginHealth } from "./OriginHealth.ts"
import type { Asked } from "./originQuestion.ts"
import { makeStays } from "./stays.ts"

/**
 * `Origin` for routes that have several origins with the same files (mirrors). A request goes to the first one that works. If it fails before
 * its first byte, the next one is asked. If its body fails, a request for the rest goes to another mirror.
 */
export const layer: Layer.Layer<Origin, never, Origin | OriginConfig | OriginHealth> = Layer.effect(
  Origin,
  Effect.gen(function*() {
    const { offline } = yield* OriginConfig
    return offline ? yield* Origin : Origin.of({ request: yield* makeRequest })
  })
)

/** Codes of failures that are this machine's own. */
const OWN: ReadonlySet<string | undefined> = new Set(["EMFILE", "ENFILE", "EADDRNOTAVAIL", "NOT_A_URL", "OFFLINE"])

/** What a failure says of the origin; `undefined` if nothing. */
const troubleOf = (error: OriginError): Trouble | undefined => {
  switch (error._tag) {
    case "OriginUnreachable":
      return OWN.has(codeOf(error)) ? undefined : "unreachable"
    case "OriginBodyFailed":
      return "body"
    case "OriginTimeout":
      return ["body", "connect", "header"].includes(error.phase) ? "timeout" : undefined
    default:
      return undefined
  }
}

/** Statuses by which an origin says that it can't serve anything at the moment. */
const UNAVAILABLE: ReadonlySet<number> = new Set([429, 502, 503, 504])

/** Whether another mirror may have more than this status. */
const isFailure = (status: number): boolean => UNAVAILABLE.has(status) || status === 500

/** Whether a request may be sent to one mirror after another. All others go to the first origin of the route alone. */
const isSharable = ({ body, method, route }: OriginRequest): boolean =>
  body === undefined && (method === "GET" || method === "HEAD") && route?.longPolls !== true

/** A response that is used if no other mirror has a better one, and the scope of its connection. */
interface Spare {
  readonly response: OriginResponse
  readonly scope: Scope.Closeable
  /** It is of another version than the request is for, or there is none. */
  readonly isOther: boolean
}

const makeRequest = Effect.gen(function*() {
  const origin = yield* Origin
  const health = yield* OriginHealth
  const clock = yield* Clock.Clock
  const stays = makeStays(health.now)
  const countFailover = yield* Metrics.counters(
    "spillway_origin_failovers_total",
    "Requests and bodies that another origin of the route took over, by the reason",
    "reason",
    ["unreachable", "timeout", "status", "body", "version"]
  )

  const hasOther = ({ origins }: RoutePolicy, asked: RouteOrigin): boolean =>
    origins.some((other) => other !== asked && health.standing(other) === "up")

  /** A failure of a body. It says whether the rest can be had elsewhere at once. */
  const bodyFailed = (asked: Asked) => (error: OriginError): OriginError => {
    const trouble = troubleOf(error)
    if (trouble === undefined) return error
    health.failed(asked, trouble)
    if (!hasOther(asked.route, asked.origin)) return error
    countFailover(trouble)
    return toBeHadElsewhere(error)
  }

  /** Asks one origin, and notes how it does. */
  const askOne = (request: OriginRequest, asked: Asked): Effect.Effect<OriginResponse, OriginError, Scope.Scope> => {
    const { origin: server, route, url } = asked
    return origin.request({ ...request, url, server }).pipe(
      Effect.tapError((error) =>
        Effect.sync(() => {
          const trouble = troubleOf(error)
          if (trouble !== undefined) health.failed(asked, trouble)
        })
      ),
      Effect.onInterrupt(() => Effect.sync(() => health.abandoned(asked))),
      Effect.map((response) => {
        const { body, headers, status } = response
        if (UNAVAILABLE.has(status)) {
          health.failed(asked, "status", retryAfterMillis(headers, clock.currentTimeMillisUnsafe()))
        } else health.responded(asked)
        return {
          ...response,
          headers: server === route.origins[0] ? headers : movedPlaces(headers, url, server.url, route.origins[0].url),
          server,
          body: Stream.mapError(body, bodyFailed(asked))
        }
      })
    )
  }

  /** The response of the first of `turns` that has what was requested. `best` is asked first while all work. */
  const askInTurn = Effect.fnUntraced(function*(
    request: OriginRequest,
    turns: ReadonlyArray<Asked>,
    best: RouteOrigin | undefined
  ) {
    let spare: Spare | undefined
    let failure: OriginError | undefined
    let reason: Trouble | "version" | undefined
    for (const turn of turns) {
      const asked = { ...turn, at: health.now() }
      const scope = yield* Scope.fork(yield* Effect.scope)
      const outcome = yield* Effect.result(Scope.provide(askOne(request, asked), scope))
      if (outcome._tag === "Failure") {
        failure ??= outcome.failure
        reason ??= troubleOf(outcome.failure) ?? "unreachable"
        yield* Scope.close(scope, Exit.void)
        continue
      }
      const response = outcome.success
      const isOther = !isFailure(response.status) && request.accepts?.(response) === false
      if (!isOther && !isFailure(response.status)) {
        if (spare !== undefined) yield* Scope.close(spare.scope, Exit.void)
        if (reason !== undefined) countFailover(reason)
        stays.learn(request.file ?? request.url, turn.origin, {
          request,
          response,
          isPreferred: turn.origin === best,
          hasDifferent: spare?.isOther === true
        })
        return response
      }
      reason ??= isOther ? "version" : "status"
      // What may soon be over comes before another version: then the request is repeated.
      if (spare === undefined || (spare.isOther && !isOther)) {
        if (spare !== undefined) yield* Scope.close(spare.scope, Exit.void)
        spare = { response, scope, isOther }
      } else yield* Scope.close(scope, Exit.void)
    }
    if (spare !== undefined && !(spare.isOther && failure !== undefined)) return spare.response
    if (spare !== undefined) yield* Scope.close(spare.scope, Exit.void)
    return yield* Effect.fail(failure!)
  })

  return (request: OriginRequest): Effect.Effect<OriginResponse, OriginError, Scope.Scope> => {
    const { avoid = [], file = request.url, route, url } = request
    if (route === undefined) return origin.request(request)
    const askedAt = (server: RouteOrigin): ReadonlyArray<Asked> => {
      const at = moved(url, route.origins[0].url, server.url)
      return at === undefined ? [] : [{ route, origin: server, url: at, at: health.now() }]
    }
    const [first] = askedAt(route.origins[0])
    // An application has named another place.
    if (first === undefined) return origin.request(request)
    if (!isSharable(request) || route.origins.length === 1) return askOne(request, first)
    const origins = preferred(route, file)
    const order = inTurn(origins, { standing: health.standing, stay: stays.of(file), avoid })
    return askInTurn(request, order.flatMap(askedAt), origins[0])
  }
})
