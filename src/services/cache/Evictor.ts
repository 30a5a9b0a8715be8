import { Clock, Context, Effect, Layer, type Scope } from "effect"
import { type CacheError, DiskFull, isOfOneFile } from "../../domain/CacheError.ts"
import type { ChunkKey } from "../../domain/Chunk.ts"
import { minFreeNodes } from "../../domain/DiskStatus.ts"
import { keepRunning } from "../../effects/keepRunning.ts"
import { CacheConfig } from "../config/CacheConfig.ts"
import { ROOT_BYTES } from "../disk/blocks.ts"
import { bytesOnDisk, ChunkStore, MANIFEST_BYTES } from "../disk/ChunkStore.ts"
import { DiskBreaker } from "../disk/DiskBreaker.ts"
import { DiskMonitor, NODES_PER_WRITE, POLL_INTERVAL } from "../disk/DiskMonitor.ts"
import { Counters } from "../observe/Counters.ts"
import * as Metrics from "../observe/pullMetrics.ts"
import { CacheIndex } from "./CacheIndex.ts"
import { IndexScan } from "./IndexScan.ts"
import { WriteLock } from "./WriteLock.ts"

/**
 * Keeps the cache within `maxSize` and the disk above `minFree`, least recently used chunks first, never those of pinned resources. Called inside
 * `WriteLock.withWriteLock`. A chunk that is being read stays readable: its file is open, and Unix keeps the bytes of a
 * removed file until it is closed.
 */
export class Evictor extends Context.Service<Evictor, {
  /**
   * Makes room for as many bytes as `need` says, which is asked again when something was evicted, and promises it to the caller until
   * its scope closes; `DiskFull` when it cannot.
   */
  readonly reserve: (need: () => number) => Effect.Effect<void, CacheError, Scope.Scope>
  /** After a write found the disk full anyway: frees 1 GiB, or an eighth of a small disk or cache. Bytes freed. */
  readonly cleanUp: Effect.Effect<number, CacheError>
  /** `DiskFull` with the errno `MAX_SIZE` if nothing that can be evicted makes room for a chunk, else `undefined`. */
  readonly shortage: () => CacheError | undefined
}>()("spillway/services/cache/Evictor") {
  static readonly layer: Layer.Layer<
    Evictor,
    never,
    CacheConfig | DiskBreaker | CacheIndex | ChunkStore | DiskMonitor | Counters | IndexScan | WriteLock
  > = Layer.effect(Evictor, Effect.suspend(() => make))
}

/** The most that an emergency frees, in bytes. */
const CLEAN_UP_BYTES = 1024 ** 3

/** How often chunks that could not be removed are tried again, unless room is missing: then each time that is checked. */
const RETRY_MILLIS = 60_000

/** The room above `minFree` that is kept in the background, in bytes, or a sixty-fourth of a small disk. */
const HEADROOM_BYTES = 64 * 1024 ** 2

const make = Effect.gen(function*() {
  const clock = yield* Clock.Clock
  const config = yield* CacheConfig
  const maxSize = config.maxSize - ROOT_BYTES
  const breaker = yield* DiskBreaker
  const index = yield* CacheIndex
  const store = yield* ChunkStore
  const monitor = yield* DiskMonitor
  const counters = yield* Counters
  const scan = yield* IndexScan
  const { withWriteLock } = yield* WriteLock

  const countEvicted = yield* Metrics.counters(
    "spillway_evictions_total",
    "Chunks removed to make room: in the ordinary course of things, or since the disk was full",
    "reason",
    ["room", "emergency"]
  )
  /** Why chunks are removed now; one change of the disk is made at a time. */
  let reason: "room" | "emergency" = "room"

  /** Removes the directory of a resource of which no chunk is left: the bytes freed. */
  const removeHollow = (resource: string) =>
    Effect.suspend(() => {
      const before = index.bytes()
      return Effect.map(store.removeResource(resource, index.isAlone(resource)), () => {
        index.forget(resource)
        return before - index.bytes()
      })
    })

  const removeHollows = Effect.suspend(() =>
    Effect.forEach(
      index.hollow(),
      (resource) => Effect.catchIf(removeHollow(resource), isOfOneFile, breaker.report),
      { discard: true }
    )
  )

  /** One file that can't be removed must not keep all others from being kept. */
  const skip = (victim: ChunkKey, error: CacheError) =>
    isOfOneFile(error) && index.setAside(victim) ? breaker.report(error) : Effect.fail(error)

  const evictChunk: Effect.Effect<number, CacheError> = Effect.suspend(() => {
    const victim = index.oldest()
    if (victim === undefined) return Effect.succeed(0)
    const before = index.bytes()
    return Effect.matchEffect(store.remove(victim), {
      onFailure: (error) => Effect.andThen(skip(victim, error), evictChunk),
      onSuccess: () => {
        index.remove(victim)
        counters.evicted()
        countEvicted(reason)
        return Effect.map(removeHollows, () => before - index.bytes())
      }
    })
  })

  /** Evicts one chunk, or a directory that has none: the bytes freed, 0 when nothing is left. */
  const evictOne = Effect.suspend(() => {
    const [hollow] = index.hollow()
    return hollow === undefined ? evictChunk : Effect.catch(removeHollow(hollow), () => evictChunk)
  })

  const evict = Effect.fnUntraced(function*(bytes: number) {
    let freed = 0
    while (freed < bytes) {
      const one = yield* evictOne
      if (one === 0) break
      freed += one
    }
    return freed
  })

  /** Gives so many file nodes back. */
  const evictNodes = Effect.fnUntraced(function*(nodes: number) {
    const enough = index.nodes() - nodes
    while (index.nodes() > enough && (yield* evictOne) > 0);
  })

  const full = () => new DiskFull({ errno: "MAX_SIZE", operation: "reserve", path: config.directory })

  const shortage = () =>
    index.unevictableBytes() + bytesOnDisk(config.chunkSize) + MANIFEST_BYTES > maxSize ? full() : undefined

  const reserve = Effect.fnUntraced(function*(need: () => number) {
    while (index.bytes() + need() > maxSize) {
      if ((yield* evictOne) > 0) continue
      return yield* full()
    }
    const tryReserve = Effect.suspend(() => monitor.reserve(need()))
    const orEvict: typeof tryReserve = Effect.catchTag(
      tryReserve,
      "DiskFull",
      (full) => Effect.flatMap(evict(need()), (freed) => freed > 0 ? orEvict : Effect.fail(full))
    )
    yield* orEvict
  })

  const cleanUp = Effect.gen(function*() {
    const { total } = yield* monitor.usage
    reason = "emergency"
    const freed = yield* evict(Math.min(CLEAN_UP_BYTES, total / 8, config.maxSize / 8))
    if (freed > 0) yield* Effect.logWarning("Disk full: emergency clean-up").pipe(Effect.annotateLogs({ freed }))
    return freed
  }).pipe(Effect.ensuring(Effect.sync(() => {
    reason = "room"
  })))

  let retriedAt = clock.currentTimeMillisUnsafe()

  // Others fill the disk as well: room is given back before a write needs it.
  const trim = Effect.gen(function*() {
    const { free, freeNodes, total, totalNodes } = yield* monitor.usage
    // Where the disk counts as full, a probe has to find room for a chunk, within both limits.
    const probe = breaker.unwritable() === undefined ? 0 : bytesOnDisk(config.chunkSize)
    const headroom = Math.max(probe, Math.min(HEADROOM_BYTES, total / 64))
    const missing = config.minFree + headroom - free
    const now = clock.currentTimeMillisUnsafe()
    if (probe > 0 || now - retriedAt >= RETRY_MILLIS) {
      retriedAt = now
      index.retryRemovals()
    }
    if (missing > 0) yield* evict(missing)
    yield* removeHollows
    if (totalNodes > 0) yield* evictNodes(minFreeNodes(totalNodes) + NODES_PER_WRITE - freeNodes)
    while (index.bytes() + probe > maxSize && (yield* evictOne) > 0);
  })
  yield* scan.loaded.pipe(
    Effect.andThen(
      Effect.suspend(() =>
        (breaker.unwritable()?._tag ?? "DiskFull") === "DiskFull"
          ? Effect.catch(withWriteLock(trim), breaker.report)
          : Effect.void
      )
    ),
    Effect.andThen(Effect.sleep(POLL_INTERVAL)),
    keepRunning("Evictor")
  )

  return Evictor.of({ reserve, cleanUp, shortage })
})
