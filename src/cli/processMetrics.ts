import { Effect, Layer } from "effect"
import { monitorEventLoopDelay } from "node:perf_hooks"
import { keepRunning } from "../effects/keepRunning.ts"
import * as Metrics from "../services/observe/pullMetrics.ts"
import { version } from "../version.ts"
import { LogWriter } from "./LogWriter.ts"

/** The interval at which Node samples the delay, in milliseconds. */
const RESOLUTION_MILLIS = 10

/** The window of the quantiles. */
const WINDOW = "10 seconds"

const QUANTILES = [0.5, 0.9, 0.99, 1]

/** The delay of the event loop: how late its timers fire, in seconds. Quantiles are those of the last complete window. */
const eventLoopDelay = Effect.gen(function*() {
  const histogram = yield* Effect.acquireRelease(
    Effect.sync(() => monitorEventLoopDelay({ resolution: RESOLUTION_MILLIS })),
    (histogram) => Effect.sync(() => histogram.disable())
  )
  histogram.enable()
  // The histogram has the time between two samples.
  const seconds = (nanoseconds: number) => Math.max(0, nanoseconds / 1e9 - RESOLUTION_MILLIS / 1000)
  const look = () => QUANTILES.map((q) => [q, seconds(histogram.percentile(q * 100))] as const)
  let quantiles = look()
  let count = 0
  let sum = 0
  let max = 0
  const close = Effect.sync(() => {
    if (histogram.count === 0) return
    quantiles = look()
    count += histogram.count
    sum += seconds(histogram.mean) * histogram.count
    max = Math.max(max, seconds(histogram.max))
    histogram.reset()
  })
  yield* Effect.sleep(WINDOW).pipe(Effect.andThen(close), keepRunning("Metrics"))
  yield* Metrics.summary(
    "spillway_event_loop_delay_seconds",
    "How late the event loop is; quantiles are of the last 10 s",
    () => ({ quantiles, count, min: 0, max, sum })
  )
})

/** The process metrics of Prometheus's client libraries, and those of Node that matter here. */
export const layer: Layer.Layer<never, never, LogWriter> = Layer.effectDiscard(Effect.gen(function*() {
  const { dropped } = yield* LogWriter
  yield* Metrics.gauge("spillway_build_info", "Always 1; the labels tell what runs", () => 1, {
    version,
    node: process.versions.node
  })
  yield* Metrics.counter("process_cpu_seconds_total", "Time that the processor has worked for the process", () => {
    const { system, user } = process.cpuUsage()
    return (system + user) / 1e6
  })
  yield* Metrics.gauge("process_resident_memory_bytes", "Memory that the process has", () => process.memoryUsage.rss())
  const startedAt = Math.round(performance.timeOrigin) / 1000
  yield* Metrics.gauge("process_start_time_seconds", "When the process started, since 1970", () => startedAt)
  yield* Metrics.counter("spillway_log_lines_dropped_total", "Lines of the log that nobody took in time", dropped)
  yield* eventLoopDelay
}))
