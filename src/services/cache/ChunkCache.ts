import { Context, Effect, Exit, Layer, Option } from "effect"
import type { CacheError, CacheFailure } from "../../domain/CacheError.ts"
import { type ChunkKey, indexAt, keyText, span } from "../../domain/Chunk.ts"
import type { Representation } from "../../domain/Representation.ts"
import type { ByteRange } from "../../domain/rfc/ByteRange.ts"
import * as SingleFlight from "../../effects/SingleFlight.ts"
import type { CacheConfig } from "../config/CacheConfig.ts"
import { ChunkStore, type LentBytes, PART_BYTES, partAt, SHORT_RANGE_BYTES } from "../disk/ChunkStore.ts"
import { DiskBreaker } from "../disk/DiskBreaker.ts"
import { Fleet } from "../fleet/Fleet.ts"
import { CacheIndex } from "./CacheIndex.ts"
import { ChunkMemory } from "./ChunkMemory.ts"
import { ChunkWriter } from "./ChunkWriter.ts"
import type { IndexScan } from "./IndexScan.ts"
import { makeMemoryAdmission } from "./memoryAdmission.ts"
import { MemoryTier } from "./MemoryTier.ts"
import { makeUnreadable } from "./unreadableChunks.ts"
import type { WriteLock } from "./WriteLock.ts"

/**
 * Memory and disk as one cache of chunks. Lookups and `keep` don't wait. Concurrent reads of the same chunk from disk share one read.
 */
export class ChunkCache extends Context.Service<ChunkCache, {
  /** A chunk that is in memory, or waits to be written. Counts as a use. Hold it in `ChunkMemory` while you need it. */
  readonly inMemory: (key: ChunkKey) => Uint8Array | undefined
  /** A range of a chunk if all of it is in memory, in pieces. Counts as a use. */
  readonly rangeInMemory: (key: ChunkKey, range: ByteRange) => ReadonlyArray<Uint8Array> | undefined
  /** Whether a chunk is in memory, or on a disk that can be read. */
  readonly has: (key: ChunkKey) => boolean
  /** Whether `has` is true of all chunks of a range. The cost doesn't grow with their number. */
  readonly hasAll: (representation: Representation, range: ByteRange) => boolean
  /** How far a range is there without a gap: the end of its first chunks for which `has` is true, or its start. */
  readonly endOfCached: (representation: Representation, range: ByteRange) => number
  /** Whether a chunk from disk should be in memory: there is room, or it was used more often than what would be evicted for it. */
  readonly isWorthMemory: (representation: Representation, key: ChunkKey) => boolean
  /**
   * Reads a chunk from disk, and keeps it in memory. If its file is missing, damaged or unreadable, the chunk is dropped; if the disk fails
   * or hangs, that is reported. Both fail the effect.
   */
  readonly read: (representation: Representation, key: ChunkKey) => Effect.Effect<Uint8Array, CacheError>
  /**
   * Reads a range of a chunk from disk, into `scratch` if given, as `ChunkStore.read` does. Fails as `read` does. Of a short range, it keeps
   * copies of those parts in memory that are used often enough.
   */
  readonly readRange: (
    representation: Representation,
    key: ChunkKey,
    range: ByteRange,
    scratch?: Buffer
  ) => Effect.Effect<Uint8Array, CacheError>
  /** The same without a fiber, into memory that is lent, as by `ChunkStore.readShort`. `onEnd` gets `undefined` if `readRange` fails. */
  readonly readShort: (
    representation: Representation,
    key: ChunkKey,
    range: ByteRange,
    onEnd: (lent: LentBytes | undefined) => void
  ) => void
  /** Whether a chunk is on a disk that can be read. */
  readonly isOnDisk: (key: ChunkKey) => boolean
  /**
   * Keeps a complete chunk: in memory now, and on disk soon, each if there is room; on disk only if this node of a fleet owns it. Holds it in
   * `ChunkMemory` meanwhile.
   */
  readonly keep: (representation: Representation, key: ChunkKey, payload: Uint8Array) => void
  /**
   * Takes note that a chunk could not be read. When that is the fault of its file, the chunk counts as missing from now on, and
   * the file is removed in the background. What may be the fault of the disk is reported.
   */
  readonly failed: (key: ChunkKey, error: CacheError) => Effect.Effect<void>
  /**
   * To be called when a viewer who is about to read on could not read a chunk. If it was damaged, the next ones are verified in the background
   * up to the first intact one, so that few requests to the origin bring a damaged stretch.
   */
  readonly verifyBehind: (key: ChunkKey, error: CacheError) => Effect.Effect<void>
  /** Whether the chunk with the byte at `offset` would be written to disk if it were complete now. */
  readonly isStoring: (representation: Representation, offset: number) => boolean
  /** The same, but also whether the disk keeps up: `false` before chunks would be dropped. */
  readonly hasRoomAhead: (representation: Representation, offset: number) => boolean
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

const make = Effect.gen(function*() {
  const breaker = yield* DiskBreaker
  const index = yield* CacheIndex
  const memory = yield* MemoryTier
  const chunkMemory = yield* ChunkMemory
  const writer = yield* ChunkWriter
  const store = yield* ChunkStore
  const { share: shared } = SingleFlight.make<string, Uint8Array, CacheError>()

  const run = Effect.runForkWith(yield* Effect.context())
  const { owns } = yield* Fleet
  const admission = yield* makeMemoryAdmission
  const { failed, verifyBehind } = yield* makeUnreadable

  const lengthOf = ({ chunkSize, size }: Representation, { index }: ChunkKey): number => {
    const { end, start } = span(index, chunkSize, size)
    return end - start
  }

  /** The index behind the chunks from the one of `key` on that are there, at least `end` if all before that are. */
  const endOfStretch = (key: ChunkKey, end: number): number => {
    const onDisk = breaker.readable() ? index.firstMissing(key, end) : key.index
    return Math.max(onDisk, memory.firstMissing(key), writer.firstMissing(key))
  }

  const endOfCached = ({ chunkSize, id, resource }: Representation, { end, start }: ByteRange): number => {
    if (start === end) return end
    const last = indexAt(end - 1, chunkSize)
    let index = indexAt(start, chunkSize)
    // Each stretch goes as far as one of the places has it: there are few.
    while (index <= last) {
      const next = endOfStretch({ resource, representation: id, index }, last + 1)
      if (next === index) return Math.max(start, index * chunkSize)
      index = next
    }
    return end
  }

  const read = (key: ChunkKey, length: number, range: ByteRange, scratch?: Buffer) =>
    Effect.matchEffect(store.read(key, length, range, scratch), {
      onFailure: (error) => Effect.andThen(failed(key, error), Effect.fail(error)),
      onSuccess: (bytes) => {
        breaker.succeeded("read")
        return Effect.succeed(bytes)
      }
    })

  /** What to read of a chunk for `range`: all parts that it touches. */
  const partsOf = (representation: Representation, key: ChunkKey, { end, start }: ByteRange): ByteRange => ({
    start: partAt(start) * PART_BYTES,
    end: Math.min(lengthOf(representation, key), (partAt(end - 1) + 1) * PART_BYTES)
  })

  const countUse = (key: ChunkKey, { end, start }: ByteRange): void => {
    index.touch(key)
    admission.countUse(key, partAt(start), partAt(end - 1))
  }

  /** The bytes of `range` in those of `whole`, of which copies may be kept. */
  const take = (key: ChunkKey, { end, start }: ByteRange, whole: ByteRange, parts: Uint8Array): Uint8Array => {
    if (end - start <= SHORT_RANGE_BYTES) admission.keepParts(key, partAt(start), parts)
    return parts.subarray(start - whole.start, end - whole.start)
  }

  const rangeInMemory = (key: ChunkKey, { end, start }: ByteRange): ReadonlyArray<Uint8Array> | undefined => {
    // The disk brings back what is used of a chunk, part for part. So the chunk needn't stay whole for short ranges.
    const isEnough = end - start <= SHORT_RANGE_BYTES && index.has(key)
    const whole = (isEnough ? memory.peek(key) : memory.get(key)) ?? writer.pending(key)
    if (whole !== undefined) {
      // Nobody says when it has been sent.
      chunkMemory.forget(whole)
      return [whole.subarray(start, end)]
    }
    const pieces: Array<Uint8Array> = []
    for (let part = partAt(start); part <= partAt(end - 1); part++) {
      const bytes = memory.getPart(key, part)
      if (bytes === undefined) return undefined
      const from = part * PART_BYTES
      pieces.push(bytes.subarray(Math.max(start - from, 0), end - from))
    }
    return pieces
  }

  return ChunkCache.of({
    inMemory: (key) => {
      const payload = memory.get(key) ?? writer.pending(key)
      if (payload === undefined) return undefined
      countUse(key, { start: 0, end: payload.length })
      return payload
    },
    rangeInMemory: (key, range) => {
      const pieces = rangeInMemory(key, range)
      if (pieces === undefined) return undefined
      countUse(key, range)
      return pieces
    },
    has: (key) => memory.has(key) || writer.pending(key) !== undefined || (breaker.readable() && index.has(key)),
    hasAll: (representation, range) => endOfCached(representation, range) === range.end,
    endOfCached,
    isWorthMemory: (representation, key) => admission.isWorthMemory(key, lengthOf(representation, key)),
    read: (representation, key) => {
      const length = lengthOf(representation, key)
      const range = { start: 0, end: length }
      countUse(key, range)
      const whole = Effect.tap(
        read(key, length, range),
        (payload) => Effect.sync(() => memory.put(key, payload))
      )
      return shared(keyText(key), whole)
    },
    readRange: (representation, key, range, scratch) => {
      const whole = partsOf(representation, key, range)
      countUse(key, range)
      return Effect.map(
        read(key, lengthOf(representation, key), whole, scratch),
        (parts) => take(key, range, whole, parts)
      )
    },
    readShort: (representation, key, range, onEnd) => {
      const whole = partsOf(representation, key, range)
      countUse(key, range)
      store.readShort(key, lengthOf(representation, key), whole, (exit) => {
        if (Exit.isSuccess(exit)) {
          breaker.succeeded("read")
          const { bytes, release } = exit.value
          return onEnd({ bytes: take(key, range, whole, bytes), release })
        }
        const error = Option.getOrUndefined(Exit.findErrorOption(exit))
        if (error !== undefined) run(failed(key, error))
        onEnd(undefined)
      })
    },
    isOnDisk: (key) => breaker.readable() && index.has(key),
    keep: (representation, key, payload) => {
      memory.put(key, payload)
      if (index.has(key) || !owns(representation.url, key.index * representation.chunkSize)) return
      writer.offer(representation, key, payload)
    },
    isStoring: (representation, offset) =>
      breaker.unwritable() === undefined && writer.hasRoom(representation) && owns(representation.url, offset),
    hasRoomAhead: (representation, offset) =>
      breaker.unwritable() === undefined && !writer.isBehind() && owns(representation.url, offset),
    failed,
    verifyBehind,
    failure: breaker.unwritable,
    isBusy: store.isBusy
  })
})
