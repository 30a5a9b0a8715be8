import { Metric } from "effect"

/** Open connections of viewers. */
export const connections = Metric.gauge("spillway_connections", { description: "Connections of viewers" })

/** Connections above the limit. */
export const refusals = Metric.counter("spillway_connections_refused_total", {
  description: "Connections refused because of the limit",
  incremental: true
})
