import { Clock, Effect, Exit, Latch, Metric, Scope } from "effect"
import { HttpBody, HttpClientRequest, type HttpClientResponse, type HttpMethod } from "effect/http"
import { loggable, OriginForbidden, OriginTimeout, OriginUnexpected } from "../../domain/OriginError.ts"
import type { Hop } from "../../domain/Redirect.ts"
import type { Times } from "../../domain/rfc/Freshness.ts"
import { isIdempotent } from "../../domain/rfc/Method.ts"
import type { RoutePolicy } from "../../domain/RoutePolicy.ts"
import type { OriginOptions } from "../config/OriginConfig.ts"
import { traceFields } from "../observe/tracing.ts"
import { makeTurn, upload } from "./bodyTimeout.ts"
import { credentialsFor, introduced } from "./credentials.ts"
import type { OriginRequest } from "./Origin.ts"
import {
  failureOf,
  isPrivateLiteral,
  type OriginClients,
  type OriginConnections,
  withHints
} from "./originConnections.ts"
import * as OriginLimiter from "./OriginLimiter.ts"
import { retries } from "./retry.ts"

/** One request to one server, and its response, whose connection ends with a scope of its own. */
export interface HopExchange {
  readonly times: Times
  readonly hop: Hop
  readonly response: HttpClientResponse.HttpClientResponse
  readonly connection: Scope.Closeable
  readonly slot: OriginLimiter.Slot
}

/** How long a server of a route may take until the header of a response, in milliseconds; `undefined` if the route doesn't say. */
const firstByteTimeoutOf = (route: RoutePolicy | undefined): number | undefined =>
  route?.longPolls === true ? Number.POSITIVE_INFINITY : route?.firstByteTimeout

/** Whether a request may be sent again although the origin may have received it. */
const isRepeatable = ({ body, method, route, upgrade }: OriginRequest): boolean =>
  body === undefined && upgrade === undefined && route?.longPolls !== true && isIdempotent(method)

const messageOf = ({ body, method }: OriginRequest, { headers, url }: Hop): HttpClientRequest.HttpClientRequest => {
  // The platform knows the names of some methods only, and sends any.
  const message = HttpClientRequest.make(method as HttpMethod.HttpMethod)(url.href, { headers })
  if (body === undefined) return message
  const type = headers["content-type"]
  const length = headers["content-length"]
  const withBody = HttpClientRequest.setBody(
    message,
    HttpBody.stream(body, type, length === undefined ? undefined : Number(length))
  )
  return type === undefined ? HttpClientRequest.removeHeader(withBody, "content-type") : withBody
}

/** Makes the function that sends a request to one server. Follows no redirect. */
export const makeExchange = (config: OriginOptions, connections: OriginConnections, isTraced: boolean) => {
  const limiter = OriginLimiter.make({ limit: config.maxRequests, timeout: config.firstByteTimeout })

  /** Sends `message`, and once more on a new connection if the kept one had been closed and repeating is safe. */
  const send = (clients: OriginClients, message: HttpClientRequest.HttpClientRequest, mayRepeat: boolean) =>
    Effect.catch(clients.kept.execute(message), (error) =>
      mayRepeat && connections.wasIdle(error)
        ? Effect.andThen(Metric.update(retries, 1), clients.fresh.execute(message))
        : Effect.fail(error))

  /** Waits for a slot, and sends the request. */
  const ask = Effect.fnUntraced(function*(request: OriginRequest, hop: Hop, slot: OriginLimiter.Slot) {
    const url = loggable(hop.url.href)
    const { host, tls } = hop.server?.access ?? {}
    const allowed = yield* connections.clients({ access: hop.access, tls, host })
    if (allowed === undefined || (hop.access === "public" && isPrivateLiteral(hop.url))) {
      return yield* new OriginForbidden({ url })
    }
    if (!(yield* limiter.enter(hop.url.origin, request.background === true, slot))) {
      return yield* new OriginTimeout({ url, phase: "queue" })
    }
    request.onAdmitted?.()
    const turn = yield* makeTurn(firstByteTimeoutOf(request.route) ?? config.firstByteTimeout)
    const body = request.body && upload(request.body, turn)
    turn.begin()
    const known = introduced(hop, request.method)
    const traced = isTraced ? { ...known, headers: { ...known.headers, ...yield* traceFields } } : known
    const late = (phase: OriginTimeout["phase"]) => Effect.fail(new OriginTimeout({ url, phase }))
    const { onHints, upgrade } = request
    const outgoing = messageOf({ ...request, body }, traced)
    const message = upgrade === undefined
      ? send(allowed, outgoing, isRepeatable(request))
      : allowed.fresh.execute(outgoing)
    const sent = (onHints === undefined ? message : withHints(message, onHints)).pipe(
      Effect.mapError((error) => failureOf(url, error)),
      Effect.raceFirst(Effect.andThen(turn.overdue, late("header")))
    )
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
    if (response.status === 401 && credentialsFor(request.method, hop) !== undefined) {
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
