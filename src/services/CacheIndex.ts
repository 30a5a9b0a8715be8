import { Clock, Context, type Duration, Effect, Latch, Layer, Schedule, Semaphore, Stream } from "effect"
import type { CacheError } from "../domain/CacheError.ts"
import { type ChunkKey, count, keyText, span } from "../domain/Chunk.ts"
import type { Representation } from "../domain/Representation.ts"
import { CacheHealth } from "./CacheHealth.ts"
import { CacheLock } from "./CacheLock.ts"
import { ChunkMap } from "./ChunkMap.ts"
import { bytesOnDisk, ChunkStore, MANIFEST_BYTES, type StoredChunk } from "./ChunkStore.ts"
import { type Evictable, EvictionOrder } from "./EvictionOrder.ts"
import { keepRunning } from "./keepRunning.ts"
import type { Line } from "./Line.ts"
import * as RecentUses from "./recentUses.ts"
import { scanStore } from "./scanStore.ts"
import { Workers } from "./Workers.ts"

/**
 * What is on the disk, and in which order it was last used: kept in memory, so that asking costs nothing. It is read from
 * the store in the background at the start, and for a single resource as soon as somebody asks for it.
 */
export class CacheIndex extends Context.Service<CacheIndex, {
  /** Whether a chunk is on disk, as far as is known without asking it. */
  readonly has: (key: ChunkKey) => boolean
  /** The first index from the one of `key` on for which `has` is false. */
  readonly firstMissing: (key: ChunkKey) => number
  /** Whether any chunk of a resource is. */
  readonly hasResource: (resource: string) => boolean
  /** Whether the disk need not be asked to know that nothing is kept of a resource. */
  readonly hasNothingOf: (resource: string) => boolean
  /** Counts as a use. */
  readonly touch: (key: ChunkKey) => void
  /** How often a chunk was used lately: older uses count for half, and for half again, with every era (`recentUses`). */
  readonly uses: (key: ChunkKey) => number
  /** Enters a chunk that was written just now. */
  readonly add: (key: ChunkKey, bytes: number) => void
  /** Takes out a chunk that is no longer on disk; one that is not there is no error. */
  readonly remove: (key: ChunkKey) => void
  /** Says no more that a chunk is there, and counts it until it is removed: it goes before all others. */
  readonly condemn: (key: ChunkKey) => void
  /** Puts the chunks of all other representations of the resource first in the line to be evicted. */
  readonly supersede: (resource: string, current: string) => void
  /** Enters what the store has of a representation, unless that was done before. */
  readonly load: (representation: Representation) => Effect.Effect<void, CacheError>
  /** Forgets the chunks of a resource that are not in the store any more. */
  readonly reconcile: (resource: string) => Effect.Effect<void, CacheError>
  /** Waits until all that the store had at the start is entered. */
  readonly loaded: Effect.Effect<void>
  /** The chunk to evict next: superseded before current, and then least recently used. Those of pinned resources are none. */
  readonly oldest: () => ChunkKey | undefined
  /**
   * Sets a chunk aside that cannot be removed: it still counts, and `oldest` passes it over until `retryRemovals`. `false` when
   * too many are set aside already.
   */
  readonly setAside: (key: ChunkKey) => boolean
  /** Puts the chunks that were set aside first in the line to be evicted. */
  readonly retryRemovals: () => void
  /** Keeps the chunks of a representation, and those to come of the resource, from being evicted, until `unpin`. */
  readonly pin: (resource: string, representation: string) => void
  /** Lets the chunks of a resource be evicted again. */
  readonly unpin: (resource: string) => void
  /** Whether the chunks of a resource are kept from being evicted. */
  readonly isPinned: (resource: string) => boolean
  /** What pinned resources and chunks that cannot be removed take of the disk, in bytes. */
  readonly unevictableBytes: () => number
  /** Forgets all chunks of a resource, and that it was pinned. */
  readonly forget: (resource: string) => void
  /** Whether all that the store had at the start is entered. */
  readonly isLoaded: () => boolean
  /** The resources of which anything is on disk, as far as is known. */
  readonly resources: () => ReadonlyArray<string>
  /** The chunks of a resource, in no order. */
  readonly chunksOf: (resource: string) => ReadonlyArray<Pick<StoredChunk, "bytes" | "key">>
  /** When a chunk of the resource was last used, to the minute, in milliseconds since 1970; 0 where that is not known. */
  readonly lastUsed: (resource: string) => number
  /** How many chunks there are. */
  readonly count: () => number
  /** All chunks, as of now. */
  readonly keys: () => ReadonlyArray<ChunkKey>
  /** What chunks and manifests take of the disk, in bytes. */
  readonly bytes: () => number
  /** Runs one change of the disk at a time: a write and an eviction never meet in one directory. */
  readonly exclusively: <A, E, R>(change: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
}>()("spillway/services/CacheIndex") {
  static readonly layer: Layer.Layer<CacheIndex, never, CacheHealth | CacheLock | ChunkStore> = Layer.effect(
    CacheIndex,
    Effect.suspend(() => make)
  )
}

/** A chunk that is on disk, in one of the lines to be evicted. */
interface Indexed extends Evictable<Indexed>, RecentUses.Counted {
  readonly key: ChunkKey
  readonly bytes: number
  /** Whether it is still counted, but is not to be read. */
  isCondemned: boolean
  /** Whether it was used since the store was last told. */
  isUsed: boolean
}

/** How long to wait before the start's reading of the store is tried again after a failure. */
const RETRY_INTERVAL = "2 seconds"

/** How often the store is told which chunks were used. */
export const TouchInterval = Context.Reference<Duration.Input>("spillway/services/CacheIndex/TouchInterval", {
  defaultValue: () => "1 minute"
})

/** How many chunks it is told of at a time; the order of others is lost at the end of the process. */
const TOUCHES = 10_000

const make = Effect.gen(function*() {
  const store = yield* ChunkStore
  const health = yield* CacheHealth
  const lock = yield* CacheLock
  const mutex = yield* Semaphore.make(1)
  const loaded = yield* Latch.make(false)
  const clock = yield* Clock.Clock
  const workers = yield* Workers

  const exclusively = <A, E, R>(change: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> => mutex.withPermit(change)

  const order = new EvictionOrder<Indexed>()
  const chunks = new ChunkMap<Indexed>()
  const recent = RecentUses.make()
  const pins = new Set<string>()
  const lastUsed = new Map<string, number>()
  const known = new Set<string>()
  /** Chunks that were used since the store was last told. */
  let used: Array<Indexed> = []
  let bytes = 0
  let chunkCount = 0

  const noteUse = (resource: string, at: number): void => {
    if (at > (lastUsed.get(resource) ?? 0)) lastUsed.set(resource, at)
  }

  const remove = (key: ChunkKey): void => {
    const chunk = chunks.get(key)
    if (chunk === undefined) return
    workers.removed(key)
    chunk.line.remove(chunk)
    chunks.delete(key)
    bytes -= chunk.bytes
    chunkCount -= 1
    if (chunks.hasResource(key.resource)) return
    lastUsed.delete(key.resource)
    bytes -= MANIFEST_BYTES
  }

  const enter = (line: Line<Indexed>, { bytes: size, key }: Omit<StoredChunk, "used">): void => {
    const before = chunks.get(key)
    // It has been written anew.
    if (before?.isCondemned) remove(key)
    else if (before !== undefined) return
    if (!chunks.hasResource(key.resource)) bytes += MANIFEST_BYTES
    bytes += size
    chunkCount += 1
    const chunk: Indexed = {
      key,
      bytes: size,
      line,
      isCondemned: false,
      isUsed: false,
      uses: 0,
      era: 0,
      before: undefined,
      behind: undefined
    }
    line.push(chunk)
    chunks.set(key, chunk)
  }

  // The manifest tells how long the chunks are, so that nothing but a directory need be read.
  const load = Effect.fnUntraced(function*({ chunkSize, id, resource, size }: Representation) {
    if (known.has(resource)) return
    const { keys, pinned: isPinned } = yield* store.contents(resource)
    if (known.has(resource)) return
    known.add(resource)
    if (isPinned) pins.add(resource)
    for (const key of keys) {
      if (key.representation !== id || key.index >= count(size, chunkSize)) continue
      const { end, start } = span(key.index, chunkSize, size)
      enter(isPinned ? order.pinned : order.warm, { key, bytes: bytesOnDisk(end - start) })
    }
    noteUse(resource, clock.currentTimeMillisUnsafe())
  })

  const unpin = (resource: string): void => {
    pins.delete(resource)
    for (const chunk of chunks.of(resource)) if (chunk.line === order.pinned) order.move(chunk, order.warm)
  }

  const reconcile = Effect.fnUntraced(function*(resource: string) {
    const found = yield* store.contents(resource)
    const there = new Set(found.keys.map(keyText))
    for (const { key } of chunks.of(resource)) if (!there.has(keyText(key))) remove(key)
    if (!found.pinned) unpin(resource)
  })

  /** The representations of pinned resources: chunks of others are as any others. */
  const pinnedAtStart = new Map<string, string>()

  // Nothing can be kept until it is known what is there.
  let unreadable: CacheError | undefined
  health.require(() => unreadable)

  // The whole store. What was loaded in the meantime is entered already, and `enter` leaves it as it is.
  const scan = scanStore(store, {
    exclusively,
    pinned: (resource, representation) => {
      pins.add(resource)
      if (representation !== undefined) pinnedAtStart.set(resource, representation)
    },
    skipped: health.report
  }).pipe(
    Effect.map((found) => {
      for (const chunk of found) {
        const { representation, resource } = chunk.key
        noteUse(resource, chunk.used)
        enter(pinnedAtStart.get(resource) === representation ? order.pinned : order.cold, chunk)
      }
      unreadable = undefined
    }),
    Effect.tapError((error) => {
      unreadable = error
      return health.open(error)
    }),
    Effect.retry(Schedule.spaced(RETRY_INTERVAL))
  )

  /** Nothing is written until it is known what is there. */
  const reload = Effect.gen(function*() {
    yield* loaded.close
    known.clear()
    const before = chunks.resources()
    yield* scan
    yield* Effect.forEach(before, (resource) => Effect.ignore(exclusively(reconcile(resource))), { discard: true })
    yield* loaded.open
  })

  // Another process may have used the directory since the lock was last held, and may be doing so now.
  yield* lock.takes.pipe(
    Stream.runForEach((takes) => takes === 0 && health.unwritable()?.errno === "LOCKED" ? Effect.void : reload),
    Effect.forkScoped
  )

  // The order of use is told to the store now and then, so that it survives a restart.
  yield* Effect.sleep(yield* TouchInterval).pipe(
    Effect.andThen(Effect.suspend(() => {
      const keys = used.map((chunk) => {
        chunk.isUsed = false
        return chunk.key
      })
      used = []
      for (const { resource } of keys) noteUse(resource, clock.currentTimeMillisUnsafe())
      return health.readable()
        ? Effect.forEach(keys, (key) => Effect.ignore(store.touch(key)), { discard: true })
        : Effect.void
    })),
    keepRunning("CacheIndex")
  )

  return CacheIndex.of({
    has: (key) => {
      const chunk = chunks.get(key)
      return chunk !== undefined && !chunk.isCondemned
    },
    firstMissing: (key) => chunks.firstMissing(key),
    hasResource: (resource) => chunks.hasResource(resource),
    hasNothingOf: (resource) => loaded.isOpen() && !chunks.hasResource(resource),
    touch: (key) => {
      const chunk = chunks.get(key)
      if (chunk === undefined || !order.isInUse(chunk)) return
      if (!chunk.isUsed && used.length < TOUCHES) {
        chunk.isUsed = true
        used.push(chunk)
      }
      order.move(chunk, chunk.line === order.pinned ? order.pinned : order.warm)
      recent.count(chunk)
    },
    uses: (key) => {
      const chunk = chunks.get(key)
      return chunk === undefined ? 0 : recent.of(chunk)
    },
    add: (key, bytes) => {
      enter(pins.has(key.resource) ? order.pinned : order.warm, { key, bytes })
      workers.added(key, bytes)
      noteUse(key.resource, clock.currentTimeMillisUnsafe())
    },
    remove,
    condemn: (key) => {
      const chunk = chunks.get(key)
      if (chunk === undefined) return
      workers.removed(key)
      chunk.isCondemned = true
      order.condemn(chunk)
      chunks.hide(key)
    },
    supersede: (resource, current) => {
      for (const chunk of chunks.of(resource)) {
        if (chunk.key.representation !== current && order.isInUse(chunk)) order.move(chunk, order.superseded)
      }
    },
    load: (representation) => loaded.isOpen() ? Effect.void : load(representation),
    reconcile,
    loaded: loaded.await,
    oldest: () => order.first()?.key,
    setAside: (key) => {
      const chunk = chunks.get(key)
      return chunk !== undefined && order.setAside(chunk)
    },
    retryRemovals: () => order.retryRemovals(),
    pin: (resource, representation) => {
      pins.add(resource)
      for (const chunk of chunks.of(resource)) {
        if (chunk.key.representation === representation && order.isInUse(chunk)) order.move(chunk, order.pinned)
      }
    },
    unpin,
    isPinned: (resource) => pins.has(resource),
    unevictableBytes: () => order.unevictable().reduce((sum, { bytes }) => sum + bytes, pins.size * MANIFEST_BYTES),
    forget: (resource) => {
      pins.delete(resource)
      for (const { key } of chunks.of(resource)) remove(key)
    },
    isLoaded: () => loaded.isOpen(),
    resources: () => chunks.resources(),
    chunksOf: (resource) => [...chunks.of(resource)],
    lastUsed: (resource) => lastUsed.get(resource) ?? 0,
    count: () => chunkCount,
    keys: () => Array.from(order, ({ key }) => key),
    bytes: () => bytes,
    exclusively
  })
})
