import { NodeHttpClient } from "@effect/platform-node"
import { buildConnector } from "@effect/platform-node/Undici"
import { Context, Effect, type Scope } from "effect"
import type { HttpClient, HttpClientError } from "effect/http"
import { lookup } from "node:dns"
import { isIP, type LookupFunction } from "node:net"
import { type OriginError, OriginForbidden, OriginTimeout, OriginUnreachable } from "../../domain/OriginError.ts"
import { faultOfBytes, OriginFault } from "../../domain/OriginFault.ts"
import { isPublic } from "../../domain/PublicAddress.ts"
import { endToEnd, type HeaderFields } from "../../domain/rfc/HeaderFields.ts"
import type { OriginOptions } from "../config/OriginConfig.ts"
import { makeOriginSockets } from "./originSockets.ts"

/** Resolves host names: `dns.lookup`, unless a test replaces it. */
export const HostLookup = Context.Reference<LookupFunction>("spillway/services/origin/originConnections/HostLookup", {
  defaultValue: () => lookup
})

/** Clients for requests to one kind of address. */
export interface OriginClients {
  /** Its connections are kept alive. */
  readonly kept: HttpClient.HttpClient
  /** Makes a connection for each request. */
  readonly fresh: HttpClient.HttpClient
}

/** Clients that connect to any address, and clients that connect to public ones only. */
export interface OriginConnections {
  readonly any: OriginClients
  readonly public: OriginClients
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

/** Makes clients with `options`. Their connections close with the scope. */
export const makeConnections = Effect.fnUntraced(function*(
  { connectTimeout, maxRequests }: OriginOptions
): Effect.fn.Return<OriginConnections, never, Scope.Scope> {
  const lookup = yield* HostLookup
  const sockets = yield* makeOriginSockets
  const clientWith = (lookup: LookupFunction, pipelining: 0 | 1) =>
    Effect.flatMap(
      NodeHttpClient.makeDispatcherOptions({
        connections: maxRequests,
        pipelining,
        // Transfers that share a connection block each other and can't be cut off separately.
        allowH2: false,
        connect: sockets.watched(buildConnector({ allowH2: false, timeout: connectTimeout, lookup }))
      }),
      (dispatcher) => Effect.provideService(NodeHttpClient.makeUndici, NodeHttpClient.Dispatcher, dispatcher)
    )
  const clientsWith = (lookup: LookupFunction) =>
    Effect.all({ kept: clientWith(lookup, 1), fresh: clientWith(lookup, 0) })
  return {
    any: yield* clientsWith(lookup),
    public: yield* clientsWith(publicOnly(lookup)),
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
