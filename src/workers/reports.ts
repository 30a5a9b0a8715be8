import { Effect, Layer, Metric } from "effect"
import { keepRunning } from "../effects/keepRunning.ts"
import { MemoryTier } from "../services/cache/MemoryTier.ts"
import { CacheConfig } from "../services/config/CacheConfig.ts"
import { ActiveStreams, type Running } from "../services/observe/ActiveStreams.ts"
import { connections, refusals } from "../services/observe/connections.ts"
import { Counters, type Totals } from "../services/observe/Counters.ts"
import type { Report } from "./messages.ts"
import { tellIfRoom } from "./mirror.ts"

/** How often the owner gets a report. */
const INTERVAL = "1 second"

/** The owner counts what comes from it. */
const isOwn = ({ source }: Running): boolean => source === "memory" || source === "disk"

/** Two processes may number theirs alike. */
const named = (stream: Running): Running => Object.assign(stream, { id: `${process.pid}-${stream.id}` })

/** What was counted since `before`. */
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
    origin: 0,
    passthrough: 0
  }
})

/** Tells the owner, again and again, what this process has done since, and what it is doing. */
export const layer: Layer.Layer<never, never, ActiveStreams | CacheConfig | MemoryTier | Counters> = Layer
  .effectDiscard(
    Effect.gen(function*() {
      const activeStreams = yield* ActiveStreams
      const { memory: maxBytes } = yield* CacheConfig
      const memory = yield* MemoryTier
      const counters = yield* Counters
      let before = counters.totals()
      let refusedBefore = 0

      const report = Effect.gen(function*() {
        const now = counters.totals()
        const { count: refused } = yield* Metric.value(refusals)
        const isTold = tellIfRoom({
          _tag: "Report",
          report: {
            ...since(before, now),
            refused: refused - refusedBefore,
            connections: (yield* Metric.value(connections)).value,
            memory: { ...memory.usage(), maxBytes },
            streams: activeStreams.streams().filter(isOwn).map(named)
          }
        })
        // The next one reports both.
        if (!isTold) return
        before = now
        refusedBefore = refused
      })
      yield* Effect.sleep(INTERVAL).pipe(Effect.andThen(report), keepRunning("Reports"))
      // What is counted while the last answers are sent.
      yield* Effect.addFinalizer(() => report)
    })
  )
