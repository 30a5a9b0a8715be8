import { Clock, Context, Effect, Layer } from "effect"
import { type CacheError, type CacheFailure, isDamage, isOfOneFile } from "../../domain/CacheError.ts"
import { type ChunkKey, indexAt, keyText, span } from "../../domain/Chunk.ts"
import type { Representation } from "../../domain/Representation.ts"
import type { ByteRange } from "../../domain/rfc/ByteRange.ts"
import * as SingleFlight from "../../effects/SingleFlight.ts"
import type { CacheConfig } from "../config/CacheConfig.ts"
import { ChunkStore } from "../disk/ChunkStore.ts"
import { DiskBreaker } from "../disk/DiskBreaker.ts"
import * as Metrics from "../observe/pullMetrics.ts"
import { CacheIndex } from "./CacheIndex.ts"
import { ChunkWriter } from "./ChunkWriter.ts"
import { IndexScan } from "./IndexScan.ts"
import { MemoryTier } from "./MemoryTier.ts"
import { WriteLock } from "./WriteLock.ts"

/**
 * Memory and disk as one cache of chunks. Lookups and `keep` don't wait. Concurrent reads of the same chunk from disk share one read.
 */
export class ChunkCache extends Context.Service<ChunkCache, {
  /** A chunk that is in memory, or waits to be written. Counts as a use. */
  readonly inMemory: (key: ChunkKey) => Uint8Array | undefined
  /** Whether a chunk is in memory, or on a disk that can be read. */
  readonly has: (key: ChunkKey) => boolean
  /** Whether `has` is true of all chunks of a range. The cost doesn't grow with their number. */
  readonly hasAll: (representation: Representation, range: ByteRange) => boolean
  /**
   * Reads a chunk from disk. If its file is missing, damaged or unreadable, the chunk is dropped; if the disk fails or hangs, that is
   * reported. Both fail the effect. A chunk that isn't used often enough to be kept in memory may be read into `scratch`, as by
   * `ChunkStore.read`.
   */
  readonly read: (
    representation: Representation,
    key: ChunkKey,
    scratch?: Buffer
  ) => Effect.Effect<Uint8Array, CacheError>
  /**
   * Reads a range of a chunk from disk into `scratch`, as `ChunkStore.read` does, and doesn't keep it in memory. Otherwise this is like
   * `read`.
   */
  readonly readRange: (
    representation: Representation,
    key: ChunkKey,
    range: ByteRange,
    scratch: Buffer
  ) => Effect.Effect<Uint8Array, CacheError>
  /** Whether a chunk is on a disk that can be read, and isn't worth to be kept in memory. */
  readonly prefersRanges: (representation: Representation, key: ChunkKey) => boolean
  /** Keeps a complete chunk: in memory now, and on disk soon, each if there is room. */
  readonly keep: (representation: Representation, key: ChunkKey, payload: Uint8Array) => void
  /**
   * Takes note that a chunk could not be read. When that is the fault of its file, the chunk counts as missing from now on, and
   * the file is removed in the background. What may be the fault of the disk is reported.
   */
  readonly failed: (key: ChunkKey, error: CacheError) => Effect.Effect<void>
  /** Why nothing can be kept on disk now, or `undefined`. */
  readonly failure: () => CacheFailure | undefined
  /** Whether a read would fail at once because the disk is too busy. */
  readonly isBusy: () => boolean
}>()("spillway/services/cache/ChunkCache") {
  static readonly layer: Layer.Layer<
    ChunkCache,
    never,
    CacheConfig | DiskBreaker | CacheIndex | ChunkStore | IndexScan | MemoryTier | ChunkWriter | WriteLock
  > = Layer.effect(ChunkCache, Effect.suspend(() => make))
}

/** How often dropped chunks are logged, at most, in milliseconds. */
const SAY_MILLIS = 10_000

/** Counts dropped chunks, and logs them. Many files may be damaged at once, so not each of them is logged. */
const makeReportDamage = Effect.gen(function*() {
  const clock = yield* Clock.Clock
  const countDamaged = yield* Metrics.counters(
    "spillway_damaged_chunks_total",
    "Cached chunks that were dropped: missing, not what was written, or unreadable, by what was found",
    "errno",
    ["CORRUPT", "SHORT_READ", "ENOENT", "EIO"]
  )
  let dropped = 0
  let said = -Infinity

  return (error: CacheError) =>
    Effect.suspend(() => {
      countDamaged(error.errno)
      if (!isDamage(error)) return Effect.void
      dropped += 1
      const now = clock.currentTimeMillisUnsafe()
      if (Math.abs(now - said) < SAY_MILLIS) return Effect.void
      said = now
      const line = Effect.logWarning("Dropped a damaged chunk").pipe(
        Effect.annotateLogs({ errno: error.errno, operation: error.operation, path: error.path, dropped })
      )
      dropped = 0
      return line
    })
})

const make = Effect.gen(function*() {
  const breaker = yield* DiskBreaker
  const index = yield* CacheIndex
  const scan = yield* IndexScan
  const { withWriteLock } = yield* WriteLock
  const memory = yield* MemoryTier
  const writer = yield* ChunkWriter
  const store = yield* ChunkStore
  const { share: shared } = SingleFlight.make<string, Uint8Array, CacheError>()

  const reportDamage = yield* makeReportDamage

  // Beside the viewer's path: the removal waits for a write that is under way, after which the chunk may be new and good.
  const drop = (key: ChunkKey, error: CacheError) =>
    Effect.suspend(() => {
      index.condemn(key)
      return Effect.suspend(() =>
        index.has(key) ? Effect.void : Effect.andThen(store.remove(key), Effect.sync(() => index.remove(key)))
      ).pipe(
        // Where one file has gone, others may have too: a directory was deleted.
        Effect.andThen(error.errno === "ENOENT" ? scan.reconcile(key.resource) : Effect.void),
        withWriteLock,
        Effect.ignore,
        Effect.forkDetach,
        Effect.andThen(reportDamage(error))
      )
    })

  const failed = (key: ChunkKey, error: CacheError) => {
    if (isDamage(error)) return drop(key, error)
    if (error._tag === "DiskBusy") return Effect.void
    const ofFile = error._tag !== "IoError" || isOfOneFile(error)
    return Effect.andThen(ofFile ? drop(key, error) : Effect.void, breaker.report(error))
  }

  const lengthOf = ({ chunkSize, size }: Representation, { index }: ChunkKey): number => {
    const { end, start } = span(index, chunkSize, size)
    return end - start
  }

  /** The index behind the chunks from the one of `key` on that are there. */
  const endOfStretch = (key: ChunkKey): number => {
    const onDisk = breaker.readable() ? index.firstMissing(key) : key.index
    return Math.max(onDisk, memory.firstMissing(key), writer.firstMissing(key))
  }

  const hasAll = ({ chunkSize, id, resource }: Representation, { end, start }: ByteRange): boolean => {
    if (start === end) return true
    const last = indexAt(end - 1, chunkSize)
    let index = indexAt(start, chunkSize)
    // Each stretch goes as far as one of the places has it: there are few.
    while (index <= last) {
      const next = endOfStretch({ resource, representation: id, index })
      if (next === index) return false
      index = next
    }
    return true
  }

  const read = (key: ChunkKey, length: number, range: ByteRange, scratch?: Buffer) =>
    store.read(key, length, range, scratch).pipe(
      Effect.tap(() => Effect.sync(() => breaker.succeeded("read"))),
      Effect.tapError((error) => failed(key, error))
    )

  /** Whether a chunk from disk should be in memory: there is room, or it was used more often than the one that would go. */
  const isWorthMemory = (key: ChunkKey, length: number): boolean => {
    if (memory.hasRoom(length)) return true
    const rival = memory.next()
    return rival !== undefined && index.uses(key) > index.uses(rival)
  }

  return ChunkCache.of({
    inMemory: (key) => {
      const payload = memory.get(key) ?? writer.pending(key)
      if (payload !== undefined) index.touch(key)
      return payload
    },
    has: (key) => memory.has(key) || writer.pending(key) !== undefined || (breaker.readable() && index.has(key)),
    hasAll,
    read: (representation, key, scratch) => {
      index.touch(key)
      const length = lengthOf(representation, key)
      const whole = { start: 0, end: length }
      if (isWorthMemory(key, length)) {
        const kept = Effect.tap(read(key, length, whole), (payload) => Effect.sync(() => memory.put(key, payload)))
        return shared(keyText(key), kept)
      }
      return scratch === undefined ? shared(keyText(key), read(key, length, whole)) : read(key, length, whole, scratch)
    },
    readRange: (representation, key, range, scratch) => {
      index.touch(key)
      return read(key, lengthOf(representation, key), range, scratch)
    },
    prefersRanges: (representation, key) =>
      breaker.readable() && index.has(key) && !memory.hasRoom(lengthOf(representation, key)),
    keep: (representation, key, payload) => {
      memory.put(key, payload)
      if (!index.has(key)) writer.offer(representation, key, payload)
    },
    failed,
    failure: breaker.unwritable,
    isBusy: store.isBusy
  })
})
