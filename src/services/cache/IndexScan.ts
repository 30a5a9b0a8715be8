import { Clock, Context, Duration, Effect, FiberHandle, Latch, Layer, Option, Schedule, Stream } from "effect"
import type { CacheError } from "../../domain/CacheError.ts"
import { type ChunkKey, count, keyText, span } from "../../domain/Chunk.ts"
import type { Representation } from "../../domain/Representation.ts"
import { bytesOnDisk, chunksIn, ChunkStore, type CompactResource } from "../disk/ChunkStore.ts"
import { DirectoryLock } from "../disk/DirectoryLock.ts"
import { DiskBreaker } from "../disk/DiskBreaker.ts"
import { type FoundResource, scanStore } from "../disk/scanStore.ts"
import { CacheIndex } from "./CacheIndex.ts"
import { WriteLock } from "./WriteLock.ts"

/**
 * Fills `CacheIndex` from the store: in the background, at the start and whenever the directory lock is taken again, and at
 * once for a single resource that a request needs. Names tell which chunks there are, and a few files of each resource how large they are
 * and when it was last used. When chunks were last used is found out afterwards, file by file.
 */
export class IndexScan extends Context.Service<IndexScan, {
  /** Enters what the store has of a representation, unless that was done before. */
  readonly load: (representation: Representation) => Effect.Effect<void, CacheError>
  /** Forgets the chunks of a resource that are no longer in the store. */
  readonly reconcile: (resource: string) => Effect.Effect<void, CacheError>
  /** Waits until everything that the store had at the start is entered. */
  readonly loaded: Effect.Effect<void>
  /** Whether everything that the store had at the start is entered. */
  readonly isLoaded: () => boolean
  /** Whether a scan was completed, and skipped nothing that is still to be read. */
  readonly isComplete: () => boolean
  /** Why the store can't be read, so that nobody knows what is on disk; `undefined` if the last try didn't fail. */
  readonly unreadable: () => CacheError | undefined
  /** Whether the index alone can say that no chunk of a resource is on disk. */
  readonly hasNothingOf: (resource: string) => boolean
}>()("spillway/services/cache/IndexScan") {
  static readonly layer: Layer.Layer<
    IndexScan,
    never,
    CacheIndex | DiskBreaker | DirectoryLock | ChunkStore | WriteLock
  > = Layer.effect(IndexScan, Effect.suspend(() => make))
}

/** The pause before a scan that failed is tried again. */
const RETRY_INTERVAL = "2 seconds"

/** The pauses before what a scan has skipped is read again: the first one, and the longest. Each is twice as long as the one before. */
const SKIPPED_INTERVAL = { shortest: Duration.seconds(2), longest: Duration.minutes(10) }

/** How many chunks a scan enters before other fibers have their turn. */
const ENTERED_AT_ONCE = 1000

/** How many chunks are dated at a time. */
const DATED_AT_ONCE = 4

/** Scans the whole store. What was loaded in the meantime is entered already, and stays as it is. */
const makeScan = Effect.gen(function*() {
  const store = yield* ChunkStore
  const breaker = yield* DiskBreaker
  const index = yield* CacheIndex
  const { withWriteLock } = yield* WriteLock
  let unreadable: CacheError | undefined
  /** The resources of which the last scan skipped something; `undefined` for a directory of several. */
  const skipped = new Set<string | undefined>()

  const enterCompact = (compact: CompactResource, line: "cold" | "pinned"): void => {
    index.enter(compact.key, compact.bytes, line, compact)
    index.noteUse(compact.key.resource, compact.used)
  }

  const enter = Effect.fnUntraced(function*({ chunks, compact, manifest, pin, resource }: FoundResource) {
    // Only the chunks of the current representation are pinned.
    const lineOf = (representation: string) => pin?.representation === representation ? "pinned" : "cold"
    if (pin !== undefined) index.pin(resource)
    if (compact !== undefined) enterCompact(compact, lineOf(compact.key.representation))
    for (const { bytes, indices, lastBytes, representation, used } of chunks) {
      const last = indices.length - 1
      for (const [at, chunk] of indices.entries()) {
        const key = { resource, representation, index: chunk }
        index.enter(key, at === last ? lastBytes : bytes, lineOf(representation))
        if ((at + 1) % ENTERED_AT_ONCE === 0) yield* Effect.yieldNow
      }
      index.noteUse(resource, used)
    }
    if (chunks.length > 0) index.setManifest(resource, manifest.bytes, manifest.isRevoked)
  })

  const arrange = Effect.gen(function*() {
    for (const _ of index.arrange()) yield* Effect.yieldNow
  })

  const scan = scanStore(store, {
    withWriteLock,
    isAlone: index.isAlone,
    found: enter,
    skipped: (error, resource) => {
      skipped.add(resource)
      return breaker.report(error)
    }
  }).pipe(
    Effect.andThen(arrange),
    Effect.map(() => void (unreadable = undefined)),
    Effect.tapError((error) => {
      unreadable = error
      return breaker.open(error)
    }),
    Effect.retry(Schedule.spaced(RETRY_INTERVAL))
  )

  /** Enters the chunks of a resource that aren't in the index. */
  const enterRest = Effect.fnUntraced(function*(resource: string) {
    const { compact, keys, manifest, pinned } = yield* store.contents(resource)
    if (pinned) index.pin(resource)
    const missing = keys.filter((key) => !index.holds(key))
    const stats = yield* Effect.forEach(missing, store.stat)
    const line = pinned ? "pinned" : "cold"
    if (compact !== undefined) enterCompact(compact, line)
    for (const { bytes, key, used } of stats.flatMap(Option.toArray)) {
      index.enter(key, bytes, line)
      index.noteUse(resource, used)
    }
    if (keys.length > 0) index.setManifest(resource, manifest.bytes, manifest.isRevoked)
  })

  const unknown = Effect.suspend(() => {
    let isComplete = true
    const incomplete = () => Effect.sync(() => void (isComplete = false))
    return store.resources(incomplete).pipe(
      Stream.map(({ resource }) => resource),
      Stream.filter((resource) => !index.hasResource(resource)),
      Stream.runCollect,
      Effect.map((resources) => {
        if (isComplete) skipped.delete(undefined)
        for (const resource of resources) skipped.add(resource)
      })
    )
  })

  /** Reads again what the last scan skipped, until nothing is left of it. The cache would exceed its limit by what isn't counted. */
  const enterSkipped = Effect.gen(function*() {
    let pause = SKIPPED_INTERVAL.shortest
    while (skipped.size > 0) {
      yield* Effect.sleep(pause)
      pause = Duration.min(Duration.times(pause, 2), SKIPPED_INTERVAL.longest)
      if (skipped.has(undefined)) yield* Effect.ignore(unknown)
      for (const resource of skipped) {
        if (resource === undefined) continue
        const entered = Effect.map(enterRest(resource), () => void skipped.delete(resource))
        yield* Effect.ignore(withWriteLock(entered))
      }
    }
  })

  const date = (key: ChunkKey) =>
    Effect.matchEffect(store.stat(key), {
      // A viewer who needs it will find out.
      onFailure: () => Effect.void,
      onSuccess: (found) =>
        Effect.sync(() => {
          if (Option.isSome(found)) index.date(key, found.value.bytes, found.value.used)
        })
    })

  /** Examines each chunk that nobody has used meanwhile, and puts them into the order of their last uses. */
  const dateAll = Effect.gen(function*() {
    for (const resource of index.resources()) {
      if (!breaker.readable()) return
      yield* Effect.forEach(index.coldChunksOf(resource), date, { concurrency: DATED_AT_ONCE, discard: true })
    }
    yield* arrange
  })

  return { dateAll, enterSkipped, hasSkipped: () => skipped.size > 0, scan, unreadable: () => unreadable }
})

const make = Effect.gen(function*() {
  const store = yield* ChunkStore
  const breaker = yield* DiskBreaker
  const lock = yield* DirectoryLock
  const clock = yield* Clock.Clock
  const index = yield* CacheIndex
  const { withWriteLock } = yield* WriteLock
  const loaded = yield* Latch.make(false)
  const { dateAll, enterSkipped, hasSkipped, scan, unreadable } = yield* makeScan
  const known = new Set<string>()
  const rest = yield* FiberHandle.make()

  // The manifest says how long the chunks are, so only a directory has to be read.
  const load = Effect.fnUntraced(function*({ chunkSize, id, resource, size }: Representation) {
    if (known.has(resource)) return
    const { compact, keys, manifest, pinned: isPinned } = yield* store.contents(resource)
    if (known.has(resource)) return
    known.add(resource)
    if (isPinned) index.pin(resource)
    for (const key of keys) {
      if (key.representation !== id || key.index >= count(size, chunkSize)) continue
      const { end, start } = span(key.index, chunkSize, size)
      index.enter(key, bytesOnDisk(end - start), isPinned ? "pinned" : "warm")
    }
    if (compact !== undefined) index.enter(compact.key, compact.bytes, isPinned ? "pinned" : "warm", compact)
    if (keys.length + manifest.bytes > 0) index.setManifest(resource, manifest.bytes, manifest.isRevoked)
    index.noteUse(resource, clock.currentTimeMillisUnsafe())
  })

  const reconcile = Effect.fnUntraced(function*(resource: string) {
    const contents = yield* store.contents(resource)
    const { keys, manifest, pinned: isPinned } = contents
    const there = new Set(chunksIn(contents).map(keyText))
    for (const { key } of index.chunksOf(resource)) if (!there.has(keyText(key))) index.remove(key)
    if (!isPinned) index.unpin(resource)
    if (there.size + manifest.bytes === 0 && !isPinned) index.forget(resource)
    else if (keys.length + manifest.bytes > 0) index.setManifest(resource, manifest.bytes, manifest.isRevoked)
  })

  /** Nothing is written until it is known what is there. */
  const reload = Effect.gen(function*() {
    yield* loaded.close
    yield* FiberHandle.clear(rest)
    known.clear()
    const before = index.resources()
    yield* scan
    yield* Effect.forEach(before, (resource) => Effect.ignore(withWriteLock(reconcile(resource))), { discard: true })
    yield* loaded.open
    yield* FiberHandle.run(rest, Effect.all([enterSkipped, dateAll], { concurrency: "unbounded", discard: true }))
  })

  // Another process may have used the directory since the lock was last held, and may be doing so now.
  yield* lock.takes.pipe(
    Stream.runForEach((takes) => takes === 0 && breaker.unwritable()?.errno === "LOCKED" ? Effect.void : reload),
    Effect.forkScoped
  )

  return IndexScan.of({
    load: (representation) => loaded.isOpen() ? Effect.void : load(representation),
    reconcile,
    loaded: loaded.await,
    isLoaded: () => loaded.isOpen(),
    isComplete: () => loaded.isOpen() && !hasSkipped(),
    unreadable,
    hasNothingOf: (resource) => loaded.isOpen() && !index.hasResource(resource)
  })
})
