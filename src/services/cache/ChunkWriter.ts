import { Context, Effect, Latch, Layer, Stream } from "effect"
import { type ChunkKey, keyText } from "../../domain/Chunk.ts"
import type { Representation } from "../../domain/Representation.ts"
import { keepRunning } from "../../effects/keepRunning.ts"
import { withoutServices } from "../../effects/withoutServices.ts"
import { CacheConfig } from "../config/CacheConfig.ts"
import { bytesOnDisk, type ChunkStore, MANIFEST_BYTES } from "../disk/ChunkStore.ts"
import { DiskBreaker } from "../disk/DiskBreaker.ts"
import { Counters } from "../observe/Counters.ts"
import { Backlog, type Job } from "./Backlog.ts"
import type { CacheIndex } from "./CacheIndex.ts"
import type { Catalog } from "./Catalog.ts"
import { ChunkMemory } from "./ChunkMemory.ts"
import type { Evictor } from "./Evictor.ts"
import * as GroupWrites from "./groupWrites.ts"
import { IndexScan } from "./IndexScan.ts"
import type { Manifests } from "./Manifests.ts"
import { MemoryTier } from "./MemoryTier.ts"
import type { WriteLock } from "./WriteLock.ts"

/**
 * Writes complete chunks to disk in the background, in groups (write-behind, `groupWrites`). Streams never wait for it. If there is no room
 * for a chunk in the queue, it is written later if `MemoryTier` still has it then, and dropped otherwise. A dropped chunk is fetched again when
 * it is needed.
 */
export class ChunkWriter extends Context.Service<ChunkWriter, {
  /**
   * Queues a chunk to be written. Offer it after it was put into memory. Returns `false` if it is dropped, because nothing can be written now,
   * or too much waits already and memory doesn't have it.
   */
  readonly offer: (representation: Representation, key: ChunkKey, payload: Uint8Array) => boolean
  /** Whether a chunk of a representation would find room now. */
  readonly hasRoom: (representation: Representation) => boolean
  /** The payload of a chunk that waits to be written. */
  readonly pending: (key: ChunkKey) => Uint8Array | undefined
  /** The first index, starting at that of `key`, whose chunk doesn't wait to be written. */
  readonly firstMissing: (key: ChunkKey) => number
  /** How much waits to be written, and how much may, in bytes. */
  readonly backlog: () => { readonly bytes: number; readonly maxBytes: number }
  /** Whether so much waits that chunks may soon be dropped. */
  readonly isBehind: () => boolean
  /** Waits until every queued chunk of a representation is written or dropped. */
  readonly settled: (representation: Representation) => Effect.Effect<void>
  /** The same for all representations. */
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
    | MemoryTier
    | Counters
    | WriteLock
  > = Layer.effect(ChunkWriter, Effect.suspend(() => make))
}

/** How many chunks are written as one group, at most, and how much they take of the disk, in bytes, without the last chunk. */
const GROUP_CHUNKS = 256
const GROUP_BYTES = 16 * 1024 ** 2

/** How many chunks may be in memory that are to be written when there is room. */
const MAX_DEFERRED = 4096

/** How long the end of the program waits for what is still to be written. */
const FLUSH_TIMEOUT = "2 seconds"

/** Those who wait until no chunk of a representation is queued. */
class Waits {
  readonly #isQueued: (representation: Representation) => boolean
  /** By resource and representation. Each of these has queued chunks, so the queue is the bound. */
  readonly #latches = new Map<string, Latch.Latch>()

  constructor(isQueued: (representation: Representation) => boolean) {
    this.#isQueued = isQueued
  }

  wait(representation: Representation): Effect.Effect<void> {
    return Effect.suspend(() => {
      if (!this.#isQueued(representation)) return Effect.void
      const name = this.#nameOf(representation)
      const latch = this.#latches.get(name) ?? Latch.makeUnsafe(false)
      this.#latches.set(name, latch)
      return latch.await
    })
  }

  /** To be called whenever a chunk of a representation is no longer queued. */
  check(representation: Representation): void {
    const name = this.#nameOf(representation)
    const latch = this.#latches.get(name)
    if (latch === undefined || this.#isQueued(representation)) return
    this.#latches.delete(name)
    latch.openUnsafe()
  }

  #nameOf({ id, resource }: Representation): string {
    return `${resource}/${id}`
  }
}

const make = Effect.gen(function*() {
  const config = yield* CacheConfig
  const breaker = yield* DiskBreaker
  const scan = yield* IndexScan
  const counters = yield* Counters
  const memory = yield* MemoryTier
  const record = yield* GroupWrites.make
  const backlog = new Backlog(config.chunkSize, yield* ChunkMemory)
  const idle = yield* Latch.make(true)
  const work = yield* Latch.make(false)
  /** Chunks that found no room. Their bytes are in `memory`, or lost. */
  const deferred = new Map<string, Omit<Job, "payload">>()

  const waits = new Waits((representation) => {
    if (backlog.hasAny(representation)) return true
    for (const { key } of deferred.values()) {
      if (key.resource === representation.resource && key.representation === representation.id) return true
    }
    return false
  })

  /** Ends what waits until this chunk is no longer queued. */
  const settle = ({ representation }: Omit<Job, "payload">): void => {
    if (backlog.isEmpty && deferred.size === 0) idle.openUnsafe()
    waits.check(representation)
  }

  const done = (job: Job): void => {
    backlog.done(job)
    settle(job)
  }

  const defer = (chunk: Omit<Job, "payload">): boolean => {
    const name = keyText(chunk.key)
    if (!memory.has(chunk.key) || (deferred.size >= MAX_DEFERRED && !deferred.has(name))) return false
    deferred.set(name, chunk)
    return true
  }

  /** Queues what was deferred, until half of the room is taken. The rest is left to new chunks. */
  const recall = (): void => {
    for (const [name, chunk] of deferred) {
      if (backlog.isBehind) return
      deferred.delete(name)
      if (backlog.get(chunk.key) !== undefined) continue
      const payload = memory.peek(chunk.key)
      if (payload !== undefined && backlog.add({ ...chunk, payload })) continue
      counters.dropped()
      settle(chunk)
    }
  }

  // What waits behind a write that hangs, or for the index, would be held in memory until the disk works again.
  const dropWaiting = Effect.sync(() => {
    const forgotten = [...deferred.values()]
    deferred.clear()
    for (const chunk of forgotten) {
      counters.dropped()
      settle(chunk)
    }
    for (let job = backlog.take(); job !== undefined; job = backlog.take()) {
      counters.dropped()
      done(job)
    }
  })
  yield* breaker.changes.pipe(
    Stream.runForEach(({ _tag }) => _tag === "Usable" ? Effect.void : dropWaiting),
    Effect.forkScoped
  )

  /** A small cache must not be emptied for one group. */
  const groupBytes = Math.min(GROUP_BYTES, config.maxSize / 16)

  const takeGroup = (): ReadonlyArray<Job> => {
    const group: Array<Job> = []
    let bytes = 0
    while (group.length < GROUP_CHUNKS && bytes < groupBytes) {
      const job = backlog.take()
      if (job === undefined) break
      group.push(job)
      bytes += bytesOnDisk(job.payload.length) + MANIFEST_BYTES
    }
    return group
  }

  const next = Effect.suspend(() => {
    recall()
    const group = takeGroup()
    if (group.length > 0) return record(group, done)
    work.closeUnsafe()
    return Effect.void
  })

  // Until the index is complete, nobody knows how much the cache holds.
  yield* withoutServices(keepRunning("ChunkWriter")(Effect.andThen(scan.loaded, Effect.andThen(work.await, next))))
  yield* Effect.addFinalizer(() => Effect.ignore(Effect.timeout(Effect.interruptible(idle.await), FLUSH_TIMEOUT)))

  return ChunkWriter.of({
    offer: (representation, key, payload) => {
      if (backlog.get(key) !== undefined) return true
      const isTaken = breaker.unwritable() === undefined &&
        (backlog.add({ key, payload, representation }) || defer({ key, representation }))
      if (!isTaken) {
        counters.dropped()
        return false
      }
      idle.closeUnsafe()
      work.openUnsafe()
      return true
    },
    hasRoom: (representation) => backlog.hasRoom(representation),
    pending: (key) => backlog.get(key),
    firstMissing: (key) => backlog.firstMissing(key),
    backlog: () => ({ bytes: backlog.bytes, maxBytes: backlog.maxBytes }),
    isBehind: () => backlog.isBehind,
    settled: (representation) => waits.wait(representation),
    idle: idle.await
  })
})
