import { Clock, Context, Duration, Effect, Fiber, Latch, Layer, type Stream } from "effect"
import {
  type CacheError,
  type CacheFailure,
  IoError,
  isFromWriting,
  isOfOneFile,
  objectOf
} from "../../domain/CacheError.ts"
import { keepRunning } from "../../effects/keepRunning.ts"
import * as ObservedValue from "../../effects/ObservedValue.ts"
import { rateLimited } from "../../effects/rateLimited.ts"
import { CacheConfig } from "../config/CacheConfig.ts"
import * as Metrics from "../observe/pullMetrics.ts"
import { bytesOnDisk, ChunkStore } from "./ChunkStore.ts"
import { DirectoryLock } from "./DirectoryLock.ts"
import { DiskMonitor } from "./DiskMonitor.ts"

/** Whether chunks can be kept, and if not why, and since when (milliseconds since 1970). */
export type DiskState =
  | { readonly _tag: "Usable" }
  | { readonly _tag: "Unusable"; readonly error: CacheFailure; readonly since: number }

/** What was being done to the disk. */
export type Direction = "read" | "write"

/**
 * The circuit breaker between Spillway and its disk. A failure of the disk opens it; probes in the background close it again,
 * so that nobody's request has to find out. Full or read-only disks may still be read, a failing one not.
 *
 * An error that may concern one file only, such as EIO, doesn't open it: a probe is made at once, and opens it when that fails
 * too. A probe can't see all that is wrong with a disk, such as reads that fail where its own come from the page cache. So it
 * is opened as well when `SUSPECTS.objects` different files fail within `SUSPECTS.millis`, and none succeeds in between.
 */
export class DiskBreaker extends Context.Service<DiskBreaker, {
  /** Whether the store is in use now, and since when and why it is not. */
  readonly state: () => DiskState
  /** Why nothing is written now, or `undefined` when the store is in use. */
  readonly unwritable: () => CacheFailure | undefined
  /** Whether chunks may be read: not where the disk itself fails. */
  readonly readable: () => boolean
  /** The state as it is, then each change of it. */
  readonly changes: Stream.Stream<DiskState>
  /**
   * Records a failure: opens the breaker when the disk failed, and finds out when only a file may have. Opening is logged
   * when the cause is another one than before.
   */
  readonly report: (error: CacheError) => Effect.Effect<void>
  /** Opens the breaker for every `error`, unless the disk is only busy. */
  readonly open: (error: CacheError) => Effect.Effect<void>
  /** Takes note that a file was read or written, which clears the disk of what single files are suspected of. */
  readonly succeeded: (direction: Direction) => void
  /** Has probes fail with what `check` tells: what only the cache itself knows, such as that nothing in it may make room. */
  readonly require: (check: () => CacheError | undefined) => void
}>()("spillway/services/disk/DiskBreaker") {
  /** Takes the cache's lock and probes it once, before anybody asks for anything. */
  static readonly layer: Layer.Layer<DiskBreaker, never, CacheConfig | DirectoryLock | ChunkStore | DiskMonitor> = Layer
    .effect(DiskBreaker, Effect.suspend(() => make))
}

/**
 * The pause between two probes doubles from the first to the second of these, and starts anew when the store has been usable
 * for as long as the third: a disk that fails again and again is left alone for longer.
 */
const PROBE_INTERVAL = { shortest: Duration.millis(250), longest: Duration.seconds(5), forgiven: 30_000 }

/** What a probe writes, unless the disk was full: then it writes a chunk. */
const PROBE_BYTES = 8

/** How often the lock is checked. */
const LOCK_INTERVAL = Duration.seconds(30)

/** For how long, in milliseconds, a disk may do nothing for a probe before it counts as hanging. */
const PROBE_DEADLINE = 1000

/** How long a probe may take although other calls end: reads of a frozen disk go on, and its writes hang. */
const FROZEN_DEADLINE = "2 seconds"

/** How many files or directories have to fail one after the other, and within which time, for the disk to be the cause. */
const SUSPECTS = { objects: 3, millis: 10_000 }

const usable: DiskState = { _tag: "Usable" }

/** Those that are counted from the start, so that 0 differs from an absent value. */
export const COMMON_ERRNOS = ["ENOSPC", "EDQUOT", "EROFS", "EACCES", "EIO", "TIMEOUT", "MAX_SIZE"]

/** By state: that the cache is usable, or the error for which it is not. */
const STATES = ["Usable", "DiskFull", "PermissionDenied", "IoError"] as const

const make = Effect.gen(function*() {
  const scope = yield* Effect.scope
  const store = yield* ChunkStore
  const monitor = yield* DiskMonitor
  const lock = yield* DirectoryLock
  const clock = yield* Clock.Clock
  const { chunkSize, directory } = yield* CacheConfig
  const observed = yield* ObservedValue.make<DiskState>(usable)
  const opened = yield* Latch.make(false)
  const suspected = yield* Latch.make(false)
  /** The files and directories that have failed since the last success, and when. At most `SUSPECTS.objects` of each. */
  const suspects = { read: new Map<string, number>(), write: new Map<string, number>() }
  let pause = PROBE_INTERVAL.shortest
  let usableSince = 0
  const required: Array<() => CacheError | undefined> = []

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

  const open = (error: CacheError) =>
    Effect.suspend(() => {
      if (error._tag === "DiskBusy") return Effect.void
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

  let lastSuspect: CacheError | undefined
  const sayOneFile = rateLimited(
    Effect.suspend(() =>
      Effect.logWarning("A file of the cache fails, the disk works").pipe(
        Effect.annotateLogs({
          errno: lastSuspect?.errno,
          operation: lastSuspect?.operation,
          path: lastSuspect?.path
        })
      )
    )
  )

  const suspect = (error: CacheError) =>
    Effect.suspend(() => {
      if (unwritable()?._tag === "IoError") return Effect.void
      lastSuspect = error
      const now = clock.currentTimeMillisUnsafe()
      const failed = suspects[isFromWriting(error) ? "write" : "read"]
      failed.set(objectOf(error), now)
      for (const [object, at] of failed) if (now - at > SUSPECTS.millis) failed.delete(object)
      if (failed.size < SUSPECTS.objects) return suspected.open
      failed.clear()
      return open(error)
    })

  const report = (error: CacheError) => isOfOneFile(error) ? suspect(error) : open(error)

  // A probe of a few bytes may still find room on a disk where no chunk does, and a quota is not seen in the disk's free space.
  // Anyone who finds the directory writable first takes the lock as well.
  const probe = Effect.scoped(lock.acquire.pipe(
    Effect.andThen(Effect.suspend(() => {
      for (const check of required) {
        const failure = check()
        if (failure !== undefined) return Effect.fail(failure)
      }
      return Effect.void
    })),
    Effect.andThen(monitor.reserve(bytesOnDisk(chunkSize))),
    Effect.andThen(Effect.suspend(() => store.probe(unwritable()?._tag === "DiskFull" ? chunkSize : PROBE_BYTES)))
  ))

  const hung = Effect.suspend(() => Effect.fail(new IoError({ errno: "TIMEOUT", operation: "probe", path: directory })))

  /** One probe at a time: the next one of a disk that hangs waits for the first. */
  let probing: Fiber.Fiber<void, CacheError> | undefined
  const ask = Effect.gen(function*() {
    const fiber = probing ??= yield* Effect.forkIn(
      Effect.ensuring(probe, Effect.sync(() => probing = undefined)),
      scope
    )
    yield* Effect.raceFirst(
      Fiber.join(fiber),
      Effect.andThen(Effect.raceFirst(store.stalled(PROBE_DEADLINE), Effect.sleep(FROZEN_DEADLINE)), hung)
    )
  })

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
      yield* Effect.matchEffect(ask, { onSuccess: () => close, onFailure: open })
    }
  })

  // While the breaker is open, it is probed anyway.
  const examine = Effect.gen(function*() {
    yield* suspected.await
    yield* suspected.close
    if (!opened.isOpen()) yield* Effect.matchEffect(ask, { onSuccess: () => sayOneFile, onFailure: open })
    yield* Effect.sleep(PROBE_INTERVAL.shortest)
  })

  // A disk that does not even answer is found out in the background.
  const first = yield* Effect.forkScoped(Effect.catch(ask, open))
  yield* Fiber.join(first).pipe(
    Effect.timeoutOrElse({
      duration: PROBE_DEADLINE,
      orElse: () => open(new IoError({ errno: "TIMEOUT", operation: "probe", path: directory }))
    })
  )
  yield* keepRunning("DiskBreaker")(recover)
  yield* keepRunning("DiskBreaker")(examine)
  yield* Effect.sleep(LOCK_INTERVAL).pipe(
    Effect.andThen(Effect.suspend(() => unwritable() === undefined ? Effect.catch(lock.acquire, open) : Effect.void)),
    keepRunning("DirectoryLock")
  )

  return DiskBreaker.of({
    state: observed.current,
    unwritable,
    readable: () => unwritable()?._tag !== "IoError",
    changes: observed.changes,
    report,
    open,
    succeeded: (direction) => suspects[direction].clear(),
    require: (check) => void required.push(check)
  })
})
