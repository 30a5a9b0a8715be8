import { Clock, Context, Effect, Latch, Layer, Option, Schedule, Semaphore, Stream } from "effect"
import type { CacheError } from "../domain/CacheError.ts"
import { type ChunkKey, count, keyText, span } from "../domain/Chunk.ts"
import type { Representation } from "../domain/Representation.ts"
import { CacheHealth } from "./CacheHealth.ts"
import { bytesOnDisk, ChunkStore, MANIFEST_BYTES, type StoredChunk } from "./ChunkStore.ts"

/**
 * What is on the disk, and in which order it was last used: kept in memory, so that asking costs nothing. It is read from
 * the store in the background at the start, and for a single resource as soon as somebody asks for it.
 */
export class CacheIndex extends Context.Service<CacheIndex, {
  readonly has: (key: ChunkKey) => boolean
  readonly hasResource: (resource: string) => boolean
  /** Whether the disk need not be asked to know that nothing is kept of a resource. */
  readonly hasNothingOf: (resource: string) => boolean
  /** Counts as a use. */
  readonly touch: (key: ChunkKey) => void
  /** Enters a chunk that was written just now. */
  readonly add: (key: ChunkKey, bytes: number) => void
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
  readonly oldest: () => StoredChunk | undefined
  /** Keeps the chunks of a representation, and those to come of the resource, from being evicted, until `unpin`. */
  readonly pin: (resource: string, representation: string) => void
  readonly unpin: (resource: string) => void
  readonly isPinned: (resource: string) => boolean
  /** What pinned resources take of the disk, in bytes. */
  readonly pinnedBytes: () => number
  /** Forgets all chunks of a resource, and that it was pinned. */
  readonly forget: (resource: string) => void
  readonly isLoaded: () => boolean
  readonly resources: () => ReadonlyArray<string>
  /** The chunks of a resource, in no order. */
  readonly chunksOf: (resource: string) => ReadonlyArray<StoredChunk>
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
  static readonly layer: Layer.Layer<CacheIndex, never, ChunkStore | CacheHealth> = Layer.effect(
    CacheIndex,
    Effect.suspend(() => make)
  )
}

type Queue = Map<string, StoredChunk>

/** How long to wait before the start's reading of the store is tried again after a failure. */
const RETRY_INTERVAL = "2 seconds"

/** How many files are asked about at a time at the start. */
const SCAN_CONCURRENCY = 4

/** How often the store is told which chunks were used. */
const TOUCH_INTERVAL = "1 minute"

/** How many chunks it is told of at a time; the order of others is lost at the end of the process. */
const TOUCHES = 10_000

const make = Effect.gen(function*() {
  const store = yield* ChunkStore
  const health = yield* CacheHealth
  const mutex = yield* Semaphore.make(1)
  const loaded = yield* Latch.make(false)
  const clock = yield* Clock.Clock

  // In the order of eviction; each Map in the order of use. `cold` is what was found at the start, the oldest first.
  const condemned: Queue = new Map()
  const superseded: Queue = new Map()
  const cold: Queue = new Map()
  const warm: Queue = new Map()
  const inTurn = [condemned, superseded, cold, warm]
  /** Those that are not evicted. */
  const pinned: Queue = new Map()
  const queues = [...inTurn, pinned]
  const pins = new Set<string>()
  const lastUsed = new Map<string, number>()
  const chunksOf = new Map<string, Map<string, StoredChunk>>()
  const known = new Set<string>()
  /** Chunks that were used since the store was last told. */
  const used = new Map<string, ChunkKey>()
  let bytes = 0

  const queueOf = (text: string) => queues.find((queue) => queue.has(text))

  const enter = (queue: Queue, chunk: StoredChunk): void => {
    const text = keyText(chunk.key)
    // It has been written anew.
    if (condemned.has(text)) remove(chunk.key)
    if (queueOf(text) !== undefined) return
    queue.set(text, chunk)
    bytes += chunk.bytes
    const siblings = chunksOf.get(chunk.key.resource)
    if (siblings === undefined) {
      chunksOf.set(chunk.key.resource, new Map([[text, chunk]]))
      bytes += MANIFEST_BYTES
    } else siblings.set(text, chunk)
  }

  const noteUse = (resource: string, at: number): void => {
    if (at > (lastUsed.get(resource) ?? 0)) lastUsed.set(resource, at)
  }

  const move = (from: Queue, to: Queue, text: string): void => {
    const chunk = from.get(text)
    if (chunk === undefined || !from.delete(text)) return
    to.set(text, chunk)
  }

  const remove = (key: ChunkKey): void => {
    const text = keyText(key)
    const queue = queueOf(text)
    if (queue === undefined) return
    bytes -= queue.get(text)!.bytes
    queue.delete(text)
    const siblings = chunksOf.get(key.resource)!
    siblings.delete(text)
    if (siblings.size > 0) return
    chunksOf.delete(key.resource)
    lastUsed.delete(key.resource)
    bytes -= MANIFEST_BYTES
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
      enter(isPinned ? pinned : warm, { key, bytes: bytesOnDisk(end - start), used: 0 })
    }
    noteUse(resource, clock.currentTimeMillisUnsafe())
  })

  const reconcile = Effect.fnUntraced(function*(resource: string) {
    const there = new Set((yield* store.list(resource)).map(keyText))
    for (const [text, { key }] of chunksOf.get(resource) ?? []) if (!there.has(text)) remove(key)
  })

  /** The representations of pinned resources: chunks of others are as any others. */
  const pinnedAtStart = new Map<string, string>()

  const readPin = (resource: string) =>
    Effect.map(store.readManifest(resource), (manifest) => {
      pins.add(resource)
      if (Option.isSome(manifest)) pinnedAtStart.set(resource, manifest.value.id)
    })

  // The whole store. What was loaded in the meantime is entered already, and `enter` leaves it as it is.
  yield* store.resources.pipe(
    Stream.mapEffect((resource) =>
      Effect.flatMap(store.contents(resource), ({ keys, pinned }) =>
        // Only a manifest, left by a process that ended before the first chunk was written.
        keys.length === 0
          ? Effect.as(Effect.ignore(store.removeResource(resource)), [])
          : Effect.andThen(
            pinned ? readPin(resource) : Effect.void,
            Effect.forEach(keys, (key) => store.stat(key), { concurrency: SCAN_CONCURRENCY })
          ))
    ),
    Stream.runCollect,
    Effect.tap((found) =>
      Effect.sync(() => {
        const chunks = found.flatMap((options) => options.flatMap(Option.toArray))
        for (const chunk of chunks.toSorted((a, b) => a.used - b.used)) {
          const { representation, resource } = chunk.key
          noteUse(resource, chunk.used)
          enter(pinnedAtStart.get(resource) === representation ? pinned : cold, chunk)
        }
      })
    ),
    Effect.tapError(health.report),
    Effect.retry(Schedule.spaced(RETRY_INTERVAL)),
    Effect.andThen(loaded.open),
    Effect.forkScoped
  )

  // The order of use is told to the store now and then, so that it survives a restart.
  yield* Effect.sleep(TOUCH_INTERVAL).pipe(
    Effect.andThen(Effect.suspend(() => {
      const keys = [...used.values()]
      used.clear()
      for (const { resource } of keys) noteUse(resource, clock.currentTimeMillisUnsafe())
      return health.unwritable() === undefined
        ? Effect.forEach(keys, (key) => Effect.ignore(store.touch(key)), { discard: true })
        : Effect.void
    })),
    Effect.forever,
    Effect.forkScoped
  )

  return CacheIndex.of({
    has: (key) => {
      const queue = queueOf(keyText(key))
      return queue !== undefined && queue !== condemned
    },
    hasResource: (resource) => chunksOf.has(resource),
    hasNothingOf: (resource) => loaded.isOpen() && !chunksOf.has(resource),
    touch: (key) => {
      const text = keyText(key)
      const queue = queueOf(text)
      if (queue !== cold && queue !== warm && queue !== pinned) return
      const chunk = queue.get(text)!
      if (used.size < TOUCHES) used.set(text, key)
      queue.delete(text)
      ;(queue === pinned ? pinned : warm).set(text, chunk)
    },
    add: (key, bytes) => {
      enter(pins.has(key.resource) ? pinned : warm, { key, bytes, used: 0 })
      noteUse(key.resource, clock.currentTimeMillisUnsafe())
    },
    remove,
    condemn: (key) => {
      const text = keyText(key)
      const queue = queueOf(text)
      const chunk = queue?.get(text)
      if (chunk === undefined) return
      queue!.delete(text)
      condemned.set(text, chunk)
    },
    supersede: (resource, current) => {
      for (const [text, chunk] of chunksOf.get(resource) ?? []) {
        if (chunk.key.representation === current || condemned.has(text)) continue
        queueOf(text)!.delete(text)
        superseded.set(text, chunk)
      }
    },
    load: (representation) => loaded.isOpen() ? Effect.void : load(representation),
    reconcile,
    loaded: loaded.await,
    oldest: () => {
      for (const queue of inTurn) for (const chunk of queue.values()) return chunk
      return undefined
    },
    pin: (resource, representation) => {
      pins.add(resource)
      for (const [text, { key }] of chunksOf.get(resource) ?? []) {
        if (key.representation !== representation) continue
        move(cold, pinned, text)
        move(warm, pinned, text)
      }
    },
    unpin: (resource) => {
      pins.delete(resource)
      for (const text of chunksOf.get(resource)?.keys() ?? []) move(pinned, warm, text)
    },
    isPinned: (resource) => pins.has(resource),
    pinnedBytes: () => [...pinned.values()].reduce((sum, { bytes }) => sum + bytes, pins.size * MANIFEST_BYTES),
    forget: (resource) => {
      pins.delete(resource)
      for (const { key } of chunksOf.get(resource)?.values() ?? []) remove(key)
    },
    isLoaded: () => loaded.isOpen(),
    resources: () => [...chunksOf.keys()],
    chunksOf: (resource) => [...chunksOf.get(resource)?.values() ?? []],
    lastUsed: (resource) => lastUsed.get(resource) ?? 0,
    count: () => queues.reduce((sum, { size }) => sum + size, 0),
    keys: () => queues.flatMap((queue) => Array.from(queue.values(), ({ key }) => key)),
    bytes: () => bytes,
    exclusively: (change) => mutex.withPermit(change)
  })
})
