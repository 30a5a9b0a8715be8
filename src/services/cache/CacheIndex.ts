import { Clock, Context, Effect, Latch, Layer, Schedule, Semaphore, Stream } from "effect"
import type { CacheError } from "../../domain/CacheError.ts"
import { type ChunkKey, count, keyText, span } from "../../domain/Chunk.ts"
import type { Representation } from "../../domain/Representation.ts"
import type { LinkedList } from "../../effects/LinkedList.ts"
import { bytesOnDisk, ChunkStore, type StoredChunk, type StoredManifest } from "../disk/ChunkStore.ts"
import { DirectoryLock } from "../disk/DirectoryLock.ts"
import { DiskBreaker } from "../disk/DiskBreaker.ts"
import { scanStore } from "../disk/scanStore.ts"
import { Workers } from "../observe/Workers.ts"
import { ChunkMap } from "./ChunkMap.ts"
import { type Evictable, EvictionOrder } from "./EvictionOrder.ts"
import { Folders } from "./Folders.ts"
import * as RecentUses from "./recentUses.ts"
import * as Touches from "./touches.ts"

/**
 * What is on the disk, and in which order it was last used: kept in memory, so that asking costs nothing. It is read from
 * the store in the background at the start, and for a single resource as soon as somebody asks for it.
 */
export class CacheIndex extends Context.Service<CacheIndex, {
  /** Whether a chunk is on disk, as far as is known without asking it. */
  readonly has: (key: ChunkKey) => boolean
  /** The first index from the one of `key` on for which `has` is false. */
  readonly firstMissing: (key: ChunkKey) => number
  /** The indices of the chunks of a representation for which `has` is true, in order: from each `start` up to and without its `end`. */
  readonly stretches: (
    resource: string,
    representation: string
  ) => ReadonlyArray<readonly [start: number, end: number]>
  /** Whether any chunk of a resource is. */
  readonly hasResource: (resource: string) => boolean
  /** Whether it is known without the disk that nothing is kept of a resource. */
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
  /** Whether the manifest of a resource is on disk and holds, as far as is known. */
  readonly hasManifest: (resource: string) => boolean
  /** Takes note that the manifest of a resource was written, and takes so many bytes of the disk. */
  readonly setManifest: (resource: string, bytes: number) => void
  /** Takes note that the manifest of a resource holds no longer. */
  readonly revokeManifest: (resource: string) => void
  /** How much more the cache takes of the disk, in bytes, with another chunk of a resource besides the chunk's own, and a new manifest of so many. */
  readonly growth: (resource: string, manifest: number) => number
  /** What a resource takes of the disk, in bytes. */
  readonly bytesOf: (resource: string) => number
  /** Whether there is no other resource in the directory that a resource's is in. */
  readonly isAlone: (resource: string) => boolean
  /** A resource and its variants, as far as anything is known to be on disk of them. */
  readonly family: (resource: string) => ReadonlyArray<string>
  /** Resources that have a directory on disk, but no chunk, and are not pinned. */
  readonly hollow: () => ReadonlyArray<string>
  /** Puts the chunks of all other representations of the resource first in the line to be evicted. */
  readonly supersede: (resource: string, current: string) => void
  /** Enters what the store has of a representation, unless that was done before. */
  readonly load: (representation: Representation) => Effect.Effect<void, CacheError>
  /** Forgets the chunks of a resource that are not in the store any more. */
  readonly reconcile: (resource: string) => Effect.Effect<void, CacheError>
  /** Waits until all that the store had at the start is entered. */
  readonly loaded: Effect.Effect<void>
  /** The chunk to evict next: superseded before current, and then least recently used. Those of pinned resources are left out. */
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
  /** The pinned resources, also those of which no chunk is left. */
  readonly pinned: () => ReadonlyArray<string>
  /** Whether the chunks of a resource are kept from being evicted. */
  readonly isPinned: (resource: string) => boolean
  /** What pinned resources and chunks that cannot be removed take of the disk, in bytes. */
  readonly unevictableBytes: () => number
  /** Forgets all that there is of a resource, and that it was pinned. */
  readonly forget: (resource: string) => void
  /** Whether all that the store had at the start is entered. */
  readonly isLoaded: () => boolean
  /** Why the store can't be read, so that nobody knows what is on disk; `undefined` if the last try didn't fail. */
  readonly unreadable: () => CacheError | undefined
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
  /** What chunks, manifests and directories take of the disk, in bytes. */
  readonly bytes: () => number
  /** How many file nodes these take. */
  readonly nodes: () => number
  /** Runs one change of the disk at a time: a write and an eviction never meet in one directory. */
  readonly exclusively: <A, E, R>(change: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
}>()("spillway/services/cache/CacheIndex") {
  static readonly layer: Layer.Layer<CacheIndex, never, DiskBreaker | DirectoryLock | ChunkStore> = Layer.effect(
    CacheIndex,
    Effect.suspend(() => make)
  )
}

/** A chunk that is on disk, in one of the lines to be evicted. */
interface Indexed extends Evictable<Indexed>, RecentUses.Counted, Touches.Touched {
  readonly bytes: number
  /** Whether it is still counted, but is not to be read. */
  isCondemned: boolean
}

/** How long to wait before the start's reading of the store is tried again after a failure. */
const RETRY_INTERVAL = "2 seconds"

/** How many chunks the start's reading enters before others have their turn. */
const ENTERED_AT_ONCE = 1000

const make = Effect.gen(function*() {
  const store = yield* ChunkStore
  const breaker = yield* DiskBreaker
  const lock = yield* DirectoryLock
  const mutex = yield* Semaphore.make(1)
  const loaded = yield* Latch.make(false)
  const clock = yield* Clock.Clock
  const workers = yield* Workers

  const exclusively = <A, E, R>(change: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> => mutex.withPermit(change)

  const order = new EvictionOrder<Indexed>()
  const chunks = new ChunkMap<Indexed>()
  const recent = RecentUses.make()
  const folders = new Folders()
  const lastUsed = new Map<string, number>()
  const known = new Set<string>()
  let bytes = 0
  let chunkCount = 0

  const noteUse = (resource: string, at: number): void => {
    if (at > (lastUsed.get(resource) ?? 0)) lastUsed.set(resource, at)
  }

  const forget = (resource: string): void => {
    for (const { key } of chunks.of(resource)) remove(key)
    folders.remove(resource)
  }

  const remove = (key: ChunkKey): void => {
    const chunk = chunks.get(key)
    if (chunk === undefined) return
    workers.removed(key)
    chunk.line.remove(chunk)
    chunks.delete(key)
    bytes -= chunk.bytes
    chunkCount -= 1
    folders.removeChunk(key.resource)
    if (!chunks.hasResource(key.resource)) lastUsed.delete(key.resource)
  }

  const enter = (line: LinkedList<Indexed>, { bytes: size, key }: Omit<StoredChunk, "used">): void => {
    const before = chunks.get(key)
    // It has been written anew.
    if (before?.isCondemned) remove(key)
    else if (before !== undefined) return
    folders.addChunk(key.resource)
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
    const { keys, manifest, pinned: isPinned } = yield* store.contents(resource)
    if (known.has(resource)) return
    known.add(resource)
    if (isPinned) folders.pin(resource)
    for (const key of keys) {
      if (key.representation !== id || key.index >= count(size, chunkSize)) continue
      const { end, start } = span(key.index, chunkSize, size)
      enter(isPinned ? order.pinned : order.warm, { key, bytes: bytesOnDisk(end - start) })
    }
    folders.setManifest(resource, manifest)
    noteUse(resource, clock.currentTimeMillisUnsafe())
  })

  const unpin = (resource: string): void => {
    folders.unpin(resource)
    for (const chunk of chunks.of(resource)) if (chunk.line === order.pinned) order.move(chunk, order.warm)
  }

  const reconcile = Effect.fnUntraced(function*(resource: string) {
    const found = yield* store.contents(resource)
    const there = new Set(found.keys.map(keyText))
    for (const { key } of chunks.of(resource)) if (!there.has(keyText(key))) remove(key)
    if (!found.pinned) unpin(resource)
    if (found.keys.length + found.manifest.bytes === 0 && !found.pinned) forget(resource)
    else folders.setManifest(resource, found.manifest)
  })

  /** The representations of pinned resources: chunks of others are as any others. */
  const pinnedAtStart = new Map<string, string>()

  let unreadable: CacheError | undefined

  // The whole store. What was loaded in the meantime is entered already, and `enter` leaves it as it is.
  const manifests = new Map<string, StoredManifest>()
  const scan = scanStore(store, {
    exclusively,
    isAlone: (resource) => folders.isAlone(resource),
    manifest: (resource, found) => void manifests.set(resource, found),
    pinned: (resource, representation) => {
      folders.pin(resource)
      if (representation !== undefined) pinnedAtStart.set(resource, representation)
    },
    skipped: breaker.report
  }).pipe(
    Effect.flatMap(Effect.fnUntraced(function*(found) {
      for (let at = 0; at < found.length; at += ENTERED_AT_ONCE) {
        for (const chunk of found.slice(at, at + ENTERED_AT_ONCE)) {
          const { representation, resource } = chunk.key
          noteUse(resource, chunk.used)
          enter(pinnedAtStart.get(resource) === representation ? order.pinned : order.cold, chunk)
        }
        yield* Effect.yieldNow
      }
      for (const [resource, manifest] of manifests) folders.setManifest(resource, manifest)
      manifests.clear()
      unreadable = undefined
    })),
    Effect.tapError((error) => {
      unreadable = error
      return breaker.open(error)
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
    Stream.runForEach((takes) => takes === 0 && breaker.unwritable()?.errno === "LOCKED" ? Effect.void : reload),
    Effect.forkScoped
  )

  const touched = yield* Touches.make(store, breaker, noteUse)

  return CacheIndex.of({
    has: (key) => {
      const chunk = chunks.get(key)
      return chunk !== undefined && !chunk.isCondemned
    },
    firstMissing: (key) => chunks.firstMissing(key),
    stretches: (resource, representation) => chunks.stretches(resource, representation),
    hasResource: (resource) => chunks.hasResource(resource),
    hasNothingOf: (resource) => loaded.isOpen() && !chunks.hasResource(resource),
    touch: (key) => {
      const chunk = chunks.get(key)
      if (chunk === undefined || !order.isInUse(chunk)) return
      touched(chunk)
      order.move(chunk, chunk.line === order.pinned ? order.pinned : order.warm)
      recent.count(chunk)
    },
    uses: (key) => {
      const chunk = chunks.get(key)
      return chunk === undefined ? 0 : recent.of(chunk)
    },
    add: (key, bytes) => {
      enter(folders.isPinned(key.resource) ? order.pinned : order.warm, { key, bytes })
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
      folders.pin(resource)
      for (const chunk of chunks.of(resource)) {
        if (chunk.key.representation === representation && order.isInUse(chunk)) order.move(chunk, order.pinned)
      }
    },
    unpin,
    pinned: () => folders.pinned(),
    isPinned: (resource) => folders.isPinned(resource),
    unevictableBytes: () => order.unevictable().reduce((sum, { bytes }) => sum + bytes, folders.pinnedBytes()),
    forget,
    hasManifest: (resource) => folders.hasManifest(resource),
    setManifest: (resource, bytes) => folders.setManifest(resource, { bytes, isRevoked: false }),
    revokeManifest: (resource) => folders.revokeManifest(resource),
    growth: (resource, manifest) => folders.growth(resource, manifest),
    bytesOf: (resource) =>
      Array.from(chunks.of(resource), ({ bytes }) => bytes)
        .reduce((sum, bytes) => sum + bytes, folders.bytesOf(resource)),
    isAlone: (resource) => folders.isAlone(resource),
    family: (resource) => folders.family(resource),
    hollow: () => folders.hollow(),
    isLoaded: () => loaded.isOpen(),
    unreadable: () => unreadable,
    resources: () => chunks.resources(),
    chunksOf: (resource) => [...chunks.of(resource)],
    lastUsed: (resource) => lastUsed.get(resource) ?? 0,
    count: () => chunkCount,
    keys: () => Array.from(order, ({ key }) => key),
    bytes: () => bytes + folders.bytes,
    nodes: () => chunkCount + folders.nodes,
    exclusively
  })
})
