import { NodeHttpServerRequest } from "@effect/platform-node"
import { Effect } from "effect"
import type { HttpServerRequest } from "effect/http"
import { IncomingMessage, ServerResponse } from "node:http"

/**
 * Pipelined requests: an answer is sent when those before it on the connection have left. Until then it would only take up memory,
 * so nothing of a body is looked up before its turn. Only requests to the origin are made at once.
 */

/** Node's answer to a request, if Node serves it by HTTP/1. */
export const nodeResponse = (request: HttpServerRequest.HttpServerRequest): ServerResponse | undefined => {
  if (!(request.source instanceof IncomingMessage)) return undefined
  const response = NodeHttpServerRequest.toServerResponse(request)
  return response instanceof ServerResponse ? response : undefined
}

/** Whether `response` waits for others on its connection. Node gives it the connection when they have left. */
export const isInLine = (response: ServerResponse): boolean =>
  response.socket === null && !response.destroyed && !response.writableEnded

/** Waits until the answer to a request is the next one on its connection. */
export const awaitTurn = (request: HttpServerRequest.HttpServerRequest): Effect.Effect<void> =>
  Effect.suspend(() => {
    const response = nodeResponse(request)
    if (response === undefined || !isInLine(response)) return Effect.void
    return Effect.callback((resume) => {
      const begin = () => resume(Effect.void)
      response.once("socket", begin)
      return Effect.sync(() => void response.off("socket", begin))
    })
  })
