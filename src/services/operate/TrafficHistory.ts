import { Clock, Context, Effect, Layer, Record, type Scope } from "effect"
import { quantileOf } from "../../effects/Histogram.ts"
import { keepRunning } from "../../effects/keepRunning.ts"
import { DiskBreaker } from "../disk/DiskBreaker.ts"
import { type ByteSource, Counters, type Totals } from "../observe/Counters.ts"
import {
  allResponses,
  FIRST_BYTE_SECONDS,
  firstBytes,
  type ResponseCounts,
  ResponseMetrics,
  responsesOf,
  responsesSince
} from "../observe/ResponseMetrics.ts"

/** What happened in the time before `at`, in milliseconds since 1970. */
export interface TrafficSample {
  readonly at: number
  /** Body bytes per second to viewers, by source. */
  readonly bytesPerSecond: Readonly<Record<ByteSource, number>>
  readonly responsesPerSecond: number
  /** Responses with a status of 500 or above. */
  readonly errorsPerSecond: number
  /** The median and the 95th percentile of the times to the first byte, in seconds; `undefined` without responses. */
  readonly firstByte: { readonly p50: number; readonly p95: number } | undefined
  /** Whether the cache could be used at the end. */
  readonly isUsable: boolean
}

/** The traffic of the last hour. */
export class TrafficHistory extends Context.Service<TrafficHistory, {
  /** The oldest first, at most `CAPACITY`. */
  readonly samples: () => ReadonlyArray<TrafficSample>
  /** The last minute, or the time since the start. */
  readonly lastMinute: () => TrafficSample
}>()("spillway/services/operate/TrafficHistory") {
  static readonly layer: Layer.Layer<TrafficHistory, never, Counters | DiskBreaker | ResponseMetrics> = Layer.effect(
    TrafficHistory,
    Effect.suspend(() => make)
  )
}

/** The time between two samples, in milliseconds. */
export const SAMPLE_MILLIS = 10_000

/** How many samples are kept: an hour. */
export const CAPACITY = 360

/** How many samples make a minute. */
const SAMPLES_PER_MINUTE = 6

/** All counts at a moment. */
interface Reading {
  readonly at: number
  readonly bytes: Totals["bytes"]
  readonly responses: ResponseCounts
}

const sampleOf = (before: Reading, now: Reading, isUsable: boolean): TrafficSample => {
  const seconds = Math.max(1, now.at - before.at) / 1000
  const counted = responsesSince(before.responses, now.responses)
  const times = firstBytes(counted)
  const p50 = times && quantileOf(times, FIRST_BYTE_SECONDS, 0.5)
  const p95 = times && quantileOf(times, FIRST_BYTE_SECONDS, 0.95)
  return {
    at: now.at,
    bytesPerSecond: Record.map(now.bytes, (bytes, source) => (bytes - before.bytes[source]) / seconds),
    responsesPerSecond: allResponses(counted) / seconds,
    errorsPerSecond: responsesOf(counted, "5xx") / seconds,
    firstByte: p50 === undefined || p95 === undefined ? undefined : { p50, p95 },
    isUsable
  }
}

const make: Effect.Effect<
  TrafficHistory["Service"],
  never,
  Counters | DiskBreaker | ResponseMetrics | Scope.Scope
> = Effect.gen(function*() {
  const clock = yield* Clock.Clock
  const counters = yield* Counters
  const breaker = yield* DiskBreaker
  const metrics = yield* ResponseMetrics

  const read = (): Reading => ({
    at: clock.currentTimeMillisUnsafe(),
    bytes: counters.totals().bytes,
    responses: metrics.counts()
  })
  const isUsable = () => breaker.unwritable() === undefined

  /** The last readings, the oldest first. */
  const readings = [read()]
  const samples: Array<TrafficSample> = []

  yield* Effect.sleep(SAMPLE_MILLIS).pipe(
    Effect.andThen(Effect.sync(() => {
      const now = read()
      samples.push(sampleOf(readings.at(-1)!, now, isUsable()))
      readings.push(now)
      if (samples.length > CAPACITY) samples.shift()
      if (readings.length > SAMPLES_PER_MINUTE) readings.shift()
    })),
    keepRunning("TrafficHistory")
  )

  return TrafficHistory.of({
    samples: () => samples,
    lastMinute: () => sampleOf(readings[0]!, read(), isUsable())
  })
})
