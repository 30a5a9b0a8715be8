import { Effect, Option, Stream } from "effect"
import { type CacheError, isOfOneFile } from "../../domain/CacheError.ts"
import type { Representation } from "../../domain/Representation.ts"
import type { ChunkStore, Examined, StoredResource } from "./ChunkStore.ts"

/** How many resources are examined at a time, and how many before other changes of the disk get their turn. */
const CONCURRENCY = 4
const BATCH = 32

/** How many unreadable files and directories a scan skips. With more, the disk counts as failing. */
const MAX_UNREADABLE = 16

/** A resource that a scan has found. */
export interface FoundResource extends Omit<Examined, "isHollow" | "pinned"> {
  readonly resource: string
  /** Whether it is pinned, with its current representation if that is known. */
  readonly pin: { readonly representation: string | undefined } | undefined
}

/** What a scan calls. */
interface Reader {
  /** Runs a change of the disk alone, so that no resource changes while it is read. */
  readonly withWriteLock: <A, E>(effect: Effect.Effect<A, E>) => Effect.Effect<A, E>
  /** Whether the directory of the resource's prefix is known to have no other resource. */
  readonly isAlone: (resource: string) => boolean
  /** Called with each resource that has chunks, under the write lock. */
  readonly found: (resource: FoundResource) => Effect.Effect<void>
  /** Called with the error of each file or directory that is skipped, and with its resource if that is known. */
  readonly skipped: (error: CacheError, resource: string | undefined) => Effect.Effect<void>
}

/** Finds all chunks of a store. */
export const scanStore = (
  store: ChunkStore["Service"],
  { found, isAlone, skipped, withWriteLock }: Reader
): Effect.Effect<void, CacheError> =>
  Effect.suspend(() => {
    let unreadable = 0
    const skipIn = (resource: string | undefined) => (error: CacheError): Effect.Effect<void, CacheError> => {
      if (!isOfOneFile(error) || unreadable >= MAX_UNREADABLE) return Effect.fail(error)
      unreadable += 1
      return skipped(error, resource)
    }

    const orRevoked = (resource: string) => (manifest: Option.Option<Representation>) =>
      Option.isSome(manifest) ? Effect.succeed(manifest) : store.readRevoked(resource)

    const readPin = (resource: string) =>
      store.readManifest(resource).pipe(
        Effect.flatMap(orRevoked(resource)),
        Effect.catch((error) => Effect.as(skipIn(resource)(error), Option.none<Representation>())),
        Effect.map((manifest) => ({ representation: Option.getOrUndefined(manifest)?.id }))
      )

    const read = ({ examine, resource }: StoredResource) => {
      const skip = skipIn(resource)
      return Effect.flatMap(examine(skip), ({ isHollow, pinned, ...examined }) => {
        // A manifest without chunks is left by a process that ended before it wrote the first one.
        if (isHollow) return Effect.ignore(store.removeResource(resource, isAlone(resource)))
        const pin = pinned ? readPin(resource) : Effect.succeed(undefined)
        return Effect.flatMap(pin, (pin) => found({ ...examined, pin, resource }))
      }).pipe(Effect.catch(skip))
    }

    return store.resources(skipIn(undefined)).pipe(
      Stream.grouped(BATCH),
      Stream.mapEffect((batch) =>
        withWriteLock(Effect.forEach(batch, read, { concurrency: CONCURRENCY, discard: true }))
      ),
      Stream.runDrain
    )
  })
