import { type Cause, Clock, Context, Effect, Latch, Layer, Queue, type Scope, Stream } from "effect"
import { keepRunning } from "../../effects/keepRunning.ts"
import { FleetReport } from "./FleetReport.ts"
import { StatusReport } from "./StatusReport.ts"

/**
 * Snapshots as server-sent events: one at once, and then one each second. Each is put together once for all who watch, and none
 * where nobody does. Who takes them slowly misses some.
 *
 * @since 0.1.0
 * @category services
 */
export class SnapshotFeed extends Context.Service<SnapshotFeed, {
  /** The events for one more, until the scope closes; `undefined` where as many watch as may, or the server is ending. */
  readonly watch: Effect.Effect<Stream.Stream<Uint8Array> | undefined, never, Scope.Scope>
  /** Ends all streams, and has no more begin. */
  readonly end: Effect.Effect<void>
}>()("spillway/http/admin/SnapshotFeed") {
  static readonly layer: Layer.Layer<SnapshotFeed, never, FleetReport | StatusReport> = Layer.effect(
    SnapshotFeed,
    Effect.suspend(() => make)
  )
}

/** How many may watch. */
export const MAX_WATCHERS = 16

/** How many snapshots wait for one who takes them slowly. */
const LAG = 2

const INTERVAL_MILLIS = 1000

type Watcher = Queue.Queue<Uint8Array, Cause.Done>

const make = Effect.gen(function*() {
  const report = yield* StatusReport
  const fleet = yield* FleetReport
  const clock = yield* Clock.Clock
  const watchers = new Set<Watcher>()
  const watched = yield* Latch.make(false)
  let latest: { readonly at: number; readonly event: Uint8Array } | undefined
  let isEnding = false

  const refresh = Effect.map(Effect.all([report.snapshot, fleet.recent]), ([snapshot, fleet]) => {
    const event = Buffer.from(`event: snapshot\ndata: ${JSON.stringify({ ...snapshot, fleet })}\n\n`)
    latest = { at: clock.currentTimeMillisUnsafe(), event }
    return event
  })

  /** Many who come at once get the same. */
  const current = Effect.suspend(() =>
    latest !== undefined && Math.abs(clock.currentTimeMillisUnsafe() - latest.at) < INTERVAL_MILLIS
      ? Effect.succeed(latest.event)
      : refresh
  )

  const publish = Effect.suspend(() => {
    if (watchers.size > 0) {
      return Effect.map(refresh, (event) => {
        for (const watcher of watchers) Queue.offerUnsafe(watcher, event)
      })
    }
    latest = undefined
    return watched.close
  })

  yield* watched.await.pipe(
    Effect.andThen(Effect.sleep(INTERVAL_MILLIS)),
    Effect.andThen(publish),
    keepRunning("Events")
  )

  return SnapshotFeed.of({
    watch: Effect.suspend(() => {
      if (isEnding || watchers.size >= MAX_WATCHERS) return Effect.undefined
      return Effect.gen(function*() {
        const watcher: Watcher = yield* Queue.sliding<Uint8Array, Cause.Done>(LAG)
        yield* Effect.acquireRelease(
          Effect.sync(() => watchers.add(watcher)),
          () => Effect.sync(() => watchers.delete(watcher))
        )
        yield* watched.open
        Queue.offerUnsafe(watcher, yield* current)
        return Stream.fromQueue(watcher)
      })
    }),
    end: Effect.sync(() => {
      isEnding = true
      for (const watcher of watchers) Queue.endUnsafe(watcher)
    })
  })
})
