import { Context, Effect, Layer, Option } from "effect"
import { type CacheError, isOfOneFile } from "../../domain/CacheError.ts"
import type { ChunkKey } from "../../domain/Chunk.ts"
import { CacheIndex } from "../cache/CacheIndex.ts"
import { Catalog } from "../cache/Catalog.ts"
import { Manifests } from "../cache/Manifests.ts"
import { MemoryTier } from "../cache/MemoryTier.ts"
import { ChunkStore } from "../disk/ChunkStore.ts"
import { DiskBreaker } from "../disk/DiskBreaker.ts"
import { Lookup } from "../media/Lookup.ts"
import { Workers } from "../observe/Workers.ts"
import { type Cached, Inventory } from "./Inventory.ts"

/** What was removed: how many resources, and what they took of the disk in bytes. */
export interface Purged {
  readonly resources: number
  readonly bytes: number
}

/**
 * What people say about the keeping of resources, past what the cache decides itself. Failures of the disk are reported to
 * `DiskBreaker`, and told.
 */
export class Purger extends Context.Service<Purger, {
  /**
   * Removes all that is kept of the resources whose URL is not known any more, since their manifest is lost, and of those whose URL is to the liking of `matches`: in memory, on disk, and that they are pinned.
   * Streams that run go on from the origin. Where the disk fails, the rest is still in the index, and goes first.
   */
  readonly purge: (matches: (url: string) => boolean) => Effect.Effect<Purged, CacheError>
  /**
   * Keeps a resource when room is made for others, also after a restart; or lets it and all its variants be
   * evicted again. None where nothing of it is cached.
   */
  readonly pin: (url: string, pinned: boolean) => Effect.Effect<Option.Option<Cached>, CacheError>
}>()("spillway/services/operate/Purger") {
  static readonly layer: Layer.Layer<
    Purger,
    never,
    DiskBreaker | CacheIndex | Catalog | ChunkStore | Lookup | Manifests | MemoryTier | Inventory
  > = Layer.effect(Purger, Effect.suspend(() => make))
}

/** How many chunks are removed before others may write again, and how many of them at a time. */
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
  const workers = yield* Workers

  /** From now on nobody is served of what there is. */
  const withdraw = (resource: string): void => {
    for (const { key } of index.chunksOf(resource)) index.condemn(key)
    memory.removeResource(resource)
    workers.withdrawn(resource)
  }

  const removeChunk = (key: ChunkKey) =>
    Effect.suspend(() =>
      // It may have been written anew in the meantime.
      index.has(key) ? Effect.void : Effect.andThen(store.remove(key), Effect.sync(() => index.remove(key)))
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
    // First of all, so that a restart in the midst of it serves nothing of the rest.
    manifests.revoke(resource)
    // What is being fetched of it is not written.
    catalog.forget(resource)
    // What is being written has been by then, and goes too.
    const keys = yield* index.exclusively(Effect.sync(() => {
      withdraw(resource)
      return index.chunksOf(resource).map(({ key }) => key)
    }))
    for (let at = 0; at < keys.length; at += BATCH) {
      yield* index.exclusively(Effect.uninterruptible(removeChunks(keys.slice(at, at + BATCH))))
    }
    yield* index.exclusively(Effect.uninterruptible(removeRest(resource)))
    // Its manifest may have been read anew until then.
    catalog.forget(resource)
  })

  // Each of the variants may have been pinned while it was the one used last.
  const unpin = Effect.fnUntraced(function*(url: string) {
    for (const resource of (yield* inventory.family(url)).filter(index.isPinned)) {
      const lift = Effect.andThen(store.pin(resource, false), Effect.sync(() => index.unpin(resource)))
      yield* index.exclusively(Effect.uninterruptible(lift))
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
      // Short answers, such as that there is no file, are had again with little effort.
      lookup.forget()
      const known = catalog.identifiers(matches)
      for (const resource of known) withdraw(resource)
      // Their URLs are in the catalog until all have been looked through, should the disk not tell them any more.
      const found = yield* inventory.identifiers((url) => url === undefined || matches(url)).pipe(
        Effect.tapError(breaker.report),
        Effect.ensuring(Effect.sync(() => known.forEach(catalog.forget)))
      )
      const bytes = found.reduce((sum, resource) => sum + index.bytesOf(resource), 0)
      // One file that cannot be removed keeps none of the others.
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
        Effect.ensuring(workers.settled)
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
      return yield* Effect.tapError(index.exclusively(Effect.uninterruptible(pin(cached.value))), breaker.report)
    })
  })
})
