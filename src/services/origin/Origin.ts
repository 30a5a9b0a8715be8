import { Context, Effect, Exit, Layer, Scope, Stream } from "effect"
import { HttpClient } from "effect/http"
import type { Socket } from "effect/socket"
import { withChanges } from "../../domain/fieldChanges.ts"
import { loggable, type OriginError, OriginUnreachable } from "../../domain/OriginError.ts"
import { OriginFault } from "../../domain/OriginFault.ts"
import type { OriginHead } from "../../domain/Representation.ts"
import type { HeaderFields } from "../../domain/rfc/HeaderFields.ts"
import { isRead } from "../../domain/rfc/Method.ts"
import type { Access } from "../../domain/Route.ts"
import type { RouteOrigin, RoutePolicy } from "../../domain/RoutePolicy.ts"
import { OriginConfig, type OriginOptions } from "../config/OriginConfig.ts"
import { isTraced } from "../observe/tracing.ts"
import { makeTurn, withBodyTimeout } from "./bodyTimeout.ts"
import { makeExchange } from "./exchange.ts"
import { makeFileRequests } from "./fileRequests.ts"
import { makeFollowRedirects } from "./followRedirects.ts"
import { makeHttpRequests } from "./httpRequests.ts"
import { makeConnections, type OriginConnections } from "./originConnections.ts"
import type { Slot } from "./OriginLimiter.ts"
import { makeS3Requests } from "./s3/s3Requests.ts"

/** A viewer's request, as other nodes of a fleet can be asked it. */
export interface PeerQuestion {
  /** The URL of the resource. */
  readonly url: string
  /** The request target. */
  readonly target: string
  /** The `Host` field. */
  readonly host: string
  /** The name of the node that asks, if it isn't a viewer. Its request is only handed on to nodes that answer from what they have. */
  readonly from?: string
  /** The validator of the requested version, if it is known. */
  readonly validator?: string
  /** The viewer has credentials. They don't travel between nodes, so nodes are asked only for what they have that is for everybody. */
  readonly hasCredential?: boolean
}

/** A request as it goes to the origin. */
export interface OriginRequest {
  readonly method: string
  readonly url: string
  /** Without hop-by-hop fields. */
  readonly headers: HeaderFields
  /** The fields, besides credentials, that are not sent to another server after a redirect. */
  readonly secrets?: ReadonlyArray<string>
  /** Sent as it arrives: with the `content-length` in `headers`, which it has to match, or else chunked. */
  readonly body?: Stream.Stream<Uint8Array, unknown> | undefined
  /** The protocols that its connection is offered to change to, as in the field `Upgrade`. Such a request follows no redirects. */
  readonly upgrade?: string | undefined
  /** Which addresses may be connected to; any by default. */
  readonly access?: Access | undefined
  /** How requests of its route are treated; the defaults without it. */
  readonly route?: RoutePolicy | undefined
  /** The origin of `route` that `url` is at; the first one without it. */
  readonly server?: RouteOrigin | undefined
  /** What the cache knows the file as, if `url` has more than that. */
  readonly file?: string | undefined
  /** The origins of `route` that are asked last, in this order, because they have just failed or are silent. */
  readonly avoid?: ReadonlyArray<RouteOrigin> | undefined
  /** Whether a response has what was requested. Otherwise the next origin of `route` is asked, if it has several. */
  readonly accepts?: ((head: OriginHead) => boolean) | undefined
  /** Nobody waits for it, so requests that viewers wait for go first. */
  readonly background?: boolean | undefined
  /** Called with the request when it has its slot at the origin, before it is sent. A redirect has it called again. */
  readonly onAdmitted?: ((request: OriginRequest) => void) | undefined
  /** Whether it may be sent once more if its response is late: a viewer waits for a file. */
  readonly isHedgeable?: boolean | undefined
  /** It is for bytes that have been requested already, and is refused unless such requests are rare. */
  readonly isHedge?: boolean | undefined
  /** Called with the fields of each 103 (Early Hints) before the response. */
  readonly onHints?: ((fields: HeaderFields) => void) | undefined
  /** What nodes of a fleet that own the bytes are asked instead. Without it, only the origin is asked. */
  readonly peers?: PeerQuestion | undefined
}

/** A response whose body has yet to be read. Its scope holds its connection. */
export interface OriginResponse extends OriginHead {
  /** The lines of `Set-Cookie`, in order; `headers` has them combined. */
  readonly setCookie: ReadonlyArray<string>
  /** Can be read once. */
  readonly body: Stream.Stream<Uint8Array, OriginError>
  /** Its slot at the origin, for the reader to set how it is released. Otherwise the body is cut off when the slot is reclaimed. */
  readonly slot?: Slot
  /** Whether the bytes that came last are those of another node of a fleet, and not the origin's. They are the origin's without it. */
  readonly isFromPeer?: () => boolean
  /** The route of the request. */
  readonly route?: RoutePolicy
  /** The origin of the request's route that it is from. */
  readonly server?: RouteOrigin
  /** A node of a fleet was passed over because it doesn't respond. */
  readonly hasLostPeer?: boolean
  /** The connection behind a 101 (Switching Protocols), in the new protocol. It can be read once, and ends with the scope. */
  readonly connection?: Socket.Socket
}

/**
 * The servers that have the files. One request gets one response, and every failure has a type. It follows redirects to allowed servers,
 * and neither retries nor caches. Only a request that failed because the origin had just closed its connection is sent again (RFC 9110
 * §9.2.2).
 *
 * @since 0.1.0
 * @category services
 */
export class Origin extends Context.Service<Origin, {
  /** Sends a request and follows redirects. The scope holds the connection. Fails if it takes longer than `OriginConfig` allows. */
  readonly request: (request: OriginRequest) => Effect.Effect<OriginResponse, OriginError, Scope.Scope>
}>()("spillway/services/origin/Origin") {
  /**
   * Uses the `HttpClient` in context. That doesn't reveal the addresses that it connects to and has TLS of its own, so requests are refused
   * that may connect to public addresses only, or that need the TLS or `Host` field of a route.
   *
   * @since 0.1.0
   * @category layers
   */
  static readonly layerNoDeps: Layer.Layer<Origin, never, HttpClient.HttpClient | OriginConfig> = Layer.effect(
    Origin,
    Effect.gen(function*() {
      const client = HttpClient.withScope(yield* HttpClient.HttpClient)
      const clients = { kept: client, fresh: client }
      const connections: OriginConnections = {
        clients: ({ access, host, tls }) =>
          Effect.succeed(access === "any" && host === undefined && tls === undefined ? clients : undefined),
        wasIdle: () => false
      }
      return yield* make(yield* OriginConfig, connections)
    })
  )

  /**
   * Uses undici with connections that are kept alive.
   *
   * @since 0.1.0
   * @category layers
   */
  static readonly layer: Layer.Layer<Origin, never, OriginConfig> = Layer.effect(
    Origin,
    Effect.gen(function*() {
      const config = yield* OriginConfig
      return yield* make(config, yield* makeConnections(config))
    })
  )
}

/** What Spillway calls itself in `Via` (RFC 9110 §7.6.3). */
export const VIA = "1.1 spillway"

/** The header fields of `request` with Spillway's own. */
const fieldsOf = ({ headers: given, method, route, upgrade }: OriginRequest): HeaderFields => {
  const headers = route === undefined ? given : withChanges(given, route.requestFields)
  // Nobody else may be able to decode what a coding makes of a file.
  const plain = isRead(method) ? { "accept-encoding": "identity" } : {}
  const fields: Record<string, string> = { "user-agent": "spillway", ...plain, ...headers }
  fields["via"] = headers["via"] === undefined ? VIA : `${headers["via"]}, ${VIA}`
  // The server or client that passes the request on responds to it.
  delete fields["expect"]
  if (upgrade !== undefined) fields["upgrade"] = upgrade
  return fields
}

/** Whether a response is a stream of events, which may be silent for any time. */
const isEventStream = (headers: HeaderFields): boolean => /^text\/event-stream\b/i.test(headers["content-type"] ?? "")

const make = Effect.fnUntraced(function*(config: OriginOptions, connections: OriginConnections) {
  const tracing = yield* isTraced
  const http = makeHttpRequests(connections, tracing)
  const requests = { http, file: yield* makeFileRequests, s3: yield* makeS3Requests(http) }
  const followRedirects = makeFollowRedirects(config, makeExchange(config, requests, tracing))

  return Origin.of({
    request: Effect.fnUntraced(function*(request) {
      const url = URL.parse(request.url)
      if (url === null || config.offline) {
        const cause = new OriginFault(config.offline ? "OFFLINE" : "NOT_A_URL")
        return yield* new OriginUnreachable({ url: loggable(request.url), cause })
      }
      const { access = "any", route, secrets = [], server = route?.origins[0] } = request
      const { connection, slot, stream, switched, url: from, ...head } = yield* followRedirects(request, {
        url,
        access,
        // An application's resolver may name another server than its route has.
        server: server?.url.origin === url.origin ? server : undefined,
        headers: fieldsOf(request),
        secrets: [...secrets, ...config.credentialFields, ...Object.keys(route?.requestFields.set ?? {})],
        isFirstOrigin: true,
        isCookieWithheld: false
      })
      const abandon = Scope.close(connection, Exit.void)
      if (switched !== undefined) {
        slot.release = abandon
        return { ...head, body: Stream.empty, slot, connection: switched }
      }
      if (stream === undefined) {
        yield* abandon
        return { ...head, body: Stream.empty }
      }
      const silence = route?.silenceTimeout ?? config.silenceTimeout
      const turn = yield* makeTurn(isEventStream(head.headers) ? Number.POSITIVE_INFINITY : silence)
      return { ...head, body: withBodyTimeout(stream, { url: from, turn, slot, abandon }), slot }
    }, (effect) => Effect.provideService(effect, HttpClient.TracerDisabledWhen, () => true))
  })
})
