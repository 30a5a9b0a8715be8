import { Clock, Effect, type Scope } from "effect"
import { ANONYMOUS } from "../domain/Asker.ts"
import { Audience } from "../domain/Audience.ts"
import { span } from "../domain/Chunk.ts"
import { Representation } from "../domain/Representation.ts"
import type { Resource } from "../domain/Resource.ts"
import { acceptedBy } from "../domain/rfc/ContentCoding.ts"
import { isFresh } from "../domain/rfc/Freshness.ts"
import { Bans } from "../services/cache/Bans.ts"
import { CacheIndex } from "../services/cache/CacheIndex.ts"
import { Catalog } from "../services/cache/Catalog.ts"
import { CatalogMemory } from "../services/cache/CatalogMemory.ts"
import { MemoryTier } from "../services/cache/MemoryTier.ts"
import { bytesOnDisk, ChunkStore } from "../services/disk/ChunkStore.ts"
import { heeding } from "./heeding.ts"
import { heed, Reconfigure } from "./inbox.ts"
import type { Known, ToOwner, ToWorker } from "./messages.ts"

/** Whether the channel to the owner is full. */
let isFull = false

/** Sends a message to the owner. */
export const tell = (message: ToOwner): void => {
  // If the owner has gone, this process is about to end.
  if (process.connected) isFull = !process.send!(message, undefined, undefined, () => isFull = false)
}

/** Sends a dispensable message unless the channel to the owner is full. Returns whether it was sent. */
export const tellIfRoom = (message: ToOwner): boolean => {
  if (!isFull) tell(message)
  return !isFull
}

/**
 * Keeps `Catalog` and `CacheIndex` in step with the owner until the scope closes. Returns a function that asks the owner about a
 * resource, unless it is known and fresh, or the question is under way.
 */
export const make: Effect.Effect<
  (resource: Resource) => void,
  never,
  Bans | CacheIndex | Catalog | CatalogMemory | ChunkStore | MemoryTier | Scope.Scope
> = Effect.gen(function*() {
  const bans = yield* Bans
  const catalog = yield* Catalog
  const clock = yield* Clock.Clock
  const index = yield* CacheIndex
  const entries = yield* CatalogMemory
  const memory = yield* MemoryTier
  const store = yield* ChunkStore
  const context = yield* Effect.context()
  const asked = new Set<string>()
  const reconfigure = yield* Reconfigure

  const adopt = ({ choices, chunks, representation: fields, ...known }: Known): void => {
    const representation = new Representation(fields)
    const { chunkSize, id, resource, size } = representation
    for (const [first, end] of chunks) {
      for (let i = first; i < end; i++) {
        const bytes = span(i, chunkSize, size)
        index.add({ resource, representation: id, index: i }, bytesOnDisk(bytes.end - bytes.start))
      }
    }
    const audience = Audience.nobody.with(ANONYMOUS, known.freshness)
    const chosen = new Map(choices.map(([accepted, coding]) => [acceptedBy(accepted), coding]))
    catalog.adopt({ ...known, audience, representation }, chosen)
  }

  const forget = (resource: string): void => {
    index.forget(resource)
    catalog.forget(resource)
  }

  const hear = (message: ToWorker): void => {
    switch (message._tag) {
      case "Configure":
        return reconfigure(message.source)
      case "Answer":
        asked.delete(message.resource)
        forget(message.resource)
        return message.known && adopt(message.known)
      case "Forgotten":
        return forget(message.resource)
      case "Withdrawn":
        memory.removeResource(message.resource)
        return forget(message.resource)
      case "Banned":
        return bans.adopt(message.ban)
      case "Unbanned":
        // Before the bans are dropped, what they cover is forgotten here, too.
        for (const _ of entries.applyBans());
        return bans.drop(message.until)
      case "Added":
        return index.add(message.key, message.bytes)
      case "Removed":
        index.remove(message.key)
        // While the file is open here, the owner gets none of its space.
        return void Effect.runForkWith(context)(store.release(message.key))
      case "Alive":
        // `OwnerLink` handles it.
        return
      case "Settle":
        return tell({ _tag: "Settled", number: message.number })
    }
  }

  yield* heed((yield* heeding)(hear))

  return (resource) => {
    const { id } = resource
    const known = catalog.known(id)
    if (asked.has(id) || (known !== undefined && isFresh(known.freshness, clock.currentTimeMillisUnsafe()))) return
    asked.add(id)
    tell({ _tag: "Ask", resource })
  }
})
