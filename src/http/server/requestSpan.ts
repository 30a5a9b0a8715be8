import { Effect } from "effect"
import { HttpServerRequest } from "effect/http"
import { loggable } from "../../domain/OriginError.ts"
import { outcomeOf } from "../../domain/rfc/CacheStatus.ts"
import { isTraced, parentOf } from "../../services/observe/tracing.ts"
import type { Handler } from "../proxy/Reply.ts"

/**
 * `handler` with a span for each request, up to the head of its response and named after the method, if a tracer is provided. Else
 * `handler` itself. The platform's own spans contain the whole URL, in which there may be secrets.
 */
export const withRequestSpan = (handler: Handler): Effect.Effect<Handler> =>
  Effect.map(
    isTraced,
    (isTraced) => isTraced ? Effect.flatMap(HttpServerRequest.HttpServerRequest, spanOf(handler)) : handler
  )

const spanOf = (handler: Handler) => ({ headers, method, url }: HttpServerRequest.HttpServerRequest): Handler =>
  handler.pipe(
    Effect.tap(({ cacheStatus = {}, response }) =>
      Effect.annotateCurrentSpan({
        "http.response.status_code": response.status,
        "spillway.outcome": outcomeOf(cacheStatus),
        ...(cacheStatus.detail !== undefined && { "spillway.detail": cacheStatus.detail })
      })
    ),
    Effect.withSpan(method, {
      kind: "server",
      parent: parentOf(headers),
      attributes: { "http.request.method": method, "url.path": loggable(url) }
    })
  )
