import { Data, Effect, Option } from "effect"
import { type Ban, type Banned, type BanTarget, isPurge, matches, type Verdict } from "../../domain/BanList.ts"
import type { CacheError } from "../../domain/CacheError.ts"
import type { ChunkKey } from "../../domain/Chunk.ts"
import type { Representation } from "../../domain/Representation.ts"
import { familyOf, make as makeResource, makePublic } from "../../domain/Resource.ts"
import { Bans } from "../cache/Bans.ts"
import { CacheIndex } from "../cache/CacheIndex.ts"
import { CatalogMemory } from "../cache/CatalogMemory.ts"
import { softenRepresentation } from "../cache/Entry.ts"
import { Manifests } from "../cache/Manifests.ts"
import { MemoryTier } from "../cache/MemoryTier.ts"
import { WriteLock } from "../cache/WriteLock.ts"
import { ChunkStore } from "../disk/ChunkStore.ts"
import { Inventory } from "./Inventory.ts"

/** The bans of a pass over the cache. */
export interface Pass {
  readonly bans: ReadonlyArray<Ban>
}

/** Something of a resource is left that a ban covers. `entry` is missing if nobody knows which ban. */
export class Unswept extends Data.Error<{ readonly entry: Banned | undefined; readonly cause: CacheError }> {}

/** How many chunks are removed before other writes get their turn, and how many of them at a time. */
const BATCH = 32
const CONCURRENCY = 4

/** What memory and disk know of a resource. */
interface Found {
  /** The entry in memory. No ban covers it. */
  readonly known: Representation | undefined
  /** What the manifest says. */
  readonly stored: Representation | undefined
  readonly verdict: Verdict | undefined
}

/** Whether a ban may cover a resource of which nobody knows the URL, because its manifest is lost. */
const mayCover = (target: BanTarget, resource: string): boolean =>
  target._tag !== "Url" ||
  [makeResource(target.url), makePublic(target.url)].some(({ id }) => familyOf(id) === familyOf(resource))

/**
 * Makes the function that removes what bans cover of a resource, or marks it. `onRemoved` gets the ban and the bytes that were on disk.
 * A chunk that is being sent stays readable.
 */
export const makeSweepResource = Effect.fnUntraced(function*(onRemoved: (ban: Ban, bytes: number) => void) {
  const bans = yield* Bans
  const catalog = yield* CatalogMemory
  const index = yield* CacheIndex
  const inventory = yield* Inventory
  const manifests = yield* Manifests
  const memory = yield* MemoryTier
  const store = yield* ChunkStore
  const { withWriteLock } = yield* WriteLock
  /** The last ban when a resource was pinned. */
  const pinnedAfter = new Map<string, number>()

  const find = Effect.fnUntraced(function*(resource: string): Effect.fn.Return<Found, CacheError> {
    const valid = yield* store.readManifest(resource)
    const stored = Option.getOrUndefined(Option.isSome(valid) ? valid : yield* store.readRevoked(resource))
    const known = catalog.known(resource)?.representation
    return { known, stored, verdict: stored && bans.verdict(stored) }
  })

  /** The purge that concerns what is stored of a resource. */
  const purgeOf = (pass: Pass, resource: string, { known, stored, verdict }: Found): Ban | undefined => {
    const purges = pass.bans.filter(({ target }) => isPurge(target))
    if (stored === undefined) {
      const isThere = index.hasResource(resource) || index.isPinned(resource)
      return known === undefined && isThere ? purges.find(({ target }) => mayCover(target, resource)) : undefined
    }
    return verdict?.effect === "purge" ? purges.find(({ target }) => matches(target, stored)) : undefined
  }

  const removeChunk = (key: ChunkKey) =>
    Effect.suspend(() =>
      // It may have been written again meanwhile.
      index.has(key) || !index.holds(key)
        ? Effect.void
        : Effect.andThen(store.remove(key, index.isAlone(key.resource)), Effect.sync(() => index.remove(key)))
    )

  const removeChunks = (keys: ReadonlyArray<ChunkKey>) =>
    Effect.forEach(keys, removeChunk, { concurrency: CONCURRENCY, discard: true })

  /** Removes the chunks of all representations but these. */
  const removeOthers = Effect.fnUntraced(function*(resource: string, kept: ReadonlyArray<string | undefined>) {
    // By then pending writes have ended, so their chunks are removed too.
    const keys = yield* withWriteLock(
      Effect.sync(() =>
        index.chunksOf(resource).map(({ key }) => key).filter(({ representation }) => !kept.includes(representation))
      )
    )
    for (const key of keys) {
      index.condemn(key)
      memory.remove(key)
    }
    for (let at = 0; at < keys.length; at += BATCH) {
      yield* withWriteLock(Effect.uninterruptible(removeChunks(keys.slice(at, at + BATCH))))
    }
  })

  const unpin = (resource: string) =>
    withWriteLock(Effect.uninterruptible(
      Effect.andThen(store.pin(resource, false), Effect.sync(() => index.unpin(resource)))
    ))

  /** Removes what is left of a resource: manifest, pin and directory, unless it was stored again meanwhile. */
  const removeRest = (pass: Pass, resource: string) =>
    Effect.gen(function*() {
      const found = yield* find(resource)
      if (purgeOf(pass, resource, found) === undefined || index.hasResource(resource)) return
      yield* store.removeResource(resource, index.isAlone(resource))
      index.forget(resource)
    })

  const remove = Effect.fnUntraced(function*(pass: Pass, resource: string, ban: Ban) {
    const bytes = index.bytesOf(resource)
    const known = catalog.known(resource)?.representation.id
    if (known === undefined) memory.removeResource(resource)
    yield* removeOthers(resource, [known])
    yield* withWriteLock(Effect.uninterruptible(removeRest(pass, resource)))
    onRemoved(ban, bytes)
  })

  /** Whether the pin of a resource is older than a purge of it. */
  const isPinOld = (pass: Pass, resource: string, entry: Banned): boolean =>
    index.isPinned(resource) &&
    pass.bans.some(({ at, target }) =>
      at > (pinnedAfter.get(resource) ?? 0) && isPurge(target) && matches(target, entry)
    )

  const sweep = Effect.fnUntraced(function*(pass: Pass, resource: string, found: Found) {
    const { known, stored, verdict } = found
    const ban = purgeOf(pass, resource, found)
    if (ban !== undefined) yield* remove(pass, resource, ban)
    const entry = stored ?? known
    if (entry === undefined) return
    // What was purged may have been stored again meanwhile, so that its pin is left.
    if (isPinOld(pass, resource, entry)) yield* unpin(resource)
    if (ban !== undefined) return
    if (pass.bans.some(({ target }) => isPurge(target) && matches(target, entry))) {
      yield* removeOthers(resource, [stored?.id, known?.id])
    }
    if (verdict === undefined || stored === undefined) return
    const current = known !== undefined && !catalog.isRevoked(resource) ? known : undefined
    const soft = verdict.effect === "soften" ? softenRepresentation(stored, verdict.at, bans.latest()) : undefined
    yield* manifests.replace(resource, current ?? soft)
  })

  return {
    notePin: (resource: string): void => {
      if (bans.active().length === 0) pinnedAfter.clear()
      pinnedAfter.set(resource, bans.latest())
    },
    sweepResource: Effect.fnUntraced(function*(pass: Pass, resource: string): Effect.fn.Return<void, Unswept> {
      const url = inventory.knownUrl(resource)
      // A tag may be that of a representation that is only on disk.
      const mayMatch = ({ target }: Ban) =>
        url === undefined || target._tag === "Tag" || matches(target, { url, headers: {} })
      if (!pass.bans.some(mayMatch)) return
      let entry: Banned | undefined
      yield* find(resource).pipe(
        Effect.tap(({ known, stored }) => Effect.sync(() => entry = stored ?? known)),
        Effect.flatMap((found) => sweep(pass, resource, found)),
        Effect.mapError((cause) => new Unswept({ entry, cause }))
      )
    })
  }
})
