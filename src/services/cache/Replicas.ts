import { Context, Effect, Layer } from "effect"
import { ANONYMOUS } from "../../domain/Asker.ts"
import type { Ban } from "../../domain/BanList.ts"
import type { ChunkKey } from "../../domain/Chunk.ts"
import { Bans } from "./Bans.ts"
import { CacheIndex } from "./CacheIndex.ts"
import { Catalog } from "./Catalog.ts"
import { CatalogMemory } from "./CatalogMemory.ts"
import { MemoryTier } from "./MemoryTier.ts"

/** How other processes are notified. All but `settled` is synchronous and cheap, and arrives in the order of the calls. */
export interface ReplicasShape {
  /** A resource must not be served again without asking. */
  readonly forgotten: (resource: string) => void
  /** Nothing of a resource that is in memory or on disk may be served any more. */
  readonly withdrawn: (resource: string) => void
  /** What was stored before this ban, and what it matches, must not be served as it was. */
  readonly banned: (ban: Ban) => void
  /** Nothing is left here of what the bans up to this number cover. */
  readonly unbanned: (until: number) => void
  /** A chunk was written, and takes this many bytes of the disk. */
  readonly added: (key: ChunkKey, bytes: number) => void
  /** A chunk must not be read any more: it was removed, or is about to be. */
  readonly removed: (key: ChunkKey) => void
  /** Waits until all processes have confirmed the notifications so far. Ends those that don't in time. */
  readonly settled: Effect.Effect<void>
}

const none: ReplicasShape = {
  forgotten: () => {},
  withdrawn: () => {},
  banned: () => {},
  unbanned: () => {},
  added: () => {},
  removed: () => {},
  settled: Effect.void
}

/**
 * The other processes that serve viewers from this cache, with copies of parts of the index, the catalog and the memory tier.
 * There are none by default. The layers of this file notify them of changes, before the change is visible to anybody else.
 */
export class Replicas extends Context.Reference<ReplicasShape>("spillway/services/cache/Replicas", {
  defaultValue: () => none
}) {}

/** A layer that wraps a service so that it notifies `Replicas`. Without any, the service stays as it is. */
const replicated = <I, S extends object>(
  service: Context.Service<I, S>,
  notify: (inner: S, replicas: ReplicasShape) => Partial<S>
): Layer.Layer<I, never, I> =>
  Layer.effect(
    service,
    Effect.gen(function*() {
      const replicas = yield* Replicas
      const inner = yield* service
      return replicas === none ? inner : { ...inner, ...notify(inner, replicas) }
    })
  )

/** `CacheIndex`, with notifications of which chunks may be read. */
export const layerCacheIndex = replicated(CacheIndex, (index, { added, removed }) => ({
  add: (key, bytes, isCompact) => {
    index.add(key, bytes, isCompact)
    added(key, bytes)
  },
  remove: (key) => {
    removed(key)
    index.remove(key)
  },
  condemn: (key) => {
    removed(key)
    index.condemn(key)
  },
  forget: (resource) => {
    for (const { key } of index.chunksOf(resource)) removed(key)
    index.forget(resource)
  }
}))

/** `Bans`, with notifications of new ones, and of those that are dropped. */
export const layerBans = replicated(Bans, (bans, { banned, unbanned }) => ({
  add: (target) => {
    const ban = bans.add(target)
    banned(ban)
    return ban
  },
  drop: (until, isKept) => {
    bans.drop(until, isKept)
    unbanned(until)
  }
}))

/** `MemoryTier`, with notifications of which resources were dropped. */
export const layerMemoryTier = replicated(MemoryTier, (memory, { withdrawn }) => ({
  removeResource: (resource) => {
    memory.removeResource(resource)
    withdrawn(resource)
  }
}))

/** `CatalogMemory`, with notifications of entries that are gone, revoked or superseded. */
export const layerCatalogMemory = replicated(CatalogMemory, (memory, { forgotten }) => ({
  put: (entry) => {
    const { id, resource } = entry.representation
    const before = memory.known(resource)
    const evicted = memory.put(entry)
    for (const other of evicted) forgotten(other)
    if (before !== undefined && before.representation.id !== id) forgotten(resource)
    return evicted
  },
  revoke: (resource, change, isContested) => {
    memory.revoke(resource, change, isContested)
    forgotten(resource)
  },
  forget: (resource) => {
    memory.forget(resource)
    forgotten(resource)
  }
}))

/** `Catalog`, with notifications of resources that have got variants or other choices of codings, or are no longer for everybody. */
export const layerCatalog = replicated(Catalog, (catalog, { forgotten }) => ({
  vary: (resource, answer, fields) => {
    const before = catalog.choices(resource)
    const selected = catalog.vary(resource, answer, fields)
    // Until now they may have been known not to vary.
    if (before !== catalog.choices(resource)) forgotten(resource.id)
    return selected
  },
  learnVary: (representation, answer) => {
    const resource = { id: representation.resource, url: representation.url }
    const before = catalog.choices(resource)
    catalog.learnVary(representation, answer)
    if (before !== catalog.choices(resource)) forgotten(resource.id)
  },
  choose: (resource, answer, accepted) => {
    const before = catalog.choices(resource)
    catalog.choose(resource, answer, accepted)
    if (before !== catalog.choices(resource)) forgotten(resource.id)
  },
  separateCookies: (resource) => {
    catalog.separateCookies(resource)
    forgotten(resource.id)
  },
  exclude: (representation, cookie) => {
    const { id, resource } = representation
    catalog.exclude(representation, cookie)
    if (cookie === ANONYMOUS && catalog.known(resource)?.representation.id === id) forgotten(resource)
  }
}))
