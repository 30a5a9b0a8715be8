import { Context, Duration, Effect, Latch, Layer, type Stream } from "effect"
import type { CacheError } from "../domain/CacheError.ts"
import { CacheConfig } from "./CacheConfig.ts"
import { bytesOnDisk, ChunkStore } from "./ChunkStore.ts"
import { DiskMonitor } from "./DiskMonitor.ts"
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
  readonly state: () => CacheState
  /** Why nothing is written now, or `undefined` when the store is in use. */
  readonly unwritable: () => CacheError | undefined
  readonly readable: () => boolean
  readonly changes: Stream.Stream<CacheState>
  /** Opens the breaker. Logged when the cause is another one than before. */
  readonly report: (error: CacheError) => Effect.Effect<void>
}>()("spillway/services/CacheHealth") {
  static readonly layer: Layer.Layer<CacheHealth, never, CacheConfig | ChunkStore | DiskMonitor> = Layer.effect(
    CacheHealth,
    Effect.suspend(() => make)
  )
}

/** The pause between two probes doubles from the first to the second of these. */
const PROBE_INTERVAL = { shortest: Duration.millis(250), longest: Duration.seconds(5) }

const usable: CacheState = { _tag: "Usable" }

const make = Effect.gen(function*() {
  const store = yield* ChunkStore
  const monitor = yield* DiskMonitor
  const { chunkSize } = yield* CacheConfig
  const observed = yield* Observed.make<CacheState>(usable)
  const opened = yield* Latch.make(false)

  const report = (error: CacheError) =>
    Effect.clockWith((clock) => {
      const before = observed.current()
      if (before._tag === "Unusable" && before.error._tag === error._tag && before.error.errno === error.errno) {
        return Effect.void
      }
      const since = clock.currentTimeMillisUnsafe()
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

  // A probe of a few bytes may still find room on a disk where no chunk does.
  const probe = Effect.scoped(Effect.andThen(monitor.reserve(bytesOnDisk(chunkSize)), store.probe))

  const recover = Effect.gen(function*() {
    yield* opened.await
    let pause = PROBE_INTERVAL.shortest
    while (opened.isOpen()) {
      yield* Effect.sleep(pause)
      pause = Duration.min(Duration.times(pause, 2), PROBE_INTERVAL.longest)
      const failure = yield* Effect.match(probe, { onSuccess: () => undefined, onFailure: (error) => error })
      if (failure !== undefined) yield* report(failure)
      else {
        yield* opened.close
        yield* observed.set(usable)
        yield* Effect.logInfo("Cache usable again")
      }
    }
  })
  yield* Effect.forkScoped(Effect.forever(recover))

  const unwritable = () => {
    const state = observed.current()
    return state._tag === "Usable" ? undefined : state.error
  }

  // A cache that cannot be used at the start is said so before anybody asks for anything.
  yield* Effect.forkScoped(Effect.catch(store.probe, report))

  return CacheHealth.of({
    state: observed.current,
    unwritable,
    readable: () => unwritable()?._tag !== "IoError",
    changes: observed.changes,
    report
  })
})
