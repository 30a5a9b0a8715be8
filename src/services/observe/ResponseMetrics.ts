import { Context, Effect, Layer, type Scope } from "effect"
import { countsSince, type Exemplar, Histogram, type HistogramCounts, sumOf } from "../../effects/Histogram.ts"
import type { ByteSource } from "./Counters.ts"
import * as Metrics from "./pullMetrics.ts"

/** A response to a viewer that has ended. Times are in milliseconds. */
export interface EndedResponse {
  /** The status, or 0 if no head was sent. */
  readonly status: number
  /** Where its last bytes came from; `undefined` if it has no body. */
  readonly source: ByteSource | undefined
  /** From the head of the request to the first byte of the response; `undefined` if none was sent. */
  readonly firstByteMillis: number | undefined
  /** From the head of the request to the end of the response. */
  readonly milliseconds: number
}

/** The trace that a request belongs to, and when its response ended, in milliseconds since 1970. */
export type ResponseTrace = Pick<Exemplar, "at" | "traceId">

/** What has been counted, by the name of the series. A series without counts may be missing. */
export type ResponseCounts = Readonly<Record<string, HistogramCounts>>

/** The upper bounds of the buckets for the time to the first byte, in seconds. */
export const FIRST_BYTE_SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30]

/** The same for whole responses, which a player may stretch over hours. */
const RESPONSE_SECONDS = [0.01, 0.1, 1, 10, 60, 600, 3600]

/** The classes of statuses, and responses without a head. */
const CLASSES = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"] as const

const SOURCES = ["memory", "disk", "peer", "origin", "passthrough", "none"] as const

/** Counts and times of the responses to viewers, by their source and by the class of their status. Spillway's own pages don't count. */
export class ResponseMetrics extends Context.Service<ResponseMetrics, {
  /** A response has ended, which belongs to a trace if there is one. */
  readonly record: (response: EndedResponse, trace?: ResponseTrace) => void
  /** A copy of all counts. */
  readonly counts: () => ResponseCounts
  /** Adds what another process has counted. */
  readonly add: (counted: ResponseCounts) => void
}>()("spillway/services/observe/ResponseMetrics") {
  static readonly layer: Layer.Layer<ResponseMetrics> = Layer.effect(ResponseMetrics, Effect.suspend(() => make))
}

/** The counts since `before`. */
export const responsesSince = (before: ResponseCounts, now: ResponseCounts): ResponseCounts => {
  const changed: Record<string, HistogramCounts> = {}
  for (const [name, counts] of Object.entries(now)) {
    const difference = countsSince(before[name]!, counts)
    if (difference !== undefined) changed[name] = difference
  }
  return changed
}

/** The responses among `counted` whose status has this class. */
export const responsesOf = (counted: ResponseCounts, name: (typeof CLASSES)[number]): number =>
  counted[`class ${name}`]?.buckets[0] ?? 0

/** All responses among `counted`. */
export const allResponses = (counted: ResponseCounts): number =>
  CLASSES.reduce((sum, name) => sum + responsesOf(counted, name), 0)

/** The times to the first byte among `counted`, in seconds, from all sources. */
export const firstBytes = (counted: ResponseCounts): HistogramCounts | undefined =>
  sumOf(SOURCES.flatMap((source) => counted[`first byte ${source}`] ?? []))

const make: Effect.Effect<ResponseMetrics["Service"], never, Scope.Scope> = Effect.gen(function*() {
  const series = new Map<string, Histogram>()
  const enter = (name: string, bounds: ReadonlyArray<number>): Histogram => {
    const histogram = new Histogram(bounds)
    series.set(name, histogram)
    return histogram
  }

  const bySource = new Map<string, { readonly firstByte: Histogram; readonly whole: Histogram }>()
  for (const source of SOURCES) {
    const firstByte = enter(`first byte ${source}`, FIRST_BYTE_SECONDS)
    const whole = enter(`whole ${source}`, RESPONSE_SECONDS)
    bySource.set(source, { firstByte, whole })
    yield* Metrics.histogram(
      "spillway_first_byte_seconds",
      "Time from a viewer's request to the first byte of the response, by the source of the last bytes",
      () => firstByte.state(),
      { source }
    )
    yield* Metrics.histogram(
      "spillway_response_seconds",
      "Time from a viewer's request to the end of the response, by the source of the last bytes",
      () => whole.state(),
      { source }
    )
  }
  // One bucket: only the number counts.
  const byClass = CLASSES.map((name) => enter(`class ${name}`, []))
  for (const [index, name] of CLASSES.entries()) {
    const count = () => byClass[index]!.counts().buckets[0]!
    yield* Metrics.counter("spillway_responses_total", "Responses to viewers, by the class of the status", count, {
      class: name
    })
  }

  return ResponseMetrics.of({
    record: ({ firstByteMillis, milliseconds, source = "none", status }, trace) => {
      const { firstByte, whole } = bySource.get(source)!
      if (firstByteMillis !== undefined) firstByte.observe(firstByteMillis / 1000, trace)
      whole.observe(milliseconds / 1000, trace)
      byClass[Math.floor(status / 100)]?.observe(0)
    },
    counts: () => Object.fromEntries([...series].map(([name, histogram]) => [name, histogram.counts()])),
    add: (counted) => {
      for (const [name, counts] of Object.entries(counted)) series.get(name)?.add(counts)
    }
  })
})
