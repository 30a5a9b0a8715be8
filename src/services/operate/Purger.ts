import { Context, Effect, Layer, Option } from "effect"
import { type CacheError, isOfOneFile } from "../../domain/CacheError.ts"
import type { ChunkKey } from "../../domain/Chunk.ts"
import { CacheIndex } from "../cache/CacheIndex.ts"
import { Catalog } from "../cache/Catalog.ts"
import { Manifests } from "../cache/Manifests.ts"
import { MemoryTier } from "../cache/MemoryTier.ts"
import { Replicas } from "../cache/Replicas.ts"
import { WriteLock } from "../cache/WriteLock.ts"
import { ChunkStore } from "../disk/ChunkStore.ts"
import { DiskBreaker } from "../disk/DiskBreaker.ts"
import { Lookup } from "../media/Lookup.ts"
import { type Cached, Inventory } from "./Inventory.ts"

/** How many resources were removed, and how many bytes they had on disk. */
export interface Purged {
  readonly resources: number
  readonly bytes: number
}

/**
 * Removes and pins resources on behalf of the operator. Failures of the disk are reported to `DiskBreaker`, and returned.
 */
export class Purger extends Context.Service<Purger, {
  /**
   * Removes the resources whose URL `matches`, and those whose URL is unknown because their manifest is lost, from memory and disk, with
   * their pins. Running streams continue from the origin. If the disk fails, the rest stays in the index and is evicted first.
   */
  readonly purge: (matches: (url: string) => boolean) => Effect.Effect<Purged, CacheError>
  /**
   * Protects a resource from eviction, also after a restart; or lets it and all its variants be evicted again. `None` if nothing of it is
   * cached.
   */
  readonly pin: (url: string, pinned: boolean) => Effect.Effect<Option.Option<Cached>, CacheError>
}>()("spillway/services/operate/Purger") {
  static readonly layer: Layer.Layer<
    Purger,
    never,
    DiskBreaker | CacheIndex | Catalog | ChunkStore | Lookup | Manifests | MemoryTier | Inventory | WriteLock
  > = Layer.effect(Purger, Effect.suspend(() => make))
}

/** How many chunks are removed before other writes get their turn, and how many of them at a time. */
const BATCH = 32
const CONCURRENCY = 4

const make = Effect.gen(function*() {
  const catalog = yield* Catalog
  const breaker = yield* DiskBreaker
  const index = yield* CacheIndex
  const lookup = yield* Lookup
  const manifests = yield* Manifests
  const memory = yield* MemoryTier
  const inventory = yield* Inventory
  const store = yield* ChunkStore
  const { withWriteLock } = yield* WriteLock
  const { settled } = yield* Replicas

  /** From now on no viewer is served from what is cached. */
  const withdraw = (resource: string): void => {
    for (const { key } of index.chunksOf(resource)) index.condemn(key)
    memory.removeResource(resource)
  }

  const removeChunk = (key: ChunkKey) =>
    Effect.suspend(() =>
      // It may have been written again meanwhile.
      index.has(key) || !index.holds(key)
        ? Effect.void
        : Effect.andThen(store.remove(key), Effect.sync(() => index.remove(key)))
    )

  const removeChunks = (keys: ReadonlyArray<ChunkKey>) =>
    Effect.forEach(keys, removeChunk, { concurrency: CONCURRENCY, discard: true })

  const removeRest = (resource: string) =>
    Effect.suspend(() => {
      if (index.hasResource(resource)) {
        index.unpin(resource)
        return store.pin(resource, false)
      }
      return Effect.andThen(
        store.removeResource(resource, index.isAlone(resource)),
        Effect.sync(() => index.forget(resource))
      )
    })

  const remove = Effect.fnUntraced(function*(resource: string) {
    withdraw(resource)
    // First, so that nothing is served after a restart in the middle of this.
    manifests.revoke(resource)
    // Chunks that are being fetched will not be written.
    catalog.forget(resource)
    // By then pending writes have ended, so their chunks are removed too.
    const keys = yield* withWriteLock(Effect.sync(() => {
      withdraw(resource)
      return index.chunksOf(resource).map(({ key }) => key)
    }))
    for (let at = 0; at < keys.length; at += BATCH) {
      yield* withWriteLock(Effect.uninterruptible(removeChunks(keys.slice(at, at + BATCH))))
    }
    yield* withWriteLock(Effect.uninterruptible(removeRest(resource)))
    // Its manifest may have been read again meanwhile.
    catalog.forget(resource)
  })

  // Each variant may have been pinned while it was the most recently used.
  const unpin = Effect.fnUntraced(function*(url: string) {
    for (const resource of (yield* inventory.family(url)).filter(index.isPinned)) {
      const lift = Effect.andThen(store.pin(resource, false), Effect.sync(() => index.unpin(resource)))
      yield* withWriteLock(Effect.uninterruptible(lift))
    }
  })

  const pin = ({ entry }: Cached) =>
    Effect.suspend(() => {
      const { id, resource } = entry.representation
      if (!index.hasResource(resource)) return Effect.succeedNone
      return Effect.map(store.pin(resource, true), () => {
        index.pin(resource, id)
        return Option.some(inventory.cached(entry))
      })
    })

  return Purger.of({
    purge: Effect.fnUntraced(function*(matches) {
      // Short responses, such as 404, are cheap to fetch again.
      lookup.forget()
      const known = catalog.identifiers(matches)
      for (const resource of known) withdraw(resource)
      // Their URLs stay in the catalog during the search, because the disk may fail to return them.
      const found = yield* inventory.identifiers((url) => url === undefined || matches(url)).pipe(
        Effect.tapError(breaker.report),
        Effect.ensuring(Effect.sync(() => known.forEach(catalog.forget)))
      )
      const bytes = found.reduce((sum, resource) => sum + index.bytesOf(resource), 0)
      // A file that can't be removed doesn't stop the removal of others.
      let failed: CacheError | undefined
      const removeOne = (resource: string) =>
        Effect.catchIf(
          remove(resource),
          (error) => isOfOneFile(error) && breaker.unwritable() === undefined,
          (error) => {
            failed ??= error
            return breaker.report(error)
          }
        )
      yield* Effect.forEach(found, removeOne, { discard: true }).pipe(
        Effect.tapError(breaker.report),
        Effect.ensuring(settled)
      )
      if (failed !== undefined) return yield* Effect.fail(failed)
      return { resources: found.length, bytes }
    }),
    pin: Effect.fnUntraced(function*(url, pinned) {
      const cached = yield* inventory.find(url)
      if (!pinned) {
        yield* Effect.tapError(unpin(url), breaker.report)
        return Option.map(cached, ({ entry }) => inventory.cached(entry))
      }
      if (Option.isNone(cached)) return cached
      return yield* Effect.tapError(withWriteLock(Effect.uninterruptible(pin(cached.value))), breaker.report)
    })
  })
})
