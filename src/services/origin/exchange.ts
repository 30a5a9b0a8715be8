import { Clock, Effect, Exit, Latch, Scope } from "effect"
import { loggable, OriginTimeout, OriginUnexpected } from "../../domain/OriginError.ts"
import type { Hop } from "../../domain/Redirect.ts"
import type { Times } from "../../domain/rfc/Freshness.ts"
import type { RoutePolicy } from "../../domain/RoutePolicy.ts"
import type { OriginOptions } from "../config/OriginConfig.ts"
import { makeTurn, upload } from "./bodyTimeout.ts"
import { credentialsFor } from "./credentials.ts"
import type { HopResponse, SendRequest } from "./HopResponse.ts"
import type { OriginRequest } from "./Origin.ts"
import * as OriginLimiter from "./OriginLimiter.ts"

/** One request to one server, and its response, whose connection ends with a scope of its own. */
export interface HopExchange {
  readonly times: Times
  readonly hop: Hop
  readonly response: HopResponse
  readonly connection: Scope.Closeable
  readonly slot: OriginLimiter.Slot
}

/** How requests are sent to each kind of server. */
export interface Requests {
  readonly http: SendRequest
  readonly file: SendRequest
  /** Signs them. */
  readonly s3: SendRequest
}

const kindOf = ({ server, url }: Hop): keyof Requests =>
  url.protocol === "file:" ? "file" : server?.access.authorization?._tag === "SigV4" ? "s3" : "http"

/** How long a server of a route may take until the header of a response, in milliseconds; `undefined` if the route doesn't say. */
const firstByteTimeoutOf = (route: RoutePolicy | undefined): number | undefined =>
  route?.longPolls === true ? Number.POSITIVE_INFINITY : route?.firstByteTimeout

/** What has slots of its own: a server, or the directory of a route. */
const limited = ({ server, url }: Hop): string =>
  url.protocol === "file:" && server !== undefined ? server.url.href : url.origin

/** Makes the function that sends a request to one server. Follows no redirect. */
export const makeExchange = (config: OriginOptions, requests: Requests, isTraced: boolean) => {
  const limiter = OriginLimiter.make({ limit: config.maxRequests, timeout: config.firstByteTimeout })

  /** Waits for a slot, and sends the request. */
  const ask = Effect.fnUntraced(function*(request: OriginRequest, hop: Hop, slot: OriginLimiter.Slot) {
    const url = loggable(hop.url.href)
    if (!(yield* limiter.enter(limited(hop), request.background === true, slot))) {
      return yield* new OriginTimeout({ url, phase: "queue" })
    }
    request.onAdmitted?.(request)
    const turn = yield* makeTurn(firstByteTimeoutOf(request.route) ?? config.firstByteTimeout)
    const body = request.body && upload(request.body, turn)
    turn.begin()
    // An error records the stack, so it is made when it happens.
    const late = (phase: OriginTimeout["phase"]) => Effect.suspend(() => Effect.fail(new OriginTimeout({ url, phase })))
    const send = requests[kindOf(hop)]
    const sent = Effect.raceFirst(send({ ...request, body }, hop), Effect.andThen(turn.overdue, late("header")))
    if (body === undefined) return yield* sent
    // The sender of the body may be slow. While others wait for a slot, that has a limit.
    const wanted = yield* Latch.make()
    slot.idleFor = turn.idleFor
    slot.release = wanted.open
    return yield* Effect.raceFirst(sent, Effect.andThen(wanted.await, late("viewer")))
  })

  /** The same in a span. */
  const askTraced = (request: OriginRequest, hop: Hop, slot: OriginLimiter.Slot) =>
    ask(request, hop, slot).pipe(
      Effect.tap(({ status }) => Effect.annotateCurrentSpan("http.response.status_code", status)),
      Effect.withSpan(`origin ${request.method}`, {
        kind: "client",
        attributes: { "http.request.method": request.method, "url.full": loggable(hop.url.href) }
      })
    )

  return Effect.fnUntraced(function*(request: OriginRequest, hop: Hop) {
    const clock = yield* Clock.Clock
    const connection = yield* Scope.fork(yield* Effect.scope)
    const requested = clock.currentTimeMillisUnsafe()
    const slot = OriginLimiter.makeSlot()
    const response = yield* (isTraced ? askTraced : ask)(request, hop, slot).pipe(
      Scope.provide(connection),
      Effect.onError(() => Scope.close(connection, Exit.void))
    )
    if (response.status === 401 && credentialsFor(request, hop) !== undefined) {
      yield* Scope.close(connection, Exit.void)
      // Otherwise a browser would ask the viewer for the password of the origin.
      return yield* new OriginUnexpected({
        url: loggable(hop.url.href),
        status: 401,
        detail: "it refuses the credentials of its route"
      })
    }
    const times = { requested, received: clock.currentTimeMillisUnsafe() }
    return { hop, response, times, connection, slot } satisfies HopExchange
  })
}
