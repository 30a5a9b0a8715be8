import { NodeHttpServerRequest, NodeSocket, NodeStream } from "@effect/platform-node"
import { Effect, Schema } from "effect"
import { type HttpServerRequest, HttpServerResponse } from "effect/http"
import { Agent, type ClientRequest, type IncomingMessage, request as send, type ServerResponse } from "node:http"
import { connect, type Socket } from "node:net"
import { ofConnection } from "../domain/rfc/HeaderFields.ts"
import { offeredProtocol } from "../domain/rfc/Upgrade.ts"
import { tunnel } from "../effects/tunnel.ts"
import { viewerOf } from "../http/proxy/accounting.ts"
import { errorReply, page } from "../http/proxy/errorResponses.ts"
import type { Reply } from "../http/proxy/Reply.ts"
import { RETRY_AFTER_SECONDS } from "../http/proxy/StreamLimit.ts"
import { switchable, switchProtocols, unswitched } from "../http/proxy/upgrade.ts"
import { WatchedResponse } from "../http/server/WatchedResponse.ts"
import { VIEWER_FIELD } from "./messages.ts"
import type { OwnerLink } from "./OwnerLink.ts"
import { pour } from "./pour.ts"

/** The number of idle connections to the owner. */
const IDLE_CONNECTIONS = 256

/** Names and values in turn, without hop-by-hop fields and `dropped`. */
const passedFields = ({ headers, rawHeaders }: IncomingMessage, dropped?: string): Array<string> => {
  const isOfConnection = ofConnection(headers.connection)
  const fields: Array<string> = []
  let length: string | undefined
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i]!.toLowerCase()
    if (isOfConnection(name) || name === dropped || name === "expect") continue
    if (name === "content-length") length = rawHeaders[i + 1]
    else fields.push(rawHeaders[i]!, rawHeaders[i + 1]!)
  }
  // Last: Node re-encodes a `Content-Disposition` that comes after it, and then refuses its own encoding.
  if (length !== undefined) fields.push("content-length", length)
  return fields
}

/** The fields of a request to the owner. */
const requestFields = (incoming: IncomingMessage, viewer: string | undefined, hasBody: boolean): Array<string> => {
  const fields = passedFields(incoming, VIEWER_FIELD)
  // Also if the viewer's Connection lists its length: Node writes a GET's body without either, as if it were the next request.
  if (hasBody && fields.at(-2) !== "content-length") fields.push("transfer-encoding", "chunked")
  // Requests to the owner are HTTP/1.1, which requires a Host field (RFC 9112 §3.2).
  if (incoming.headers.host === undefined) fields.push("host", "")
  fields.push(VIEWER_FIELD, viewer ?? "")
  return fields
}

/** Sets whether the owner logs a request instead of this process. The owner knows more about it. */
const setRelayed = (response: ServerResponse, isRelayed: boolean): void => {
  if (response instanceof WatchedResponse) response.isRelayed = isRelayed
}

/** The owner did not respond to a request, or its response cannot be passed on. */
class RelayFailed extends Schema.TaggedError<RelayFailed>()("RelayFailed", {
  reason: Schema.Literals(["unreachable", "malformed"]),
  cause: Schema.optional(Schema.Defect())
}) {}

const unreachable = (cause?: unknown) => new RelayFailed({ reason: "unreachable", cause })

const failureOf = ({ reason }: RelayFailed): Reply =>
  reason === "malformed"
    ? errorReply(502, "The origin's response cannot be used", { fwd: "miss", detail: "ORIGIN_UNEXPECTED" })
    : errorReply(
      503,
      "The process that owns the cache does not respond; try again later",
      { fwd: "bypass", detail: "OWNER_UNAVAILABLE" },
      { "retry-after": String(RETRY_AFTER_SECONDS) }
    )

/** The head of the owner's response, and the connection if the owner has changed its protocol. */
interface Head {
  readonly answer: IncomingMessage
  readonly connection?: Socket
}

const headOf = (outgoing: ClientRequest): Effect.Effect<Head, RelayFailed> =>
  Effect.callback((resume) => {
    outgoing.on("response", (answer) => resume(Effect.succeed({ answer })))
    outgoing.on("upgrade", (answer, connection: Socket, head) => {
      // In another protocol, the end of one side need not be that of the other.
      connection.allowHalfOpen = true
      if (head.length > 0) connection.unshift(head)
      resume(Effect.succeed({ answer, connection }))
    })
    // Stays for as long as the request, because an error without a listener ends the process.
    outgoing.on("error", (cause) => resume(Effect.fail(unreachable(cause))))
  })

const protocolFields = (protocol: string): ReadonlyArray<string> => ["connection", "Upgrade", "upgrade", protocol]

/** Passes bytes between the viewer and the owner in another protocol. */
const join = (response: ServerResponse, answer: IncomingMessage, connection: Socket): Effect.Effect<void> => {
  const fields = [...passedFields(answer), ...protocolFields(answer.headers.upgrade ?? "")]
  const owner = NodeSocket.fromDuplex(
    Effect.acquireRelease(Effect.succeed(connection), () => Effect.sync(() => connection.destroySoon()))
  )
  return Effect.all([switchProtocols(response, fields), owner]).pipe(
    Effect.flatMap(([viewer, owner]) => tunnel(viewer, owner, () => {})),
    Effect.scoped,
    Effect.ignore
  )
}

/**
 * A handler that passes requests to the owner at the socket `path`, and its responses back unchanged. If the owner cuts a response, it
 * is cut here; if a viewer leaves, the request to the owner ends. `onAnswer` gets the `Cache-Status` of each response.
 */
export const make = (
  path: string,
  owner: OwnerLink["Service"],
  onAnswer: (request: HttpServerRequest.HttpServerRequest, cacheStatus: string | undefined) => void
) => {
  const agent = Object.assign(new Agent({ keepAlive: true, maxFreeSockets: IDLE_CONNECTIONS }), {
    createConnection: () => owner.hold(connect(path))
  })

  const passOn = Effect.fnUntraced(function*(
    request: HttpServerRequest.HttpServerRequest,
    outgoing: ClientRequest,
    response: ServerResponse
  ) {
    const { answer, connection } = yield* headOf(outgoing)
    if (connection !== undefined) {
      yield* join(response, answer, connection)
      return page(HttpServerResponse.empty())
    }
    yield* Effect.try({
      try: () => response.writeHead(answer.statusCode!, answer.statusMessage, passedFields(answer)),
      catch: (cause) => new RelayFailed({ reason: "malformed", cause })
    })
    onAnswer(request, answer.headers["cache-status"] as string | undefined)
    // Node sends the head with the first bytes of the body, which may take long.
    setImmediate(() => {
      if (!answer.readableDidRead && !response.writableEnded && !response.destroyed) response.flushHeaders()
    })
    // If the response is incomplete, `pour` has destroyed the connection.
    yield* Effect.ignore(pour(answer, response))
    return page(HttpServerResponse.empty())
  })

  return (request: HttpServerRequest.HttpServerRequest): Effect.Effect<Reply> => {
    if (owner.isSilent()) return Effect.succeed(failureOf(unreachable()))
    // All requests are HTTP/1.
    const incoming = NodeHttpServerRequest.toIncomingMessage(request) as IncomingMessage
    const response = NodeHttpServerRequest.toServerResponse(request) as ServerResponse
    const { headers, method = "GET", url = "/" } = incoming
    const protocol = offeredProtocol(request.headers)
    const refused = protocol === undefined || switchable(request) !== undefined ? undefined : unswitched(protocol)
    if (refused !== undefined) return Effect.succeed(refused)
    const hasBody = headers["content-length"] !== undefined || headers["transfer-encoding"] !== undefined
    const fields = requestFields(incoming, viewerOf(request), hasBody)
    if (protocol !== undefined && !hasBody) fields.push(...protocolFields(protocol))
    setRelayed(response, true)
    return Effect.acquireUseRelease(
      Effect.sync(() => send({ agent, method, path: url, headers: fields, setHost: false })),
      (outgoing) => {
        if (!hasBody) {
          outgoing.end()
          return passOn(request, outgoing, response)
        }
        // The owner may respond before it gets the body.
        outgoing.flushHeaders()
        const upload = pour(NodeStream.toReadableNever(request.stream), outgoing)
        return Effect.scoped(Effect.andThen(Effect.forkScoped(upload), passOn(request, outgoing, response)))
      },
      // Does nothing after a complete response: the connection is kept.
      (outgoing) => Effect.sync(() => outgoing.destroy())
    ).pipe(
      // Without it, the platform runs the handler to its end although the viewer has left.
      Effect.interruptible,
      Effect.catch((failed) => {
        setRelayed(response, false)
        return Effect.succeed(failureOf(failed))
      })
    )
  }
}
