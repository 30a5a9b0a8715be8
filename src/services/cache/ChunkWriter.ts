import { Context, Effect, Exit, Latch, Layer, Stream } from "effect"
import { IoError } from "../../domain/CacheError.ts"
import type { ChunkKey } from "../../domain/Chunk.ts"
import type { Representation } from "../../domain/Representation.ts"
import { keepRunning } from "../../effects/keepRunning.ts"
import { withoutServices } from "../../effects/withoutServices.ts"
import { CacheConfig } from "../config/CacheConfig.ts"
import { bytesOnDisk, ChunkStore } from "../disk/ChunkStore.ts"
import { DiskBreaker } from "../disk/DiskBreaker.ts"
import { Counters } from "../observe/Counters.ts"
import * as Metrics from "../observe/pullMetrics.ts"
import { Backlog, type Job } from "./Backlog.ts"
import { CacheIndex } from "./CacheIndex.ts"
import { Catalog } from "./Catalog.ts"
import { Evictor } from "./Evictor.ts"
import { IndexScan } from "./IndexScan.ts"
import { Manifests } from "./Manifests.ts"
import { WriteLock } from "./WriteLock.ts"

/**
 * Writes complete chunks to disk in the background, one at a time (write-behind). It makes room first. If the disk is full, it cleans up
 * and retries once. It reports failures to `DiskBreaker`. Streams never wait for it: beyond its bound it drops chunks, which are fetched
 * again when they are needed.
 */
export class ChunkWriter extends Context.Service<ChunkWriter, {
  /** Queues a chunk to be written. Returns `false` if it is dropped, because nothing can be written now or too much waits already. */
  readonly offer: (representation: Representation, key: ChunkKey, payload: Uint8Array) => boolean
  /** The payload of a chunk that waits to be written. */
  readonly pending: (key: ChunkKey) => Uint8Array | undefined
  /** The first index, starting at that of `key`, whose chunk doesn't wait to be written. */
  readonly firstMissing: (key: ChunkKey) => number
  /** How much waits to be written, and how much may, in bytes. */
  readonly backlog: () => { readonly bytes: number; readonly maxBytes: number }
  /** Whether so much waits that chunks may soon be dropped. */
  readonly isBehind: () => boolean
  /** Waits until every queued chunk is written or dropped. */
  readonly idle: Effect.Effect<void>
}>()("spillway/services/cache/ChunkWriter") {
  static readonly layer: Layer.Layer<
    ChunkWriter,
    never,
    | CacheConfig
    | DiskBreaker
    | CacheIndex
    | Catalog
    | ChunkStore
    | Evictor
    | IndexScan
    | Manifests
    | Counters
    | WriteLock
  > = Layer.effect(ChunkWriter, Effect.suspend(() => make))
}

/** How long a chunk may take to be written before the disk counts as hanging, in milliseconds: reads of a frozen disk go on. */
const WRITE_DEADLINE = 5000

/** How long the end of the program waits for what is still to be written. */
const FLUSH_TIMEOUT = "2 seconds"

const make = Effect.gen(function*() {
  const config = yield* CacheConfig
  const catalog = yield* Catalog
  const evictor = yield* Evictor
  const breaker = yield* DiskBreaker
  const index = yield* CacheIndex
  const scan = yield* IndexScan
  const { withWriteLock } = yield* WriteLock
  const manifests = yield* Manifests
  const store = yield* ChunkStore
  const counters = yield* Counters
  const backlog = new Backlog(config.chunkSize)
  const idle = yield* Latch.make(true)
  const work = yield* Latch.make(false)

  const write = Effect.fnUntraced(function*({ key, payload, representation }: Job) {
    const bytes = bytesOnDisk(payload.length)
    yield* evictor.reserve(() => bytes + manifests.growth(representation))
    yield* manifests.ensure(representation)
    yield* store.write(key, payload)
    index.add(key, bytes)
    breaker.succeeded("write")
    // It may have been invalidated while nothing of it was on disk.
    if (!catalog.isCurrent(representation)) manifests.revoke(key.resource)
  }, Effect.scoped)

  const countRetry = yield* Metrics.counters(
    "spillway_write_retries_total",
    "Chunks written once more after an emergency clean-up, by whether that helped",
    "outcome",
    ["won", "lost"]
  )

  const writeAgain = (job: Job) =>
    Effect.onExit(write(job), (exit) => Effect.sync(() => countRetry(Exit.isSuccess(exit) ? "won" : "lost")))

  const done = (job: Job): void => {
    backlog.done(job)
    if (backlog.isEmpty) idle.openUnsafe()
  }

  /** A write that does not end is not interrupted, since nobody could tell what it did; but it is noticed. */
  const watch = Effect.sleep(WRITE_DEADLINE).pipe(
    Effect.andThen(breaker.report(new IoError({ errno: "TIMEOUT", operation: "write", path: config.directory })))
  )

  // What waits behind a write that hangs, or for the index, would be held in memory until the disk works again.
  const dropWaiting = Effect.sync(() => {
    for (let job = backlog.take(); job !== undefined; job = backlog.take()) {
      counters.dropped()
      done(job)
    }
  })
  yield* breaker.changes.pipe(
    Stream.runForEach(({ _tag }) => _tag === "Usable" ? Effect.void : dropWaiting),
    Effect.forkScoped
  )

  /** The representation may have been superseded or invalidated while its chunk waited. */
  const writeCurrent = (job: Job) =>
    Effect.suspend(() =>
      catalog.isCurrent(job.representation) && !index.has(job.key)
        ? Effect.catchTag(write(job), "DiskFull", (full) =>
          Effect.flatMap(evictor.cleanUp, (freed) => freed > 0 ? writeAgain(job) : Effect.fail(full)))
        : Effect.void
    )

  const record = (job: Job) =>
    Effect.suspend(() => {
      // The disk may have failed while the chunk waited.
      if (breaker.unwritable() !== undefined) {
        counters.dropped()
        return Effect.void
      }
      return Effect.raceFirst(withWriteLock(writeCurrent(job)), Effect.andThen(watch, Effect.never))
    }).pipe(
      Effect.catch((error) => {
        counters.dropped()
        return breaker.report(error)
      }),
      Effect.ensuring(Effect.sync(() => done(job)))
    )

  const next = Effect.suspend(() => {
    const job = backlog.take()
    if (job !== undefined) return record(job)
    work.closeUnsafe()
    return Effect.void
  })

  // Until the index is complete, nobody knows how much the cache holds.
  yield* withoutServices(keepRunning("ChunkWriter")(Effect.andThen(scan.loaded, Effect.andThen(work.await, next))))
  yield* Effect.addFinalizer(() => Effect.ignore(Effect.timeout(Effect.interruptible(idle.await), FLUSH_TIMEOUT)))

  return ChunkWriter.of({
    offer: (representation, key, payload) => {
      if (backlog.get(key) !== undefined) return true
      if (breaker.unwritable() !== undefined || !backlog.add({ key, payload, representation })) {
        counters.dropped()
        return false
      }
      idle.closeUnsafe()
      work.openUnsafe()
      return true
    },
    pending: (key) => backlog.get(key),
    firstMissing: (key) => backlog.firstMissing(key),
    backlog: () => ({ bytes: backlog.bytes, maxBytes: backlog.maxBytes }),
    isBehind: () => backlog.isBehind,
    idle: idle.await
  })
})
