import { Clock, Context, Effect, Layer } from "effect"
import type { ChunkKey } from "../../domain/Chunk.ts"
import { ChunkTable } from "../../domain/ChunkTable.ts"
import { ResourceTable } from "../../domain/ResourceTable.ts"
import { Column } from "../../effects/Column.ts"
import { highest } from "../../effects/highest.ts"
import type { ChunkStore, CompactResource, StoredChunk } from "../disk/ChunkStore.ts"
import type { DiskBreaker } from "../disk/DiskBreaker.ts"
import { EvictionOrder, type Line } from "./EvictionOrder.ts"
import { EvictionPolicy } from "./EvictionPolicy.ts"
import { type Addition, Folders } from "./Folders.ts"
import * as Touches from "./touches.ts"

/**
 * What is on disk, and in which order it was last used. It is kept in memory, so that asking costs nothing. `IndexScan` fills it
 * from the store.
 */
export class CacheIndex extends Context.Service<CacheIndex, {
  /** Whether a chunk is known to be on disk. */
  readonly has: (key: ChunkKey) => boolean
  /** The first index, starting at that of `key`, for which `has` is false; or `end` if that comes first. */
  readonly firstMissing: (key: ChunkKey, end?: number) => number
  /** The chunks of a representation for which `has` is true, as ordered stretches of indices; `end` is exclusive. */
  readonly stretches: (
    resource: string,
    representation: string
  ) => ReadonlyArray<readonly [start: number, end: number]>
  /** Whether any chunk of a resource is known to be on disk. */
  readonly hasResource: (resource: string) => boolean
  /** Whether any chunk of a representation is known to be on disk. */
  readonly hasRepresentation: (resource: string, representation: string) => boolean
  /** Counts a use of a chunk. */
  readonly touch: (key: ChunkKey) => void
  /** Adds a chunk that was written just now, `isCompact` if its resource is. */
  readonly add: (key: ChunkKey, bytes: number, isCompact?: boolean) => void
  /** Adds a chunk that was found on disk to a line of `EvictionOrder`. A chunk that is there already stays as it is. */
  readonly enter: (
    key: ChunkKey,
    bytes: number,
    line: "cold" | "warm" | "pinned",
    compact?: Pick<CompactResource, "isRevoked">
  ) => void
  /**
   * Corrects the size of a chunk that a scan has found and nobody has used, in bytes, and records when it was last used, in milliseconds
   * since 1970.
   */
  readonly date: (key: ChunkKey, bytes: number, used: number) => void
  /**
   * Puts the chunks that scans have found and nobody has used into the order of use: by the dates that `date` recorded, which it forgets,
   * and without one by the last use of their resource. Each step of the generator is short.
   */
  readonly arrange: () => Generator<void>
  /** Removes a chunk that is no longer on disk. Does nothing for an unknown chunk. */
  readonly remove: (key: ChunkKey) => void
  /** Hides a chunk, as if it were missing, and evicts it before all others. It is counted until it is removed. */
  readonly condemn: (key: ChunkKey) => void
  /** Whether a chunk is counted, even if it must not be read. */
  readonly holds: (key: ChunkKey) => boolean
  /** The chunk of a resource that is compact: the only one, in a file with the manifest. */
  readonly compactChunk: (resource: string) => ChunkKey | undefined
  /** Whether a resource has chunks or a manifest in files of their own. */
  readonly hasFolder: (resource: string) => boolean
  /** Whether a valid manifest of a resource is known to be on disk. */
  readonly hasManifest: (resource: string) => boolean
  /** Records the manifest of a resource, and how much of the disk it takes, in bytes. */
  readonly setManifest: (resource: string, bytes: number, isRevoked?: boolean) => void
  /** Records that the manifest of a resource is no longer valid. */
  readonly revokeManifest: (resource: string) => void
  /** How much all of this takes of the disk besides the files of the chunks, in bytes. Name each resource once. */
  readonly growth: (additions: Iterable<Addition>) => number
  /** What a resource takes of the disk, in bytes. */
  readonly bytesOf: (resource: string) => number
  /** Whether the directory that contains a resource's directory contains no other. */
  readonly isAlone: (resource: string) => boolean
  /** A resource and its variants, as far as they are known to be on disk. */
  readonly family: (resource: string) => ReadonlyArray<string>
  /** Resources that have a directory on disk, but no chunk, and are not pinned. */
  readonly hollow: () => ReadonlyArray<string>
  /** Evicts the chunks of all other representations of a resource before those in use. */
  readonly supersede: (resource: string, current: string) => void
  /** The chunk to evict next: superseded before current, then as `EvictionPolicy` chooses. Chunks of pinned resources are exempt. */
  readonly oldest: () => ChunkKey | undefined
  /**
   * Sets a chunk aside that cannot be removed. It still counts, and `oldest` skips it until `retryRemovals`. Returns `false` if too
   * many are set aside already.
   */
  readonly setAside: (key: ChunkKey) => boolean
  /** Moves the chunks that were set aside to the head of the eviction order. */
  readonly retryRemovals: () => void
  /** Protects the chunks of a representation, and future chunks of its resource, from eviction until `unpin`. */
  readonly pin: (resource: string, representation?: string) => void
  /** Allows the chunks of a resource to be evicted again. */
  readonly unpin: (resource: string) => void
  /** The pinned resources, including those without a chunk. */
  readonly pinned: () => ReadonlyArray<string>
  /** Whether a resource is pinned. */
  readonly isPinned: (resource: string) => boolean
  /** What pinned resources and chunks that cannot be removed take of the disk, in bytes. */
  readonly unevictableBytes: () => number
  /** Removes a resource with its chunks and its pin. */
  readonly forget: (resource: string) => void
  /** Records that a resource that has chunks was used, at a time in milliseconds since 1970. */
  readonly noteUse: (resource: string, at: number) => void
  /** The resources that have chunks, as far as is known. */
  readonly resources: () => ReadonlyArray<string>
  /** Those that were used last, the last one first, at most `limit`. */
  readonly recent: (limit: number) => ReadonlyArray<string>
  /** The chunks of a resource that scans have found and nobody has used, unordered. */
  readonly coldChunksOf: (resource: string) => ReadonlyArray<ChunkKey>
  /** The chunks of a resource, unordered. */
  readonly chunksOf: (resource: string) => ReadonlyArray<Pick<StoredChunk, "bytes" | "key">>
  /** When a chunk of the resource was last used, to the minute, in milliseconds since 1970; 0 if unknown. */
  readonly lastUsed: (resource: string) => number
  /** How many chunks there are. */
  readonly count: () => number
  /** How many resources have chunks. */
  readonly resourceCount: () => number
  /** All chunks, in no order. One that is added or removed meanwhile may be among them. */
  readonly keys: () => IterableIterator<ChunkKey>
  /** What chunks, manifests and directories take of the disk, in bytes. */
  readonly bytes: () => number
  /** How many file nodes these take. */
  readonly nodes: () => number
}>()("spillway/services/cache/CacheIndex") {
  static readonly layer: Layer.Layer<CacheIndex, never, DiskBreaker | ChunkStore> = Layer.effect(
    CacheIndex,
    Effect.suspend(() => make)
  )
}

const make = Effect.gen(function*() {
  const clock = yield* Clock.Clock
  const resources = new ResourceTable()
  const chunks = new ChunkTable(resources)
  const order = new EvictionOrder(yield* EvictionPolicy)
  const folders = new Folders(resources)
  /** Chunks that are still counted, but must not be read. */
  const condemned = new Set<number>()
  /** By the number of a resource: its compact chunk, the bytes of its chunks, and when it was last used. */
  const compactOf = new Column()
  const chunkBytesOf = new Column(Float64Array)
  const lastUsed = new Column(Float64Array)
  /** When cold chunks were last used, until they are arranged. */
  let dates = new Column(Float64Array)
  let resourceCount = 0
  let chunkBytes = 0

  const noteUse = (resource: string, at: number): void => {
    const row = resources.find(resource)
    if (chunks.hasAny(row) && at > lastUsed.get(row)) lastUsed.set(row, at)
  }
  const touched = yield* Touches.make(noteUse, (chunk) => chunks.keyOf(chunk))

  const countBytes = (resource: number, bytes: number): void => {
    chunkBytes += bytes
    chunkBytesOf.set(resource, chunkBytesOf.get(resource) + bytes)
  }

  const add = (key: ChunkKey, bytes: number, line: Line, compact?: Pick<CompactResource, "isRevoked">): void => {
    const isFirst = !chunks.has(key.resource)
    const chunk = chunks.add(key)
    order.add(chunk, bytes, line)
    const resource = chunks.resourceOf(chunk)
    if (isFirst) resourceCount += 1
    if (compact === undefined) folders.addChunk(key.resource)
    else {
      folders.addCompact(key.resource, compact.isRevoked)
      compactOf.set(resource, chunk)
    }
    countBytes(resource, bytes)
  }

  const removeChunk = (chunk: number, resource: string): void => {
    const row = chunks.resourceOf(chunk)
    countBytes(row, -order.remove(chunk))
    condemned.delete(chunk)
    const isCompact = compactOf.get(row) === chunk
    if (isCompact) compactOf.set(row, 0)
    chunks.remove(chunk)
    if (!chunks.hasAny(row)) {
      resourceCount -= 1
      lastUsed.set(row, 0)
    }
    if (isCompact) folders.removeCompact(resource)
    else folders.removeChunk(resource)
  }

  const remove = (key: ChunkKey): void => {
    const chunk = chunks.find(key)
    if (chunk !== 0) removeChunk(chunk, key.resource)
  }

  const enter = (key: ChunkKey, bytes: number, line: Line, compact?: Pick<CompactResource, "isRevoked">): void => {
    const before = chunks.find(key)
    // Another write has replaced it.
    if (condemned.has(before)) removeChunk(before, key.resource)
    else if (before !== 0) return
    add(key, bytes, line, compact)
  }

  return CacheIndex.of({
    has: (key) => {
      const chunk = chunks.find(key)
      return chunk !== 0 && !condemned.has(chunk)
    },
    firstMissing: (key, end = Infinity) => chunks.firstMissing(key, end),
    stretches: (resource, representation) => chunks.stretches(resource, representation),
    hasResource: (resource) => chunks.has(resource),
    hasRepresentation: (resource, representation) => chunks.has(resource, representation),
    touch: (key) => {
      const chunk = chunks.find(key)
      if (chunk === 0 || !order.isInUse(chunk)) return
      touched(chunk)
      order.use(chunk)
    },
    add: (key, bytes, isCompact = false) => {
      const line = folders.isPinned(key.resource) ? "pinned" : "warm"
      enter(key, bytes, line, isCompact ? { isRevoked: false } : undefined)
      noteUse(key.resource, clock.currentTimeMillisUnsafe())
    },
    enter,
    date: (key, bytes, used) => {
      const chunk = chunks.find(key)
      if (order.lineOf(chunk) !== "cold") return
      dates.set(chunk, used)
      countBytes(chunks.resourceOf(chunk), order.resize(chunk, bytes))
      noteUse(key.resource, used)
    },
    *arrange() {
      yield* order.arrange(chunks.end, (chunk) => dates.get(chunk) || lastUsed.get(chunks.resourceOf(chunk)))
      dates = new Column(Float64Array)
    },
    remove,
    condemn: (key) => {
      const chunk = chunks.find(key)
      if (chunk === 0) return
      condemned.add(chunk)
      order.condemn(chunk)
      chunks.hide(chunk)
    },
    holds: (key) => chunks.find(key) !== 0,
    compactChunk: (resource) => chunks.keyOf(compactOf.get(resources.find(resource))),
    hasFolder: (resource) => folders.hasFolder(resource),
    hasManifest: (resource) => folders.hasManifest(resource),
    setManifest: (resource, bytes, isRevoked = false) => folders.setManifest(resource, { bytes, isRevoked }),
    revokeManifest: (resource) => folders.revokeManifest(resource),
    growth: (additions) => folders.growth(additions),
    bytesOf: (resource) => chunkBytesOf.get(resources.find(resource)) + folders.bytesOf(resource),
    isAlone: (resource) => folders.isAlone(resource),
    family: (resource) => folders.family(resource),
    hollow: () => folders.hollow(),
    supersede: (resource, current) => {
      for (const chunk of chunks.of(resource, (representation) => representation !== current)) {
        if (order.isInUse(chunk)) order.move(chunk, "superseded")
      }
    },
    oldest: () => chunks.keyOf(order.first()),
    setAside: (key) => {
      const chunk = chunks.find(key)
      return chunk !== 0 && order.setAside(chunk)
    },
    retryRemovals: () => order.retryRemovals(),
    pin: (resource, representation) => {
      folders.pin(resource)
      for (const chunk of chunks.of(resource, (other) => other === representation)) {
        if (order.isInUse(chunk)) order.move(chunk, "pinned")
      }
    },
    unpin: (resource) => {
      folders.unpin(resource)
      for (const chunk of chunks.of(resource)) if (order.lineOf(chunk) === "pinned") order.move(chunk, "warm")
    },
    pinned: () => folders.pinned(),
    isPinned: (resource) => folders.isPinned(resource),
    unevictableBytes: () => order.unevictableBytes + folders.pinnedBytes(),
    forget: (resource) => {
      for (const chunk of chunks.of(resource)) removeChunk(chunk, resource)
      folders.remove(resource)
    },
    noteUse,
    resources: () => Array.from(chunks.resources(), (row) => resources.idOf(row)),
    recent: (limit) => highest(chunks.resources(), limit, (row) => lastUsed.get(row)).map((row) => resources.idOf(row)),
    chunksOf: (resource) =>
      Array.from(chunks.of(resource), (chunk) => ({ key: chunks.keyOf(chunk)!, bytes: order.bytesOf(chunk) })),
    coldChunksOf: (resource) =>
      Array.from(chunks.of(resource)).flatMap((chunk) => order.lineOf(chunk) === "cold" ? chunks.keyOf(chunk)! : []),
    lastUsed: (resource) => lastUsed.get(resources.find(resource)),
    count: () => chunks.count,
    resourceCount: () => resourceCount,
    *keys() {
      for (let chunk = 1; chunk < chunks.end; chunk++) {
        const key = chunks.keyOf(chunk)
        if (key !== undefined) yield key
      }
    },
    bytes: () => chunkBytes + folders.bytes,
    nodes: () => chunks.count + folders.nodes
  })
})
