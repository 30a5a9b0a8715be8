import { Effect, type Scope } from "effect"
import { HttpServerRequest, type HttpServerResponse } from "effect/http"
import { loggable } from "../../domain/OriginError.ts"
import { isTraced, parentOf } from "../../services/observe/tracing.ts"
import { toldBy } from "./RequestLog.ts"

type Handler = Effect.Effect<
  HttpServerResponse.HttpServerResponse,
  never,
  HttpServerRequest.HttpServerRequest | Scope.Scope
>

/**
 * `handler` with a span for each request, up to the head of its answer, named after the method, where somebody has provided a
 * tracer; else `handler` itself. The platform's own spans tell the whole URL, in which there may be secrets.
 */
export const withRequestSpan = (handler: Handler): Effect.Effect<Handler> =>
  Effect.map(
    isTraced,
    (isTraced) => isTraced ? Effect.flatMap(HttpServerRequest.HttpServerRequest, spanOf(handler)) : handler
  )

const spanOf = (handler: Handler) => ({ headers, method, url }: HttpServerRequest.HttpServerRequest): Handler =>
  handler.pipe(
    Effect.tap((response) => {
      const [outcome, detail] = toldBy(response.headers["cache-status"])
      return Effect.annotateCurrentSpan({
        "http.response.status_code": response.status,
        "spillway.outcome": outcome,
        ...(detail !== undefined && { "spillway.detail": detail })
      })
    }),
    Effect.withSpan(method, {
      kind: "server",
      parent: parentOf(headers),
      attributes: { "http.request.method": method, "url.path": loggable(url) }
    })
  )
