import { Effect, Option, Tracer } from "effect"
import { HttpTraceContext } from "effect/http"
import type { HeaderFields } from "../../domain/rfc/HeaderFields.ts"

/**
 * Spans, for which nothing is done unless somebody has provided a tracer.
 */

/** Whether spans go anywhere. */
export const isTraced: Effect.Effect<boolean> = Effect.map(Effect.tracer, (tracer) => tracer !== Tracer.nativeTracer)

/** The span of another program that the fields of a request name, of which this one's are a part. */
export const parentOf = (headers: HeaderFields): Tracer.ExternalSpan | undefined =>
  Option.getOrUndefined(HttpTraceContext.w3c(headers as never))

/** The fields of a request to another program that make its spans a part of the current one (W3C Trace Context §3). */
export const traceFields: Effect.Effect<HeaderFields> = Effect.match(Effect.currentSpan, {
  onFailure: () => ({}),
  onSuccess: ({ sampled, spanId, traceId }) => ({ traceparent: `00-${traceId}-${spanId}-${sampled ? "01" : "00"}` })
})
