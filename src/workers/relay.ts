import { NodeHttpServerRequest, NodeStream } from "@effect/platform-node"
import { Effect } from "effect"
import { type HttpServerRequest, HttpServerResponse } from "effect/http"
import { Agent, type IncomingMessage, request as send, type ServerResponse } from "node:http"
import { pipeline } from "node:stream"
import { ofConnection } from "../domain/Headers.ts"
import { viewerOf } from "../http/accounting.ts"
import { WatchedResponse } from "../http/WatchedResponse.ts"
import { VIEWER_FIELD } from "./messages.ts"

/** How many connections to the owner are kept for the next requests. */
const IDLE_CONNECTIONS = 256

/** Names and values in turn, without those of one connection and without `dropped`. */
const passedFields = ({ headers, rawHeaders }: IncomingMessage, dropped?: string): Array<string> => {
  const isOfConnection = ofConnection(headers.connection)
  const fields: Array<string> = []
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i]!.toLowerCase()
    if (!isOfConnection(name) && name !== dropped && name !== "expect") fields.push(rawHeaders[i]!, rawHeaders[i + 1]!)
  }
  return fields
}

/**
 * Has the owner at `socket` answer requests, and hands its answers on as they are. What the owner cuts is cut; whoever leaves
 * here has left there. `onAnswer` is told of the `Cache-Status` of each answer.
 */
export const make = (
  socket: string,
  onAnswer: (request: HttpServerRequest.HttpServerRequest, cacheStatus: string | undefined) => void
) => {
  const agent = new Agent({ keepAlive: true, maxFreeSockets: IDLE_CONNECTIONS })

  const answerWith = (answer: IncomingMessage, response: ServerResponse, done: () => void): void => {
    response.writeHead(answer.statusCode!, answer.statusMessage, passedFields(answer))
    // Node keeps the head for the first bytes of the body, which may be long in coming.
    setImmediate(() => {
      if (!answer.readableDidRead && !response.writableEnded && !response.destroyed) response.flushHeaders()
    })
    // Where it does not come to its end, the connection is destroyed, by which the platform ends this request.
    pipeline(answer, response, (error) => error ?? done())
  }

  return (request: HttpServerRequest.HttpServerRequest): Effect.Effect<HttpServerResponse.HttpServerResponse> =>
    Effect.callback((resume) => {
      // Nothing but HTTP/1 is spoken.
      const incoming = NodeHttpServerRequest.toIncomingMessage(request) as IncomingMessage
      const response = NodeHttpServerRequest.toServerResponse(request) as ServerResponse
      // The owner logs it, who knows more.
      if (response instanceof WatchedResponse) response.isRelayed = true
      const { headers, method = "GET", url = "/" } = incoming
      const isChunked = headers["transfer-encoding"] !== undefined
      const fields = passedFields(incoming, VIEWER_FIELD)
      if (isChunked) fields.push("transfer-encoding", "chunked")
      fields.push(VIEWER_FIELD, viewerOf(request) ?? "")
      const outgoing = send({ socketPath: socket, agent, method, path: url, headers: fields, setHost: false })
      outgoing.on("response", (answer) => {
        onAnswer(request, answer.headers["cache-status"] as string | undefined)
        answerWith(answer, response, () => resume(Effect.succeed(HttpServerResponse.empty())))
      })
      outgoing.on("error", () => {
        if (response.headersSent) response.destroy()
        else resume(Effect.succeed(HttpServerResponse.text("Spillway is ending\n", { status: 503 })))
      })
      if (isChunked || headers["content-length"] !== undefined) {
        pipeline(NodeStream.toReadableNever(request.stream), outgoing, () => {})
      } else outgoing.end()
      return Effect.sync(() => void outgoing.destroy())
    })
}
