import { Effect, type Scope } from "effect"
import { makeTestOrigin } from "./TestOrigin.ts"

/** A part of an OTLP trace, as JSON. */
export interface Span {
  readonly name: string
  readonly kind: number
  readonly traceId: string
  readonly spanId: string
  readonly parentSpanId?: string
  readonly attributes: ReadonlyArray<{ readonly key: string; readonly value: Record<string, unknown> }>
}

/** An OpenTelemetry collector that keeps what it gets. */
export interface Collector {
  readonly url: string
  readonly spans: () => ReadonlyArray<Span>
  /** The names of the metrics in what was sent last. */
  readonly metrics: () => ReadonlyArray<string>
  /** All bodies that came, in order. */
  readonly received: () => string
}

/** Starts one; it ends with the scope. */
export const makeCollector: Effect.Effect<Collector, never, Scope.Scope> = Effect.gen(function*() {
  const spans: Array<Span> = []
  let metrics: ReadonlyArray<string> = []
  let received = ""
  const take = (path: string, body: string): void => {
    received += body
    const content = JSON.parse(body)
    if (path === "/v1/traces") {
      for (const { scopeSpans } of content.resourceSpans) for (const scope of scopeSpans) spans.push(...scope.spans)
    } else if (path === "/v1/metrics") {
      metrics = content.resourceMetrics[0].scopeMetrics[0].metrics.map(({ name }: { name: string }) => name)
    }
  }
  const origin = yield* makeTestOrigin
  origin.handlers.set("*", (request, response) => {
    let body = ""
    request.setEncoding("utf8").on("data", (text: string) => body += text)
    request.on("end", () => {
      take(request.url!, body)
      response.end("{}")
    })
  })
  return { url: origin.url, spans: () => spans, metrics: () => metrics, received: () => received }
})
