import { Context, Effect, Latch, Layer, type Scope } from "effect"
import { type CacheError, isDamage } from "../../domain/CacheError.ts"
import type { Representation } from "../../domain/Representation.ts"
import { familyOf } from "../../domain/Resource.ts"
import { keepRunning } from "../../effects/keepRunning.ts"
import { inBlocks } from "../disk/blocks.ts"
import { ChunkStore, compactBytesOnDisk } from "../disk/ChunkStore.ts"
import { DiskBreaker } from "../disk/DiskBreaker.ts"
import * as ManifestFormat from "../disk/manifestFormat.ts"
import { CacheIndex } from "./CacheIndex.ts"
import { Evictor } from "./Evictor.ts"
import { IndexScan } from "./IndexScan.ts"
import { WriteLock } from "./WriteLock.ts"

/**
 * Which manifests are on disk, and which of them are no longer valid. A manifest says that a resource is fresh, and is trusted after a
 * restart. So an invalidated one is renamed in the background, and not trusted until then. Under its other name, it says which resource
 * and representation the chunks belong to, and the origin is asked before they are used.
 */
export class Manifests extends Context.Service<Manifests, {
  /** The file of the manifest that a representation still needs on disk, or `undefined`. */
  readonly missing: (representation: Representation) => Uint8Array | undefined
  /** Writes such a file; inside `WriteLock.withWriteLock`, with room reserved. Removes a compact file of the resource. */
  readonly write: (representation: Representation, file: Uint8Array) => Effect.Effect<void, CacheError>
  /**
   * Writes it in one file with the only chunk of the representation, in place of another compact file of the resource. `undefined` if the
   * store has no compact files.
   */
  readonly writeCompact:
    | ((representation: Representation, file: Uint8Array, payload: Uint8Array) => Effect.Effect<void, CacheError>)
    | undefined
  /** Makes the manifest of a resource invalid. */
  readonly revoke: (resource: string) => void
  /** The same for a resource and all of its variants. */
  readonly revokeFamily: (resource: string) => void
  /**
   * Takes note that the origin has confirmed a representation, or named it for the first time. When the disk does not know it, or
   * `isOutdated`, since it knows another one or has it fresh for longer, that is corrected.
   */
  readonly confirmed: (representation: Representation, isOutdated: boolean) => void
  /** Has the disk know a representation, or, without one, that its manifest of a resource is no longer valid. Done when it is. */
  readonly replace: (resource: string, next: Representation | undefined) => Effect.Effect<void, CacheError>
  /** Whether the manifest on disk of a resource can be trusted. */
  readonly isTrusted: (resource: string) => boolean
  /** How often anything was revoked. What was read from the disk before the last time may no longer be valid. */
  readonly revocations: () => number
  /** Waits until the disk knows of all that was revoked, for as long as `SETTLE_TIMEOUT`, and not where the disk fails. */
  readonly settled: Effect.Effect<void>
}>()("spillway/services/cache/Manifests") {
  static readonly layer: Layer.Layer<
    Manifests,
    never,
    DiskBreaker | CacheIndex | ChunkStore | Evictor | IndexScan | WriteLock
  > = Layer.effect(Manifests, Effect.suspend(() => make))
}

/** How many changes may wait for a disk that fails; when there are more, no manifest is believed until the next start. */
const MAX_PENDING = 10_000

/** The pause before changes that failed are tried again. */
const RETRY_INTERVAL = "2 seconds"

/** How long the answer to a request that invalidates something waits for the disk. */
const SETTLE_TIMEOUT = "500 millis"

/** What is to be done: a manifest that holds no longer, or those of a whole family, or one to be replaced. */
interface Change {
  readonly resource: string
  readonly isFamily: boolean
  readonly next: Representation | undefined
}

const make = Effect.gen(function*() {
  const evictor = yield* Evictor
  const breaker = yield* DiskBreaker
  const index = yield* CacheIndex
  const scan = yield* IndexScan
  const { withWriteLock } = yield* WriteLock
  const store = yield* ChunkStore
  /** By resource or family. */
  const pending = new Map<string, Change>()
  const work = yield* Latch.make(false)
  const idle = yield* Latch.make(true)
  /** The representations whose manifest this process has written. */
  const written = new WeakSet<Representation>()
  let revocations = 0
  let isFlooded = false

  const isThere = (representation: Representation): boolean =>
    written.has(representation) && index.hasManifest(representation.resource)

  const missing = (representation: Representation): Uint8Array | undefined =>
    isThere(representation) ? undefined : ManifestFormat.encode(representation)

  const noteWritten = (representation: Representation): void => {
    written.add(representation)
    pending.delete(representation.resource)
  }

  const removeCompact = (resource: string) =>
    Effect.suspend(() => {
      const key = index.compactChunk(resource)
      return key === undefined ? Effect.void : Effect.map(store.remove(key), () => index.remove(key))
    })

  /** Whether it is known that no file of a resource is on disk, not even a manifest without chunks. */
  const hasNoFile = (resource: string): boolean =>
    scan.isLoaded() && !index.hasFolder(resource) && index.compactChunk(resource) === undefined

  const write = (representation: Representation, file: Uint8Array): Effect.Effect<void, CacheError> => {
    const { resource } = representation
    return removeCompact(resource).pipe(
      Effect.andThen(store.writeManifest(resource, file, hasNoFile(resource))),
      Effect.map(() => {
        index.setManifest(resource, inBlocks(file.length))
        noteWritten(representation)
      })
    )
  }

  const { writeCompact: storeCompact } = store
  const writeCompact = storeCompact &&
    ((representation: Representation, file: Uint8Array, payload: Uint8Array) => {
      const { id, resource } = representation
      const key = { resource, representation: id, index: 0 }
      return removeCompact(resource).pipe(
        Effect.andThen(storeCompact(key, payload, file)),
        Effect.map(() => {
          index.add(key, compactBytesOnDisk(payload.length, file.length), true)
          noteWritten(representation)
        })
      )
    })

  /** Replaces a manifest of which there are chunks. */
  const rewrite = (representation: Representation, file: Uint8Array) =>
    Effect.suspend((): Effect.Effect<void, CacheError, Scope.Scope> => {
      const { resource, size } = representation
      const key = index.compactChunk(resource)
      if (key === undefined || writeCompact === undefined) {
        const need = () => index.growth([{ resource, chunks: 0, manifest: inBlocks(file.length) }])
        return Effect.andThen(evictor.reserve(need), write(representation, file))
      }
      // It may be evicted itself.
      const addition = { resource, chunks: 1, manifest: 0, isCompact: true }
      const need = () => compactBytesOnDisk(size, file.length) + index.growth([addition])
      return store.read(key, size, { start: 0, end: size }).pipe(
        Effect.matchEffect({
          onSuccess: (payload) => Effect.andThen(evictor.reserve(need), writeCompact(representation, file, payload)),
          // Without the body, there is nothing for a manifest to describe.
          onFailure: (error) => isDamage(error) ? removeCompact(resource) : Effect.fail(error)
        })
      )
    })

  const disown = (resource: string) => Effect.map(store.revokeManifest(resource), () => index.revokeManifest(resource))

  const familyOnDisk = (resource: string) =>
    Effect.suspend(() =>
      scan.isLoaded() ? Effect.succeed(index.family(resource)) : store.withPrefix(familyOf(resource))
    )

  const hasChunkOf = ({ id, resource }: Representation): boolean => index.hasRepresentation(resource, id)

  const apply = ({ isFamily, next, resource }: Change) =>
    Effect.suspend((): Effect.Effect<void, CacheError> => {
      if (isFamily) {
        return Effect.flatMap(familyOnDisk(resource), (all) => Effect.forEach(all, disown, { discard: true }))
      }
      if (next === undefined || !hasChunkOf(next)) return disown(resource)
      const file = missing(next)
      if (file === undefined) return Effect.void
      return Effect.scoped(rewrite(next, file))
    })

  /** Makes the changes that wait, and says whether all of them could be made. */
  const change = Effect.gen(function*() {
    let isDone = true
    for (const [name, change] of pending) {
      // It may have been made, or superseded, in the meantime.
      const made = Effect.suspend(() => pending.get(name) === change ? apply(change) : Effect.void)
      const exit = yield* Effect.exit(withWriteLock(Effect.uninterruptible(made)))
      if (exit._tag === "Failure") isDone = false
      else if (pending.get(name) === change) pending.delete(name)
    }
    return isDone
  })

  yield* work.await.pipe(
    Effect.andThen(work.close),
    Effect.andThen(change),
    Effect.flatMap((isDone) => {
      if (pending.size === 0) return idle.open
      return isDone ? work.open : Effect.andThen(Effect.sleep(RETRY_INTERVAL), work.open)
    }),
    keepRunning("Manifests")
  )

  const add = (name: string, change: Change): void => {
    if (pending.size >= MAX_PENDING && !pending.has(name)) {
      isFlooded = true
      return
    }
    pending.delete(name)
    pending.set(name, change)
    idle.closeUnsafe()
    work.openUnsafe()
  }

  const isPending = (resource: string): boolean => pending.has(resource) || pending.has(familyOf(resource))

  const revoke = (resource: string): void => {
    revocations += 1
    if (scan.hasNothingOf(resource) && !index.hasManifest(resource)) return
    add(resource, { resource, isFamily: false, next: undefined })
  }

  return Manifests.of({
    missing,
    write,
    writeCompact,
    revoke,
    revokeFamily: (resource) => {
      revocations += 1
      if (scan.isLoaded() && index.family(resource).length === 0) return
      const family = familyOf(resource)
      add(family, { resource, isFamily: true, next: undefined })
    },
    confirmed: (representation, isOutdated) => {
      const { resource } = representation
      const isKnown = index.hasManifest(resource) && !isPending(resource)
      if (isKnown ? isOutdated : index.hasResource(resource)) {
        add(resource, { resource, isFamily: false, next: representation })
      }
    },
    replace: (resource, next) => withWriteLock(Effect.uninterruptible(apply({ resource, isFamily: false, next }))),
    isTrusted: (resource) => !isFlooded && !isPending(resource),
    revocations: () => revocations,
    settled: Effect.suspend(() =>
      breaker.unwritable() === undefined
        ? Effect.asVoid(Effect.timeoutOption(idle.await, SETTLE_TIMEOUT))
        : Effect.void
    )
  })
})
