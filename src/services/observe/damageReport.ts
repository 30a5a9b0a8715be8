import { Clock, Effect } from "effect"
import { type CacheError, isDamage } from "../../domain/CacheError.ts"
import * as Metrics from "./pullMetrics.ts"

/** How often dropped chunks are logged, at most, in milliseconds. */
const SAY_MILLIS = 10_000

/** Counts dropped chunks, and logs them. Many files may be damaged at once, so not each of them is logged. */
export const make = Effect.gen(function*() {
  const clock = yield* Clock.Clock
  const countDamaged = yield* Metrics.counters(
    "spillway_damaged_chunks_total",
    "Cached chunks that were dropped: missing, not what was written, or unreadable, by what was found",
    "errno",
    ["CORRUPT", "SHORT_READ", "ENOENT", "EIO"]
  )
  let dropped = 0
  let said = -Infinity

  return (error: CacheError) =>
    Effect.suspend(() => {
      countDamaged(error.errno)
      if (!isDamage(error)) return Effect.void
      dropped += 1
      const now = clock.currentTimeMillisUnsafe()
      if (Math.abs(now - said) < SAY_MILLIS) return Effect.void
      said = now
      const line = Effect.logWarning("Dropped a damaged chunk").pipe(
        Effect.annotateLogs({ errno: error.errno, operation: error.operation, path: error.path, dropped })
      )
      dropped = 0
      return line
    })
})
