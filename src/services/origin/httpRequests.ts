import { Effect, Metric, Stream } from "effect"
import { HttpBody, HttpClientRequest, type HttpMethod } from "effect/http"
import { loggable, OriginForbidden } from "../../domain/OriginError.ts"
import type { Hop } from "../../domain/Redirect.ts"
import { isIdempotent } from "../../domain/rfc/Method.ts"
import { traceFields } from "../observe/tracing.ts"
import { introduced } from "./credentials.ts"
import type { SendRequest } from "./HopResponse.ts"
import type { OriginRequest } from "./Origin.ts"
import {
  causeOf,
  failureOf,
  isPrivateLiteral,
  type OriginClients,
  type OriginConnections,
  withHints
} from "./originConnections.ts"
import { retries } from "./retry.ts"
import { setCookieLines } from "./setCookieLines.ts"

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

/** Makes the function that sends a request to an HTTP server. It waits for nothing but the server. */
export const makeHttpRequests = (connections: OriginConnections, isTraced: boolean): SendRequest => {
  /** Sends `message`, and once more on a new connection if the kept one had been closed and repeating is safe. */
  const send = (clients: OriginClients, message: HttpClientRequest.HttpClientRequest, mayRepeat: boolean) =>
    Effect.catch(clients.kept.execute(message), (error) =>
      mayRepeat && connections.wasIdle(error)
        ? Effect.andThen(Metric.update(retries, 1), clients.fresh.execute(message))
        : Effect.fail(error))

  return Effect.fnUntraced(
    function*(request, hop) {
      const url = loggable(hop.url.href)
      const { host, tls } = hop.server?.access ?? {}
      const clients = yield* connections.clients({ access: hop.access, tls, host })
      if (clients === undefined || (hop.access === "public" && isPrivateLiteral(hop.url))) {
        return yield* new OriginForbidden({ url })
      }
      const known = introduced(hop, request)
      const traced = isTraced ? { ...known, headers: { ...known.headers, ...yield* traceFields } } : known
      const { onHints, upgrade } = request
      const message = messageOf(request, traced)
      const sent = upgrade === undefined
        ? send(clients, message, isRepeatable(request))
        : clients.fresh.execute(message)
      const response = yield* (onHints === undefined ? sent : withHints(sent, onHints)).pipe(
        Effect.mapError((error) => failureOf(url, error))
      )
      return {
        status: response.status,
        headers: response.headers,
        setCookie: setCookieLines(response),
        stream: Stream.mapError(response.stream, causeOf),
        switched: Effect.suspend(() => Effect.mapError(response.upgrade, (error) => failureOf(url, error)))
      }
    }
  )
}
