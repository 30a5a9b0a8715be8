import { Clock, Context, Duration, Effect, Fiber, Latch, Layer, type Scope, type Stream } from "effect"
import type { CacheError, CacheFailure } from "../../domain/CacheError.ts"
import { keepRunning } from "../../effects/keepRunning.ts"
import * as ObservedValue from "../../effects/ObservedValue.ts"
import { rateLimited } from "../../effects/rateLimited.ts"
import { CacheConfig } from "../config/CacheConfig.ts"
import * as BreakerMetrics from "./breakerMetrics.ts"
import { type Direction, type DiskState, type Event, initial, PROBE_INTERVAL, transition } from "./breakerStates.ts"
import { ChunkStore } from "./ChunkStore.ts"
import { DirectoryLock } from "./DirectoryLock.ts"
import type { DiskMonitor } from "./DiskMonitor.ts"
import * as DiskProbe from "./diskProbe.ts"

export type { DiskState } from "./breakerStates.ts"

/**
 * The circuit breaker between Spillway and its disk. A failure of the disk opens it. Probes in the background close it again, so
 * that no request has to try a disk that may fail. A full or read-only disk can still be read, a failing one can't.
 *
 * An error that may concern one file only, such as EIO, doesn't open the breaker. It starts a probe, which opens the breaker if it
 * fails too. A probe can miss a failing disk, for example if its own read comes from the page cache. So the breaker also opens if
 * `SUSPECTS.objects` different files fail within `SUSPECTS.millis` without a success in between. `breakerStates` has the rules.
 */
export class DiskBreaker extends Context.Service<DiskBreaker, {
  /** Whether the cache can be used now, and if not, why and since when. */
  readonly state: () => DiskState
  /** Why nothing is written now, or `undefined` if the cache can be used. */
  readonly unwritable: () => CacheFailure | undefined
  /** Whether chunks may be read: always, unless the disk itself fails. */
  readonly readable: () => boolean
  /** The current state, then each change. */
  readonly changes: Stream.Stream<DiskState>
  /**
   * Records a failure. If the disk failed, this opens the breaker; if perhaps only a file failed, it starts a probe. The log has a
   * line for the beginning of an outage, for each further cause, and for the end.
   */
  readonly report: (error: CacheError) => Effect.Effect<void>
  /** Opens the breaker, even if `error` may concern one file only. A busy disk doesn't open it. */
  readonly open: (error: CacheError) => Effect.Effect<void>
  /** Records that a file was read or written, which clears the files that are suspected in that direction. */
  readonly succeeded: (direction: Direction) => void
  /**
   * Probes in the background until the scope closes: while the breaker is open, and after failures of single files. Probes also fail
   * with what `unmet` returns. The cache passes the conditions that only it knows, such as room for a chunk in its size limit.
   */
  readonly keepProbing: (unmet: () => CacheError | undefined) => Effect.Effect<void, never, Scope.Scope>
}>()("spillway/services/disk/DiskBreaker") {
  /** Takes the cache's lock and makes the first probe before other services start. Later probes need `keepProbing`. */
  static readonly layer: Layer.Layer<DiskBreaker, never, CacheConfig | DirectoryLock | ChunkStore | DiskMonitor> = Layer
    .effect(DiskBreaker, Effect.suspend(() => make))
}

/** How often to check that the lock is still held. */
const LOCK_INTERVAL = Duration.seconds(30)

const detailsOf = ({ errno, operation, path }: CacheError) => ({ errno, operation, path })

const make = Effect.gen(function*() {
  const clock = yield* Clock.Clock
  const lock = yield* DirectoryLock
  const store = yield* ChunkStore
  const { directory } = yield* CacheConfig
  let breaker = initial
  const observed = yield* ObservedValue.make(breaker.state)
  /** Open while the breaker is. */
  const opened = yield* Latch.make(false)
  const suspected = yield* Latch.make(false)
  const probe = yield* DiskProbe.make(() => breaker.state._tag === "Full")
  const metrics = yield* BreakerMetrics.make(() => breaker.state)

  const unwritable = () => breaker.state._tag === "Usable" ? undefined : breaker.state.error

  const advance = (event: Event) => {
    const { next, output } = transition(breaker, event, clock.currentTimeMillisUnsafe())
    if (next.state !== breaker.state) metrics.countTime()
    breaker = next
    return output
  }

  // Files that were opened before are closed in the background: that may take long on a failing disk.
  const publish = Effect.suspend(() => Effect.andThen(Effect.forkDetach(store.release()), observed.set(breaker.state)))

  const onOpened = (error: CacheError) => {
    metrics.countFailure(error.errno)
    const message = opened.isOpen() ? "The cache has another fault now" : "Cache unusable: streaming from the origin"
    opened.openUnsafe()
    return publish.pipe(
      Effect.andThen(Effect.logWarning(message)),
      Effect.annotateLogs({ error: error._tag, ...detailsOf(error) })
    )
  }

  let lastSuspect: CacheError | undefined
  const logSuspect = rateLimited(
    Effect.suspend(() =>
      Effect.logWarning("A file of the cache fails, the disk works").pipe(
        Effect.annotateLogs(lastSuspect === undefined ? {} : detailsOf(lastSuspect))
      )
    )
  )

  const onFailure = (_tag: "Failed" | "Broken" | "ProbeFailed") => (error: CacheError) =>
    Effect.suspend(() => {
      const output = advance({ _tag, error })
      if (output === "Opened") return onOpened(error)
      if (output !== "Examine") return Effect.void
      lastSuspect = error
      return suspected.open
    })
  const report = onFailure("Failed")
  const open = onFailure("Broken")

  const onProbeSucceeded = Effect.suspend(() => {
    if (advance({ _tag: "ProbeSucceeded" }) !== "Closed") return Effect.void
    opened.closeUnsafe()
    // The disk has just been examined.
    suspected.closeUnsafe()
    return Effect.andThen(publish, Effect.logInfo("Cache usable again"))
  })

  const keepProbing = Effect.fnUntraced(function*(unmet: () => CacheError | undefined) {
    const recover = Effect.gen(function*() {
      yield* opened.await
      while (opened.isOpen()) {
        yield* Effect.sleep(breaker.pause)
        yield* Effect.matchEffect(probe(unmet), {
          onSuccess: () => onProbeSucceeded,
          onFailure: onFailure("ProbeFailed")
        })
      }
    })
    const examine = Effect.gen(function*() {
      yield* suspected.await
      yield* suspected.close
      // An open breaker is probed anyway.
      if (!opened.isOpen()) yield* Effect.matchEffect(probe(unmet), { onSuccess: () => logSuspect, onFailure: open })
      yield* Effect.sleep(PROBE_INTERVAL.shortest)
    })
    yield* keepRunning("DiskBreaker")(recover)
    yield* keepRunning("DiskBreaker")(examine)
  })

  // If the disk hangs, the probe continues in the background.
  const first = yield* Effect.forkScoped(Effect.catch(probe(() => undefined), open))
  yield* Fiber.join(first).pipe(
    Effect.timeoutOrElse({
      duration: DiskProbe.PROBE_DEADLINE,
      orElse: () => open(DiskProbe.timeout(directory))
    })
  )
  yield* Effect.sleep(LOCK_INTERVAL).pipe(
    Effect.andThen(Effect.suspend(() => unwritable() === undefined ? Effect.catch(lock.acquire, open) : Effect.void)),
    keepRunning("DirectoryLock")
  )

  return DiskBreaker.of({
    state: () => breaker.state,
    unwritable,
    readable: () => breaker.state._tag !== "Failing",
    changes: observed.changes,
    report,
    open,
    succeeded: (direction) => void advance({ _tag: "Succeeded", direction }),
    keepProbing
  })
})
