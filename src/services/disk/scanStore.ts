import { Effect, Option, Stream } from "effect"
import { type CacheError, isOfOneFile } from "../../domain/CacheError.ts"
import type { Representation } from "../../domain/Representation.ts"
import type { ChunkStore, CompactResource, StoredChunk, StoredManifest } from "./ChunkStore.ts"

/** How many files are examined at a time. */
const CONCURRENCY = 4

/** How many unreadable files and directories a scan skips. With more, the disk counts as failing. */
const MAX_UNREADABLE = 16

/** What a scan calls. */
interface Reader {
  /** Runs a change of the disk alone, so that no resource changes while it is read. */
  readonly withWriteLock: <A, E>(effect: Effect.Effect<A, E>) => Effect.Effect<A, E>
  /** Whether the directory of the resource's prefix is known to have no other resource. */
  readonly isAlone: (resource: string) => boolean
  /** Called with the manifest of each resource. */
  readonly manifest: (resource: string, found: StoredManifest) => void
  /** Called with each pinned resource, and its current representation if that is known. */
  readonly pinned: (resource: string, representation: string | undefined) => void
  /** Called with the error of each file or directory that is skipped, and with its resource if that is known. */
  readonly skipped: (error: CacheError, resource: string | undefined) => Effect.Effect<void>
}

/** A chunk that a scan has found; of a compact resource, with whether that was revoked. */
export type FoundChunk = StoredChunk & Partial<CompactResource>

/** Lists all chunks of a store, the least recently used first. */
export const scanStore = (
  store: ChunkStore["Service"],
  { withWriteLock, isAlone, manifest, pinned, skipped }: Reader
): Effect.Effect<ReadonlyArray<FoundChunk>, CacheError> =>
  Effect.suspend(() => {
    let unreadable = 0
    const orSkip = <A>(
      resource: string | undefined,
      read: Effect.Effect<A, CacheError>,
      instead: A
    ): Effect.Effect<A, CacheError> =>
      Effect.catch(read, (error) => {
        if (!isOfOneFile(error) || unreadable >= MAX_UNREADABLE) return Effect.fail(error)
        unreadable += 1
        return Effect.as(skipped(error, resource), instead)
      })

    const orRevoked = (resource: string) => (manifest: Option.Option<Representation>) =>
      Option.isSome(manifest) ? Effect.succeed(manifest) : store.readRevoked(resource)

    const readPin = (resource: string) =>
      Effect.map(
        orSkip(resource, Effect.flatMap(store.readManifest(resource), orRevoked(resource)), Option.none()),
        (manifest) => pinned(resource, Option.getOrUndefined(manifest)?.id)
      )

    const readResource = (resource: string): Effect.Effect<ReadonlyArray<FoundChunk>, CacheError> =>
      Effect.flatMap(
        store.contents(resource),
        ({ compact, keys, manifest: found, pinned }): ReturnType<typeof readResource> => {
          const pin = pinned ? readPin(resource) : Effect.void
          const whole: ReadonlyArray<FoundChunk> = compact === undefined ? [] : [compact]
          if (compact !== undefined && keys.length === 0) return Effect.as(pin, whole)
          // A manifest without chunks is left by a process that ended before it wrote the first one.
          if (keys.length === 0) {
            return Effect.as(Effect.ignore(store.removeResource(resource, isAlone(resource))), [])
          }
          manifest(resource, found)
          const stats = Effect.forEach(keys, (key) => orSkip(resource, store.stat(key), Option.none()), {
            concurrency: CONCURRENCY
          })
          return Effect.andThen(
            pin,
            Effect.map(stats, (found) => [...whole, ...found.flatMap(Option.toArray)])
          )
        }
      )

    return store.resources((error, resource) => orSkip(resource, Effect.fail(error), undefined)).pipe(
      Stream.mapEffect((resource) => withWriteLock(orSkip(resource, readResource(resource), []))),
      Stream.runCollect,
      Effect.map((found) => found.flat().toSorted((a, b) => a.used - b.used))
    )
  })
