import { Context, Duration, Effect, Layer, type Scope, type Stream } from "effect"
import * as Fs from "node:fs/promises"
import { dirname } from "node:path"
import { type CacheError, DiskFull, errnoOf, fromErrno } from "../../domain/CacheError.ts"
import { classify, type DiskStatus, type DiskUsage, minFreeNodes } from "../../domain/DiskStatus.ts"
import { keepRunning } from "../../effects/keepRunning.ts"
import * as ObservedValue from "../../effects/ObservedValue.ts"
import { CacheConfig } from "../config/CacheConfig.ts"
import * as Metrics from "../observe/pullMetrics.ts"
import { DiskLimiter } from "./DiskLimiter.ts"

/**
 * The free space of the cache's disk, and the space reserved by writes that haven't ended. Each write reserves space first, and each
 * reservation reads the file system. So concurrent writes can't go below `minFree`.
 *
 * @since 0.1.0
 * @category services
 */
export class DiskMonitor extends Context.Service<DiskMonitor, {
  /** Reads the bytes and nodes of the file system. */
  readonly usage: Effect.Effect<DiskUsage, CacheError>
  /** The status at the last reading, which is made every `POLL_INTERVAL`. */
  readonly status: () => DiskStatus
  /** The last reading, or `undefined` before the first. */
  readonly latest: () => DiskUsage | undefined
  /** The current status, then each change. */
  readonly changes: Stream.Stream<DiskStatus>
  /**
   * Reserves `bytes`, and the file nodes of `writes` writes (one by default), until the scope closes. Fails with `DiskFull` if less than
   * `minFree`, or fewer nodes than `minFreeNodes`, would be left.
   */
  readonly reserve: (bytes: number, writes?: number) => Effect.Effect<void, CacheError, Scope.Scope>
}>()("spillway/services/disk/DiskMonitor") {
  /**
   * The file system that holds the directory of `CacheConfig`.
   *
   * @since 0.1.0
   * @category layers
   */
  static readonly layer: Layer.Layer<DiskMonitor, never, CacheConfig | DiskLimiter> = Layer.effect(
    DiskMonitor,
    Effect.gen(function*() {
      const limiter = yield* DiskLimiter
      const { directory, minFree } = yield* CacheConfig
      return yield* make(limiter.pass(statfs(directory)), directory, minFree)
    })
  )

  /**
   * A disk, or a store elsewhere, whose readings are `usage`. A total of 0 nodes says that nodes aren't counted.
   *
   * @since 0.1.0
   * @category layers
   */
  static readonly layerUsage = (
    usage: Effect.Effect<DiskUsage, CacheError>
  ): Layer.Layer<DiskMonitor, never, CacheConfig> =>
    Layer.effect(
      DiskMonitor,
      Effect.flatMap(CacheConfig, ({ directory, minFree }) => make(usage, directory, minFree))
    )
}

/** How often the disk is read when nothing is written. */
export const POLL_INTERVAL = Duration.seconds(2)

/** The most file nodes that a write takes: directories, manifest, temporary file. */
export const NODES_PER_WRITE = 4

/** Effect's `FileSystem` has no `statfs`. A directory that doesn't exist yet is on the disk of its nearest parent. */
const statfs = (directory: string): Effect.Effect<DiskUsage, CacheError> =>
  Effect.tryPromise({
    try: () => Fs.statfs(directory),
    catch: (cause) => fromErrno(errnoOf(cause), "stat", directory)
  }).pipe(
    Effect.map(({ bavail, blocks, bsize, ffree, files }) => ({
      free: bavail * bsize,
      total: blocks * bsize,
      freeNodes: ffree,
      totalNodes: files
    })),
    Effect.catchIf(
      (error) => error.errno === "ENOENT" && dirname(directory) !== directory,
      () => statfs(dirname(directory))
    )
  )

const make = Effect.fnUntraced(function*(
  usage: Effect.Effect<DiskUsage, CacheError>,
  directory: string,
  minFree: number
) {
  const observed = yield* ObservedValue.make<DiskStatus>("Healthy")
  let reservedBytes = 0
  let reservedWrites = 0
  let latest: DiskUsage | undefined

  yield* Metrics.gauge(
    "spillway_disk_free_bytes",
    "Free bytes of the disk, as of the last look",
    () => latest?.free ?? 0
  )
  yield* Metrics.gauge("spillway_disk_size_bytes", "Bytes of the cache's disk", () => latest?.total ?? 0)
  yield* Metrics.gauge("spillway_disk_min_free_bytes", "Bytes of the disk that are never taken", () => minFree)

  const look = Effect.tap(usage, (usage) => {
    latest = usage
    const before = observed.current()
    const status = classify(usage, minFree)
    return before === status ? Effect.void : observed.set(status).pipe(
      Effect.andThen(
        (status === "Healthy" || status === "Info" ? Effect.logInfo : Effect.logWarning)(`Cache disk is ${status}`)
      ),
      Effect.annotateLogs({ free: usage.free, total: usage.total, freeNodes: usage.freeNodes, directory })
    )
  })

  const release = (bytes: number, writes: number) => {
    reservedBytes -= bytes
    reservedWrites -= writes
  }

  // Counted before the disk is read, so that concurrent reservations see each other.
  const promise = Effect.fnUntraced(function*(bytes: number, writes: number) {
    reservedBytes += bytes
    reservedWrites += writes
    const { free, freeNodes, totalNodes } = yield* usage
    const nodesLeft = freeNodes - reservedWrites * NODES_PER_WRITE >= minFreeNodes(totalNodes)
    if (free - reservedBytes < minFree || (totalNodes > 0 && !nodesLeft)) {
      return yield* new DiskFull({ errno: "ENOSPC", operation: "reserve", path: directory })
    }
  }, (effect, bytes, writes) => Effect.onError(effect, () => Effect.sync(() => release(bytes, writes))))

  const reserve = (bytes: number, writes = 1) =>
    Effect.acquireRelease(promise(bytes, writes), () => Effect.sync(() => release(bytes, writes)), {
      interruptible: true
    })

  // A failed reading is reported by the write that needs it.
  yield* look.pipe(
    Effect.ignore,
    Effect.andThen(Effect.sleep(POLL_INTERVAL)),
    keepRunning("DiskMonitor")
  )

  return DiskMonitor.of({
    usage: look,
    status: observed.current,
    latest: () => latest,
    changes: observed.changes,
    reserve
  })
})
