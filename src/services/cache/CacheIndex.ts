import { Clock, Context, Effect, Layer } from "effect"
import type { ChunkKey } from "../../domain/Chunk.ts"
import { ChunkMap } from "../../domain/ChunkMap.ts"
import type { ChunkStore, CompactResource, StoredChunk } from "../disk/ChunkStore.ts"
import type { DiskBreaker } from "../disk/DiskBreaker.ts"
import { type Evictable, EvictionOrder } from "./EvictionOrder.ts"
import { type Addition, Folders } from "./Folders.ts"
import * as Touches from "./touches.ts"

/** A line of `EvictionOrder` that a chunk can enter. */
type Line = "cold" | "warm" | "pinned"

/**
 * What is on disk, and in which order it was last used. It is kept in memory, so that asking costs nothing. `IndexScan` fills it
 * from the store.
 */
export class CacheIndex extends Context.Service<CacheIndex, {
  /** Whether a chunk is known to be on disk. */
  readonly has: (key: ChunkKey) => boolean
  /** The first index, starting at that of `key`, for which `has` is false. */
  readonly firstMissing: (key: ChunkKey) => number
  /** The chunks of a representation for which `has` is true, as ordered stretches of indices; `end` is exclusive. */
  readonly stretches: (
    resource: string,
    representation: string
  ) => ReadonlyArray<readonly [start: number, end: number]>
  /** Whether any chunk of a resource is known to be on disk. */
  readonly hasResource: (resource: string) => boolean
  /** Counts a use of a chunk. */
  readonly touch: (key: ChunkKey) => void
  /** Adds a chunk that was written just now, `isCompact` if its resource is. */
  readonly add: (key: ChunkKey, bytes: number, isCompact?: boolean) => void
  /** Adds a chunk that was found on disk to a line of `EvictionOrder`. A chunk that is there already stays as it is. */
  readonly enter: (key: ChunkKey, bytes: number, line: Line, compact?: Pick<CompactResource, "isRevoked">) => void
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
  /** The chunk to evict next: superseded before current, then least recently used. Chunks of pinned resources are exempt. */
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
  /** Records that a resource was used, at a time in milliseconds since 1970. */
  readonly noteUse: (resource: string, at: number) => void
  /** The resources that have chunks, as far as is known. */
  readonly resources: () => ReadonlyArray<string>
  /** The chunks of a resource, unordered. */
  readonly chunksOf: (resource: string) => ReadonlyArray<Pick<StoredChunk, "bytes" | "key">>
  /** When a chunk of the resource was last used, to the minute, in milliseconds since 1970; 0 if unknown. */
  readonly lastUsed: (resource: string) => number
  /** How many chunks there are. */
  readonly count: () => number
  /** All chunks, as of now. */
  readonly keys: () => ReadonlyArray<ChunkKey>
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

/** A chunk that is on disk, in one of the lines of `EvictionOrder`. */
interface Indexed extends Evictable<Indexed>, Touches.Touched {
  readonly bytes: number
  readonly isCompact: boolean
  /** Whether it is still counted, but must not be read. */
  isCondemned: boolean
}

const indexed = (key: ChunkKey, bytes: number, isCompact: boolean, line: Indexed["line"]): Indexed => ({
  key,
  bytes,
  isCompact,
  line,
  isCondemned: false,
  isUsed: false,
  before: undefined,
  behind: undefined
})

const make = Effect.gen(function*() {
  const clock = yield* Clock.Clock
  const order = new EvictionOrder<Indexed>()
  const chunks = new ChunkMap<Indexed>()
  const folders = new Folders()
  const lastUsed = new Map<string, number>()
  let chunkBytes = 0
  let chunkCount = 0

  const noteUse = (resource: string, at: number): void => {
    if (at > (lastUsed.get(resource) ?? 0)) lastUsed.set(resource, at)
  }
  const touched = yield* Touches.make(noteUse)

  const remove = (key: ChunkKey): void => {
    const chunk = chunks.get(key)
    if (chunk === undefined) return
    chunk.line.remove(chunk)
    chunks.delete(key)
    chunkBytes -= chunk.bytes
    chunkCount -= 1
    if (chunk.isCompact) folders.removeCompact(key.resource)
    else folders.removeChunk(key.resource)
    if (!chunks.hasResource(key.resource)) lastUsed.delete(key.resource)
  }

  const enter = (key: ChunkKey, bytes: number, to: Line, compact?: Pick<CompactResource, "isRevoked">): void => {
    const before = chunks.get(key)
    // Another write has replaced it.
    if (before?.isCondemned) remove(key)
    else if (before !== undefined) return
    if (compact === undefined) folders.addChunk(key.resource)
    else folders.addCompact(key.resource, compact.isRevoked)
    chunkBytes += bytes
    chunkCount += 1
    const chunk = indexed(key, bytes, compact !== undefined, order[to])
    chunk.line.push(chunk)
    chunks.set(key, chunk)
  }

  return CacheIndex.of({
    has: (key) => {
      const chunk = chunks.get(key)
      return chunk !== undefined && !chunk.isCondemned
    },
    firstMissing: (key) => chunks.firstMissing(key),
    stretches: (resource, representation) => chunks.stretches(resource, representation),
    hasResource: (resource) => chunks.hasResource(resource),
    touch: (key) => {
      const chunk = chunks.get(key)
      if (chunk === undefined || !order.isInUse(chunk)) return
      touched(chunk)
      order.move(chunk, chunk.line === order.pinned ? order.pinned : order.warm)
    },
    add: (key, bytes, isCompact = false) => {
      const line = folders.isPinned(key.resource) ? "pinned" : "warm"
      enter(key, bytes, line, isCompact ? { isRevoked: false } : undefined)
      noteUse(key.resource, clock.currentTimeMillisUnsafe())
    },
    enter,
    remove,
    condemn: (key) => {
      const chunk = chunks.get(key)
      if (chunk === undefined) return
      chunk.isCondemned = true
      order.condemn(chunk)
      chunks.hide(key)
    },
    holds: (key) => chunks.get(key) !== undefined,
    compactChunk: (resource) => {
      if (!folders.isCompact(resource)) return undefined
      for (const chunk of chunks.of(resource)) if (chunk.isCompact) return chunk.key
      return undefined
    },
    hasFolder: (resource) => folders.hasFolder(resource),
    hasManifest: (resource) => folders.hasManifest(resource),
    setManifest: (resource, bytes, isRevoked = false) => folders.setManifest(resource, { bytes, isRevoked }),
    revokeManifest: (resource) => folders.revokeManifest(resource),
    growth: (additions) => folders.growth(additions),
    bytesOf: (resource) =>
      Array.from(chunks.of(resource), ({ bytes }) => bytes)
        .reduce((sum, bytes) => sum + bytes, folders.bytesOf(resource)),
    isAlone: (resource) => folders.isAlone(resource),
    family: (resource) => folders.family(resource),
    hollow: () => folders.hollow(),
    supersede: (resource, current) => {
      for (const chunk of chunks.of(resource)) {
        if (chunk.key.representation !== current && order.isInUse(chunk)) order.move(chunk, order.superseded)
      }
    },
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
    unpin: (resource) => {
      folders.unpin(resource)
      for (const chunk of chunks.of(resource)) if (chunk.line === order.pinned) order.move(chunk, order.warm)
    },
    pinned: () => folders.pinned(),
    isPinned: (resource) => folders.isPinned(resource),
    unevictableBytes: () => order.unevictable().reduce((sum, { bytes }) => sum + bytes, folders.pinnedBytes()),
    forget: (resource) => {
      for (const { key } of chunks.of(resource)) remove(key)
      folders.remove(resource)
    },
    noteUse,
    resources: () => chunks.resources(),
    chunksOf: (resource) => [...chunks.of(resource)],
    lastUsed: (resource) => lastUsed.get(resource) ?? 0,
    count: () => chunkCount,
    keys: () => Array.from(order, ({ key }) => key),
    bytes: () => chunkBytes + folders.bytes,
    nodes: () => chunkCount + folders.nodes
  })
})
