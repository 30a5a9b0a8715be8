import { NodeHttpClient } from "@effect/platform-node"
import { buildConnector } from "@effect/platform-node/Undici"
import { Context, Effect, RcMap, Redacted, type Scope } from "effect"
import { HttpClient, type HttpClientError } from "effect/http"
import { lookup } from "node:dns"
import { isIP, type LookupFunction } from "node:net"
import type { OriginTls } from "../../domain/OriginAccess.ts"
import { type OriginError, OriginForbidden, OriginTimeout, OriginUnreachable } from "../../domain/OriginError.ts"
import { faultOfBytes, OriginFault } from "../../domain/OriginFault.ts"
import { isPublic } from "../../domain/PublicAddress.ts"
import { endToEnd, type HeaderFields } from "../../domain/rfc/HeaderFields.ts"
import type { Access } from "../../domain/Route.ts"
import type { OriginOptions } from "../config/OriginConfig.ts"
import { makeOriginSockets } from "./originSockets.ts"

/** Resolves host names: `dns.lookup`, unless a test replaces it. */
export const HostLookup = Context.Reference<LookupFunction>("spillway/services/origin/originConnections/HostLookup", {
  defaultValue: () => lookup
})

/** A client whose requests hold their connection until their scope closes. */
type Client = HttpClient.HttpClient.With<HttpClientError.HttpClientError, Scope.Scope>

/** Clients for one kind of connection. */
export interface OriginClients {
  /** Its connections are kept alive. */
  readonly kept: Client
  /** Makes a connection for each request. */
  readonly fresh: Client
}

/** A kind of connection. Requests of different kinds share none. */
export interface ConnectionKind {
  /** The addresses that it may be made to. */
  readonly access: Access
  readonly tls?: OriginTls | undefined
  /** The `Host` field of its requests, if it isn't the host of the URL. */
  readonly host?: string | undefined
}

/** The connections to all origins. */
export interface OriginConnections {
  /** The clients for one kind of connection, which the scope holds. `undefined` if such connections can't be made. */
  readonly clients: (kind: ConnectionKind) => Effect.Effect<OriginClients | undefined, never, Scope.Scope>
  /** Whether a request failed with `error` only because its kept-alive connection had just been closed. */
  readonly wasIdle: (error: HttpClientError.HttpClientError) => boolean
}

/** None of the addresses of a host is public. */
class AddressForbidden extends Error {}

/**
 * Resolves to public addresses only. It runs whenever a connection is made, as part of that, so a name that resolves to another address the
 * next time (DNS rebinding) gains nothing.
 */
export const publicOnly = (lookup: LookupFunction): LookupFunction => (hostname, options, callback) =>
  lookup(hostname, options, (error, address, family) => {
    if (error !== null) return callback(error, address, family)
    const allowed = typeof address === "string"
      ? isPublic(address) && address
      : address.filter(({ address }) => isPublic(address))
    if (allowed === false || allowed.length === 0) return callback(new AddressForbidden("address not allowed"), [])
    callback(null, allowed, family)
  })

/** Whether the host of `url` is an address, which is not resolved, and not a public one. */
export const isPrivateLiteral = (url: URL): boolean => {
  const host = url.hostname.replace(/^\[(.*)\]$/, "$1")
  return isIP(host) !== 0 && !isPublic(host)
}

/** How long connections of a route's own kind are kept after its last request, which may have been before a reload. */
const KIND_IDLE = "2 minutes"

/** The options of Node's TLS for `tls`. */
const optionsOf = ({ ca, certificate, key }: OriginTls) => ({
  ...(ca !== undefined && { ca }),
  ...(certificate !== undefined && { cert: certificate }),
  ...(key !== undefined && { key: Redacted.value(key) })
})

/** `connect` that asks for `serverName`, or else for the host of the URL, where undici would ask for the `Host` field. */
const withServerName =
  (connect: buildConnector.connector, serverName: string | undefined): buildConnector.connector =>
  (options, callback) =>
    connect({ ...options, servername: serverName ?? (isIP(options.hostname) === 0 ? options.hostname : "") }, callback)

/** Makes clients with `options`. Their connections close with the scope. */
export const makeConnections = Effect.fnUntraced(function*(
  { connectTimeout, maxRequests }: OriginOptions
): Effect.fn.Return<OriginConnections, never, Scope.Scope> {
  const lookups = yield* Effect.map(HostLookup, (lookup) => ({ any: lookup, public: publicOnly(lookup) }))
  const sockets = yield* makeOriginSockets
  const clientOf = ({ access, tls = {} }: ConnectionKind, pipelining: 0 | 1) => {
    const connect = buildConnector({
      allowH2: false,
      timeout: connectTimeout,
      lookup: lookups[access],
      ...optionsOf(tls)
    })
    return NodeHttpClient.makeDispatcherOptions({
      connections: maxRequests,
      pipelining,
      // Transfers that share a connection block each other and can't be cut off separately.
      allowH2: false,
      connect: sockets.watched(withServerName(connect, tls.serverName))
    }).pipe(
      Effect.flatMap((dispatcher) =>
        Effect.provideService(NodeHttpClient.makeUndici, NodeHttpClient.Dispatcher, dispatcher)
      ),
      Effect.map(HttpClient.withScope)
    )
  }
  const clientsOf = (kind: ConnectionKind) => Effect.all({ kept: clientOf(kind, 1), fresh: clientOf(kind, 0) })
  const usual = { any: yield* clientsOf({ access: "any" }), public: yield* clientsOf({ access: "public" }) }
  const ofRoutes = yield* RcMap.make({ lookup: clientsOf, idleTimeToLive: KIND_IDLE })
  return {
    clients: (kind) =>
      kind.tls === undefined && kind.host === undefined
        ? Effect.succeed(usual[kind.access])
        : RcMap.get(ofRoutes, kind),
    wasIdle: (error) => sockets.wasIdle(underlying(error))
  }
})

/** Fields that mean nothing in an interim response. */
const notHints = new Set(["content-length", "set-cookie"])

/** Has `onHints` called with the fields of each 103 that comes before the response to `request`. */
export const withHints = <A, E, R>(
  request: Effect.Effect<A, E, R>,
  onHints: (fields: HeaderFields) => void
): Effect.Effect<A, E, R> =>
  Effect.flatMap(
    NodeHttpClient.UndiciOptions,
    (options) =>
      Effect.provideService(request, NodeHttpClient.UndiciOptions, {
        ...options,
        onInfo: ({ headers, statusCode }) => {
          if (statusCode !== 103) return
          const fields = Object.entries(headers).map(([name, value = ""]) => [name, [value].flat().join(", ")] as const)
          onHints(endToEnd(Object.fromEntries(fields), notHints))
        }
      })
  )

/** The cause of `error`, which itself holds the whole request. */
const underlying = (error: HttpClientError.HttpClientError): unknown => {
  const { reason } = error
  let cause: unknown = "cause" in reason ? reason.cause : undefined
  // One error for each address that was tried.
  while (cause instanceof AggregateError && cause.errors.length > 0) cause = cause.errors[0]
  return cause
}

/** Spillway's codes for undici's own errors, by code and message. */
const ofUndici: Readonly<Record<string, string>> = {
  "UND_ERR_SOCKET": "CLOSED",
  "UND_ERR_SOCKET: bad response": "INTERIM_ANSWER",
  "UND_ERR_SOCKET: bad upgrade": "UPGRADE",
  "UND_ERR_HEADERS_OVERFLOW": "HEAD_TOO_LARGE",
  "UND_ERR_RES_CONTENT_LENGTH_MISMATCH": "LENGTH_MISMATCH"
}

/** What the parser of responses rejected. */
const parserFault = ({ data, message }: { readonly data?: unknown; readonly message: string }): OriginFault => {
  const reason = /\(([\w ,/-]{1,80})\)$/.exec(message)?.[1]
  return reason?.startsWith("Expected ") === true
    ? new OriginFault(faultOfBytes(String(data)))
    : new OriginFault("MALFORMED", reason)
}

/** The underlying cause of `error`. It never contains the request, whose fields are secrets. */
export const causeOf = (error: HttpClientError.HttpClientError): OriginFault => {
  const cause = underlying(error)
  if (!(cause instanceof Error)) return new OriginFault(error.reason._tag)
  if (cause.name === "HTTPParserError") return parserFault(cause)
  const { address, code, port } = cause as { address?: unknown; code?: unknown; port?: unknown }
  if (typeof code !== "string") return new OriginFault(cause.name)
  if (code === "ERR_SSL_TLSV1_ALERT_NO_APPLICATION_PROTOCOL") return new OriginFault("HTTP2_ONLY")
  const known = ofUndici[`${code}: ${cause.message}`] ?? ofUndici[code] ?? code
  return typeof address === "string" ? new OriginFault(known, `${address}:${String(port)}`) : new OriginFault(known)
}

/** Why there is no response. */
export const failureOf = (url: string, error: HttpClientError.HttpClientError): OriginError => {
  const cause = underlying(error)
  if (cause instanceof AddressForbidden) return new OriginForbidden({ url })
  const { code, syscall }: { readonly code?: unknown; readonly syscall?: unknown } = cause ?? {}
  return code === "UND_ERR_CONNECT_TIMEOUT" || (code === "ETIMEDOUT" && syscall === "connect")
    ? new OriginTimeout({ url, phase: "connect" })
    : new OriginUnreachable({ url, cause: causeOf(error) })
}
