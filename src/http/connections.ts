import { Metric } from "effect"

/** Connections of viewers that are open. */
export const connections = Metric.gauge("spillway_connections", { description: "Connections of viewers" })
