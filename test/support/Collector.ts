import { Effect, type Scope } from "effect"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"

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
  const server = createServer((request, response) => {
    let body = ""
    request.setEncoding("utf8").on("data", (text: string) => body += text)
    request.on("end", () => {
      take(request.url!, body)
      response.end("{}")
    })
  })
  yield* Effect.callback<void>((resume) => void server.listen(0, "127.0.0.1", () => resume(Effect.void)))
  yield* Effect.addFinalizer(() =>
    Effect.sync(() => {
      server.close()
      server.closeAllConnections()
    })
  )
  const { port } = server.address() as AddressInfo
  return { url: `http://127.0.0.1:${port}`, spans: () => spans, metrics: () => metrics, received: () => received }
})
