import { Clock, Context, Duration, Effect, Fiber, Latch, Layer, type Stream } from "effect"
import { type CacheError, IoError } from "../domain/CacheError.ts"
import { CacheConfig } from "./CacheConfig.ts"
import { CacheLock } from "./CacheLock.ts"
import { bytesOnDisk, ChunkStore } from "./ChunkStore.ts"
import { DiskMonitor } from "./DiskMonitor.ts"
import { keepRunning } from "./keepRunning.ts"
import * as Metrics from "./liveMetrics.ts"
import * as Observed from "./Observed.ts"

/** Whether chunks can be kept, and if not why, and since when (milliseconds since 1970). */
export type CacheState =
  | { readonly _tag: "Usable" }
  | { readonly _tag: "Unusable"; readonly error: CacheError; readonly since: number }

/**
 * The circuit breaker between Spillway and its disk. A failure opens it; probes in the background close it again, so
 * that nobody's request has to find out. Full or read-only disks may still be read, a failing one not.
 */
export class CacheHealth extends Context.Service<CacheHealth, {
  /** Whether the store is in use now, and since when and why it is not. */
  readonly state: () => CacheState
  /** Why nothing is written now, or `undefined` when the store is in use. */
  readonly unwritable: () => CacheError | undefined
  /** Whether chunks may be read: not where the disk itself fails. */
  readonly readable: () => boolean
  /** The state as it is, then each change of it. */
  readonly changes: Stream.Stream<CacheState>
  /** Opens the breaker. Logged when the cause is another one than before. */
  readonly report: (error: CacheError) => Effect.Effect<void>
  /** Has probes fail with what `check` tells: what only the cache itself knows, such as that nothing in it may make room. */
  readonly require: (check: () => CacheError | undefined) => void
}>()("spillway/services/CacheHealth") {
  /** Takes the cache's lock and probes it once, before anybody asks for anything. */
  static readonly layer: Layer.Layer<CacheHealth, never, CacheConfig | CacheLock | ChunkStore | DiskMonitor> = Layer
    .effect(CacheHealth, Effect.suspend(() => make))
}

/**
 * The pause between two probes doubles from the first to the second of these, and starts anew when the store has been usable
 * for as long as the third: a disk that fails again and again is left alone for longer.
 */
const PROBE_INTERVAL = { shortest: Duration.millis(250), longest: Duration.seconds(5), forgiven: 30_000 }

/** What a probe writes, unless the disk was full: then it writes a chunk. */
const PROBE_BYTES = 8

/** How often it is seen to that the lock is still there. */
const LOCK_INTERVAL = Duration.seconds(30)

/** A probe that takes longer has failed, though it succeeds. */
const PROBE_DEADLINE = Duration.seconds(1)

const usable: CacheState = { _tag: "Usable" }

/** Those that are counted from the start, so that 0 can be told from nothing. */
export const COMMON_ERRNOS = ["ENOSPC", "EDQUOT", "EROFS", "EACCES", "EIO", "TIMEOUT", "MAX_SIZE"]

/** By state: that the cache is usable, or the error for which it is not. */
const STATES = ["Usable", "DiskFull", "PermissionDenied", "IoError"] as const

const make = Effect.gen(function*() {
  const store = yield* ChunkStore
  const monitor = yield* DiskMonitor
  const lock = yield* CacheLock
  const clock = yield* Clock.Clock
  const { chunkSize, directory } = yield* CacheConfig
  const observed = yield* Observed.make<CacheState>(usable)
  const opened = yield* Latch.make(false)
  let pause = PROBE_INTERVAL.shortest
  let usableSince = 0
  let required: () => CacheError | undefined = () => undefined

  const countFailure = yield* Metrics.counters(
    "spillway_cache_failures_total",
    "How often the cache became unusable, or did so for another reason, by errno",
    "errno",
    COMMON_ERRNOS
  )
  const millis = { Usable: 0, DiskFull: 0, PermissionDenied: 0, IoError: 0 }
  let countedTo = clock.currentTimeMillisUnsafe()
  /** Adds the time since the last call to the state that there is. */
  const countTime = () => {
    const now = clock.currentTimeMillisUnsafe()
    millis[stateName()] += now - countedTo
    countedTo = now
  }
  const stateName = () => {
    const state = observed.current()
    return state._tag === "Usable" ? state._tag : state.error._tag
  }
  yield* Metrics.gauge(
    "spillway_cache_usable",
    "1 while chunks are kept, 0 while streams pass the cache",
    () => unwritable() === undefined ? 1 : 0
  )
  for (const state of STATES) {
    yield* Metrics.counter("spillway_cache_state_seconds_total", "Time that the cache was in each state", () => {
      countTime()
      return millis[state] / 1000
    }, { state })
  }

  const unwritable = () => {
    const state = observed.current()
    return state._tag === "Usable" ? undefined : state.error
  }

  const report = (error: CacheError) =>
    Effect.suspend(() => {
      const before = observed.current()
      if (before._tag === "Unusable" && before.error._tag === error._tag && before.error.errno === error.errno) {
        return Effect.void
      }
      const since = clock.currentTimeMillisUnsafe()
      countTime()
      countFailure(error.errno)
      return observed.set({ _tag: "Unusable", error, since }).pipe(
        Effect.andThen(Effect.logWarning("Cache unusable: streaming from the origin")),
        Effect.annotateLogs({
          error: error._tag,
          errno: error.errno,
          operation: error.operation,
          path: error.path
        }),
        Effect.andThen(opened.open)
      )
    })

  // A probe of a few bytes may still find room on a disk where no chunk does, and a quota is not seen in the disk's free space.
  // Whoever finds the directory writable first takes the lock as well.
  const probe = Effect.scoped(lock.acquire.pipe(
    Effect.andThen(Effect.suspend(() => {
      const failure = required()
      return failure === undefined ? Effect.void : Effect.fail(failure)
    })),
    Effect.andThen(monitor.reserve(bytesOnDisk(chunkSize))),
    Effect.andThen(Effect.suspend(() => store.probe(unwritable()?._tag === "DiskFull" ? chunkSize : PROBE_BYTES)))
  )).pipe(
    Effect.timed,
    Effect.flatMap(([took]) =>
      Duration.isGreaterThan(took, PROBE_DEADLINE)
        ? Effect.fail(new IoError({ errno: "TIMEOUT", operation: "probe", path: directory }))
        : Effect.void
    )
  )

  const close = Effect.gen(function*() {
    yield* opened.close
    usableSince = clock.currentTimeMillisUnsafe()
    countTime()
    yield* observed.set(usable)
    yield* Effect.logInfo("Cache usable again")
  })

  const recover = Effect.gen(function*() {
    yield* opened.await
    if (clock.currentTimeMillisUnsafe() - usableSince > PROBE_INTERVAL.forgiven) pause = PROBE_INTERVAL.shortest
    while (opened.isOpen()) {
      yield* Effect.sleep(pause)
      pause = Duration.min(Duration.times(pause, 2), PROBE_INTERVAL.longest)
      yield* Effect.matchEffect(probe, { onSuccess: () => close, onFailure: report })
    }
  })

  // A disk that does not even answer is found out in the background.
  const first = yield* Effect.forkScoped(Effect.catch(probe, report))
  yield* Fiber.join(first).pipe(
    Effect.timeoutOrElse({
      duration: PROBE_DEADLINE,
      orElse: () => report(new IoError({ errno: "TIMEOUT", operation: "probe", path: directory }))
    })
  )
  yield* keepRunning("CacheHealth")(recover)
  yield* Effect.sleep(LOCK_INTERVAL).pipe(
    Effect.andThen(Effect.suspend(() => unwritable() === undefined ? Effect.catch(lock.acquire, report) : Effect.void)),
    keepRunning("CacheLock")
  )

  return CacheHealth.of({
    state: observed.current,
    unwritable,
    readable: () => unwritable()?._tag !== "IoError",
    changes: observed.changes,
    report,
    require: (check) => void (required = check)
  })
})
