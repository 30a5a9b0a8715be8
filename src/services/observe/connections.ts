import { Metric } from "effect"

/** Connections of viewers that are open. */
export const connections = Metric.gauge("spillway_connections", { description: "Connections of viewers" })

/** Those that found no room. */
export const refusals = Metric.counter("spillway_connections_refused_total", {
  description: "Connections beyond those that are served",
  incremental: true
})
