import { NodeHttpServerRequest, NodeStream } from "@effect/platform-node"
import { Effect, Schema } from "effect"
import { type HttpServerRequest, HttpServerResponse } from "effect/http"
import { Agent, type ClientRequest, type IncomingMessage, request as send, type ServerResponse } from "node:http"
import { connect } from "node:net"
import { ofConnection } from "../domain/rfc/HeaderFields.ts"
import { viewerOf } from "../http/proxy/accounting.ts"
import { errorReply, page } from "../http/proxy/errorResponses.ts"
import type { Reply } from "../http/proxy/Reply.ts"
import { RETRY_AFTER_SECONDS } from "../http/proxy/StreamLimit.ts"
import { WatchedResponse } from "../http/server/WatchedResponse.ts"
import { VIEWER_FIELD } from "./messages.ts"
import type { OwnerLink } from "./OwnerLink.ts"
import { pour } from "./pour.ts"

/** How many connections to the owner are kept for the next requests. */
const IDLE_CONNECTIONS = 256

/** Names and values in turn, without those of one connection and without `dropped`. */
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

/** Sets whether the owner logs a request. It knows more about the request. */
const setRelayed = (response: ServerResponse, isRelayed: boolean): void => {
  if (response instanceof WatchedResponse) response.isRelayed = isRelayed
}

/** The owner did not answer a request, or its answer cannot be passed on. */
class RelayFailed extends Schema.TaggedError<RelayFailed>()("RelayFailed", {
  reason: Schema.Literals(["unreachable", "malformed"]),
  cause: Schema.optional(Schema.Defect())
}) {}

const unreachable = (cause?: unknown) => new RelayFailed({ reason: "unreachable", cause })

const failureOf = ({ reason }: RelayFailed): Reply =>
  reason === "malformed"
    ? errorReply(502, "The origin's answer cannot be used", { fwd: "miss", detail: "ORIGIN_UNEXPECTED" })
    : errorReply(
      503,
      "The process that owns the cache does not answer",
      { fwd: "bypass", detail: "OWNER_UNAVAILABLE" },
      {
        "retry-after": String(RETRY_AFTER_SECONDS)
      }
    )

/** The head of the owner's answer. */
const headOf = (outgoing: ClientRequest): Effect.Effect<IncomingMessage, RelayFailed> =>
  Effect.callback((resume) => {
    outgoing.on("response", (answer) => resume(Effect.succeed(answer)))
    // Stays for as long as the request: an error without a listener ends the process.
    outgoing.on("error", (cause) => resume(Effect.fail(unreachable(cause))))
  })

/**
 * Has the owner, which listens at `path`, answer requests, and passes its answers on unchanged. An answer that the owner cuts is
 * cut here, and a viewer who leaves here has left there. `onAnswer` gets the `Cache-Status` of each answer.
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
    const answer = yield* headOf(outgoing)
    yield* Effect.try({
      try: () => response.writeHead(answer.statusCode!, answer.statusMessage, passedFields(answer)),
      catch: (cause) => new RelayFailed({ reason: "malformed", cause })
    })
    onAnswer(request, answer.headers["cache-status"] as string | undefined)
    // Node keeps the head for the first bytes of the body, which may be long in coming.
    setImmediate(() => {
      if (!answer.readableDidRead && !response.writableEnded && !response.destroyed) response.flushHeaders()
    })
    // An answer that does not come to its end has had its connection destroyed.
    yield* Effect.ignore(pour(answer, response))
    return page(HttpServerResponse.empty())
  })

  return (request: HttpServerRequest.HttpServerRequest): Effect.Effect<Reply> => {
    if (owner.isSilent()) return Effect.succeed(failureOf(unreachable()))
    // Nothing but HTTP/1 is spoken.
    const incoming = NodeHttpServerRequest.toIncomingMessage(request) as IncomingMessage
    const response = NodeHttpServerRequest.toServerResponse(request) as ServerResponse
    const { headers, method = "GET", url = "/" } = incoming
    const hasBody = headers["content-length"] !== undefined || headers["transfer-encoding"] !== undefined
    const fields = requestFields(incoming, viewerOf(request), hasBody)
    setRelayed(response, true)
    return Effect.acquireUseRelease(
      Effect.sync(() => send({ agent, method, path: url, headers: fields, setHost: false })),
      (outgoing) => {
        if (!hasBody) {
          outgoing.end()
          return passOn(request, outgoing, response)
        }
        // The owner may answer before the body comes.
        outgoing.flushHeaders()
        const upload = pour(NodeStream.toReadableNever(request.stream), outgoing)
        return Effect.scoped(Effect.andThen(Effect.forkScoped(upload), passOn(request, outgoing, response)))
      },
      // Nothing, where its answer has come to its end: the connection is kept.
      (outgoing) => Effect.sync(() => outgoing.destroy())
    ).pipe(
      // The platform runs handlers to their end otherwise, though the viewer may have gone.
      Effect.interruptible,
      Effect.catch((failed) => {
        setRelayed(response, false)
        return Effect.succeed(failureOf(failed))
      })
    )
  }
}
