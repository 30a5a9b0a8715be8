import { NodeHttpClient } from "@effect/platform-node"
import { buildConnector } from "@effect/platform-node/Undici"
import { Context, Effect, type Scope } from "effect"
import type { HttpClient, HttpClientError } from "effect/http"
import { lookup } from "node:dns"
import { isIP, type LookupFunction } from "node:net"
import { isPublic } from "../domain/Address.ts"
import { type OriginError, OriginForbidden, OriginTimeout, OriginUnreachable } from "../domain/OriginError.ts"
import type { OriginOptions } from "./OriginConfig.ts"

/** How host names become addresses: `dns.lookup`, unless a test says otherwise. */
export const HostLookup = Context.Reference<LookupFunction>("spillway/services/originConnections/HostLookup", {
  defaultValue: () => lookup
})

/** Clients whose connections are kept alive: one that connects to any address, and one that does to public ones only. */
export interface OriginConnections {
  readonly any: HttpClient.HttpClient
  readonly public: HttpClient.HttpClient
}

/** None of the addresses of a host is public. */
class AddressForbidden extends Error {}

/**
 * Resolves to public addresses only. Since it is asked for each connection, and by what makes the connection, a name that resolves
 * to something else the next time gains nothing.
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

/** Whether the host of `url` is an address, for which nothing is resolved, and not a public one. */
export const isPrivateLiteral = (url: URL): boolean => {
  const host = url.hostname.replace(/^\[(.*)\]$/, "$1")
  return isIP(host) !== 0 && !isPublic(host)
}

/**
 * On connections that are not kept, undici takes a reset for the end of a body that has neither length nor chunks, so that what
 * broke off would look whole. It does so by the code of the error.
 */
const tellingResets = (connect: buildConnector.connector): buildConnector.connector => (options, callback) =>
  connect(options, (...outcome) => {
    const [, socket] = outcome
    socket?.prependListener("error", (error: NodeJS.ErrnoException) => {
      if (error.code === "ECONNRESET") error.code = "ERR_RESET_BY_ORIGIN"
    })
    callback(...outcome)
  })

/** Connections as `options` say, which end with the scope. */
export const makeConnections = Effect.fnUntraced(function*(
  { connectTimeout, maxRequests }: OriginOptions
): Effect.fn.Return<OriginConnections, never, Scope.Scope> {
  const lookup = yield* HostLookup
  const clientWith = (lookup: LookupFunction) =>
    Effect.flatMap(
      NodeHttpClient.makeDispatcherOptions({
        connections: maxRequests,
        // Transfers that share a connection hold each other up, and cannot be cut one by one.
        allowH2: false,
        connect: tellingResets(buildConnector({ allowH2: false, timeout: connectTimeout, lookup }))
      }),
      (dispatcher) => Effect.provideService(NodeHttpClient.makeUndici, NodeHttpClient.Dispatcher, dispatcher)
    )
  return { any: yield* clientWith(lookup), public: yield* clientWith(publicOnly(lookup)) }
})

/** What `error`, which holds the whole request, is wrapped around. */
const underlying = (error: HttpClientError.HttpClientError): unknown => {
  const { reason } = error
  let cause: unknown = "cause" in reason ? reason.cause : undefined
  // One error for each address that was tried.
  while (cause instanceof AggregateError && cause.errors.length > 0) cause = cause.errors[0]
  return cause
}

/** What is at the bottom of `error`: an error with its errno, or a short text. Never the request, whose fields are secrets. */
export const causeOf = (error: HttpClientError.HttpClientError): unknown => {
  const cause = underlying(error)
  if (!(cause instanceof Error)) return error.reason._tag
  if ("errno" in cause) return cause
  return "code" in cause ? `${cause.code}: ${cause.message}` : cause.message
}

/** Why there is no answer. */
export const failureOf = (url: string, error: HttpClientError.HttpClientError): OriginError => {
  const cause = underlying(error)
  if (cause instanceof AddressForbidden) return new OriginForbidden({ url })
  const { code, syscall }: { readonly code?: unknown; readonly syscall?: unknown } = cause ?? {}
  return code === "UND_ERR_CONNECT_TIMEOUT" || (code === "ETIMEDOUT" && syscall === "connect")
    ? new OriginTimeout({ url, phase: "connect" })
    : new OriginUnreachable({ url, cause: causeOf(error) })
}
