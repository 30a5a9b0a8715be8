import { Effect, Layer, Metric } from "effect"
import { keepRunning } from "../effects/keepRunning.ts"
import { MemoryTier } from "../services/cache/MemoryTier.ts"
import { CacheConfig } from "../services/config/CacheConfig.ts"
import { ActiveStreams, type Running } from "../services/observe/ActiveStreams.ts"
import { connections, refusals } from "../services/observe/connections.ts"
import { Counters, type Totals } from "../services/observe/Counters.ts"
import { ResponseMetrics, responsesSince } from "../services/observe/ResponseMetrics.ts"
import type { Report } from "./messages.ts"
import { tellIfRoom } from "./mirror.ts"

/** The interval of reports to the owner. */
const INTERVAL = "1 second"

/** Whether this process serves a stream itself. The owner counts the others. */
const isOwn = ({ source }: Running): boolean => source === "memory" || source === "disk"

/** Makes the ID of a stream unique among processes. */
const named = (stream: Running): Running => Object.assign(stream, { id: `${process.pid}-${stream.id}` })

/** The counts since `before`. */
const since = (before: Totals, { bytes, requests }: Totals): Pick<Report, "bytes" | "requests"> => ({
  requests: {
    hit: requests.hit - before.requests.hit,
    miss: requests.miss - before.requests.miss,
    partial: requests.partial - before.requests.partial,
    stale: requests.stale - before.requests.stale,
    bypass: requests.bypass - before.requests.bypass,
    other: requests.other - before.requests.other
  },
  bytes: {
    memory: bytes.memory - before.bytes.memory,
    disk: bytes.disk - before.bytes.disk,
    peer: 0,
    origin: 0,
    passthrough: 0
  }
})

/** Reports to the owner at each `INTERVAL` what this process has done and is doing. */
export const layer: Layer.Layer<never, never, ActiveStreams | CacheConfig | MemoryTier | Counters | ResponseMetrics> =
  Layer
    .effectDiscard(
      Effect.gen(function*() {
        const activeStreams = yield* ActiveStreams
        const { memory: maxBytes } = yield* CacheConfig
        const memory = yield* MemoryTier
        const counters = yield* Counters
        const responses = yield* ResponseMetrics
        let before = counters.totals()
        let respondedBefore = responses.counts()
        let refusedBefore = 0

        const report = Effect.gen(function*() {
          const now = counters.totals()
          const responded = responses.counts()
          const { count: refused } = yield* Metric.value(refusals)
          const isTold = tellIfRoom({
            _tag: "Report",
            report: {
              ...since(before, now),
              responses: responsesSince(respondedBefore, responded),
              refused: refused - refusedBefore,
              connections: (yield* Metric.value(connections)).value,
              memory: { ...memory.usage(), maxBytes },
              streams: activeStreams.streams().filter(isOwn).map(named)
            }
          })
          // The next report includes this one.
          if (!isTold) return
          before = now
          respondedBefore = responded
          refusedBefore = refused
        })
        yield* Effect.sleep(INTERVAL).pipe(Effect.andThen(report), keepRunning("Reports"))
        // Reports what was counted while the last responses were sent.
        yield* Effect.addFinalizer(() => report)
      })
    )
