import { Effect, Option, Tracer } from "effect"
import { HttpTraceContext } from "effect/http"
import type { HeaderFields } from "../../domain/rfc/HeaderFields.ts"

/**
 * Spans. They cost nothing unless the application provides a tracer.
 */

/** Whether a tracer other than the default is provided. */
export const isTraced: Effect.Effect<boolean> = Effect.map(Effect.tracer, (tracer) => tracer !== Tracer.nativeTracer)

/** The parent span in another program, from the header fields of a request. */
export const parentOf = (headers: HeaderFields): Tracer.ExternalSpan | undefined =>
  Option.getOrUndefined(HttpTraceContext.w3c(headers as never))

/** The header fields that make spans of another program children of the current one (W3C Trace Context §3). */
export const traceFields: Effect.Effect<HeaderFields> = Effect.match(Effect.currentSpan, {
  onFailure: () => ({}),
  onSuccess: ({ sampled, spanId, traceId }) => ({ traceparent: `00-${traceId}-${spanId}-${sampled ? "01" : "00"}` })
})
