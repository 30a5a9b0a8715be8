import { NodeHttpClient } from "@effect/platform-node"
import { Effect, Layer } from "effect"
import { HttpClient } from "effect/http"
import { OtlpMetrics, OtlpSerialization, OtlpTracer } from "effect/observability"
import { version } from "../version.ts"

/** The time that the collector has to accept an export. Data that it doesn't accept is lost. */
const EXPORT_TIMEOUT = "5 seconds"

/** The time that the end of the program waits for the last export. */
const END_TIMEOUT = "2 seconds"

const client = Layer.effect(
  HttpClient.HttpClient,
  Effect.map(
    HttpClient.HttpClient,
    // The exporter reacts to any error by pausing for a minute.
    HttpClient.transformResponse(
      Effect.timeoutOrElse({
        duration: EXPORT_TIMEOUT,
        orElse: () => Effect.die("the collector did not respond in time")
      })
    )
  )
).pipe(Layer.provide(NodeHttpClient.layerUndici))

/** Sends traces and metrics to the OpenTelemetry collector at `url` (OTLP over HTTP, JSON), below `/v1/traces` and `/v1/metrics`. */
export const layer = (url: URL): Layer.Layer<never> => {
  const at = (path: string) => `${url.href.replace(/\/$/, "")}${path}`
  const options = {
    resource: { serviceName: "spillway", serviceVersion: version },
    shutdownTimeout: END_TIMEOUT
  } as const
  return Layer.mergeAll(
    OtlpTracer.layer({ ...options, url: at("/v1/traces"), exportInterval: "1 second" }),
    OtlpMetrics.layer({ ...options, url: at("/v1/metrics") })
  ).pipe(Layer.provide([client, OtlpSerialization.layerJson]))
}
