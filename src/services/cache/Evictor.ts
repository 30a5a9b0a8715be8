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
 * Keeps the cache within `maxSize`, and the disk above `minFree`. It evicts chunks in the order of `CacheIndex`, and never those of
 * pinned resources. Call it inside `WriteLock.withWriteLock`. A chunk that is being read stays readable: its file is open, and Unix
 * keeps the bytes of a removed file until it is closed.
 */
export class Evictor extends Context.Service<Evictor, {
  /**
   * Makes room for `need` bytes in `writes` writes, and reserves it until the scope closes. `need` is called again after each eviction.
   * Fails with `DiskFull` if nothing is left to evict.
   */
  readonly reserve: (need: () => number, writes?: number) => Effect.Effect<void, CacheError, Scope.Scope>
  /** Frees 1 GiB, or an eighth of a small disk or cache, after a write found the disk full anyway. Returns the bytes freed. */
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

/** How often chunks that could not be removed are tried again, in milliseconds. If the disk is full, they are tried with each trim. */
const RETRY_MILLIS = 60_000

/** The room above `minFree` that the background trim maintains, in bytes, or a sixty-fourth of a small disk. */
const HEADROOM_BYTES = 64 * 1024 ** 2

/** Why chunks are evicted. */
type Reason = "room" | "emergency"

/** Evicts chunks in the order of `CacheIndex`, and removes the directories that are left without a chunk. */
const makeEvict = Effect.gen(function*() {
  const breaker = yield* DiskBreaker
  const index = yield* CacheIndex
  const store = yield* ChunkStore
  const counters = yield* Counters

  const countEvicted = yield* Metrics.counters(
    "spillway_evictions_total",
    "Chunks removed to make room: in the ordinary course of things, or since the disk was full",
    "reason",
    ["room", "emergency"]
  )

  /** Removes the directory of a resource that has no chunk left. Returns the bytes freed. */
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

  const evictChunk = (reason: Reason): Effect.Effect<number, CacheError> =>
    Effect.suspend(() => {
      const victim = index.oldest()
      if (victim === undefined) return Effect.succeed(0)
      const before = index.bytes()
      return Effect.matchEffect(store.remove(victim, index.isAlone(victim.resource)), {
        onFailure: (error) => Effect.andThen(skip(victim, error), evictChunk(reason)),
        onSuccess: () => {
          index.remove(victim)
          counters.evicted()
          countEvicted(reason)
          return Effect.map(removeHollows, () => before - index.bytes())
        }
      })
    })

  /** Evicts one chunk, or removes a directory without any. Returns the bytes freed, 0 if nothing is left. */
  const evictOne = (reason: Reason = "room") =>
    Effect.suspend(() => {
      const [hollow] = index.hollow()
      return hollow === undefined ? evictChunk(reason) : Effect.catch(removeHollow(hollow), () => evictChunk(reason))
    })

  /** Frees this many bytes, if there is that much to evict. Returns the bytes freed. */
  const evict = Effect.fnUntraced(function*(bytes: number, reason: Reason = "room") {
    let freed = 0
    while (freed < bytes) {
      const one = yield* evictOne(reason)
      if (one === 0) break
      freed += one
    }
    return freed
  })

  /** Frees this many file nodes, if there are that many to free. */
  const evictNodes = Effect.fnUntraced(function*(nodes: number) {
    const enough = index.nodes() - nodes
    while (index.nodes() > enough && (yield* evictOne()) > 0);
  })

  return { evict, evictNodes, evictOne, removeHollows }
})

const make = Effect.gen(function*() {
  const clock = yield* Clock.Clock
  const config = yield* CacheConfig
  const maxSize = config.maxSize - ROOT_BYTES
  const breaker = yield* DiskBreaker
  const index = yield* CacheIndex
  const monitor = yield* DiskMonitor
  const scan = yield* IndexScan
  const { withWriteLock } = yield* WriteLock
  const { evict, evictNodes, evictOne, removeHollows } = yield* makeEvict

  const full = () => new DiskFull({ errno: "MAX_SIZE", operation: "reserve", path: config.directory })

  const shortage = () =>
    index.unevictableBytes() + bytesOnDisk(config.chunkSize) + MANIFEST_BYTES > maxSize ? full() : undefined

  const reserve = Effect.fnUntraced(function*(need: () => number, writes = 1) {
    while (index.bytes() + need() > maxSize) {
      if ((yield* evictOne()) > 0) continue
      return yield* full()
    }
    const tryReserve = Effect.suspend(() => monitor.reserve(need(), writes))
    const orEvict: typeof tryReserve = Effect.catchTag(
      tryReserve,
      "DiskFull",
      (full) => Effect.flatMap(evict(need()), (freed) => freed > 0 ? orEvict : Effect.fail(full))
    )
    yield* orEvict
  })

  const cleanUp = Effect.gen(function*() {
    const { total } = yield* monitor.usage
    const freed = yield* evict(Math.min(CLEAN_UP_BYTES, total / 8, config.maxSize / 8), "emergency")
    if (freed > 0) yield* Effect.logWarning("Disk full: emergency clean-up").pipe(Effect.annotateLogs({ freed }))
    return freed
  })

  let retriedAt = clock.currentTimeMillisUnsafe()

  // Other programs fill the disk as well. Room is freed before a write needs it.
  const trim = Effect.gen(function*() {
    const { free, freeNodes, total, totalNodes } = yield* monitor.usage
    // If the disk counts as full, a probe has to find room for a chunk, within both limits.
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
    while (index.bytes() + probe > maxSize && (yield* evictOne()) > 0);
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
