import { Clock, Context, Effect, Layer, Option } from "effect"
import { IoError } from "../domain/CacheError.ts"
import { initialAge, lifetime } from "../domain/Freshness.ts"
import type { HeaderFields } from "../domain/Headers.ts"
import type { Representation } from "../domain/Representation.ts"
import type { Resource } from "../domain/Resource.ts"
import { CacheConfig } from "./CacheConfig.ts"
import { CacheHealth } from "./CacheHealth.ts"
import { CacheIndex } from "./CacheIndex.ts"
import { ChunkStore } from "./ChunkStore.ts"

/** What is known of a resource: its current representation, and until when that needs no asking (milliseconds since 1970). */
export interface Entry {
  readonly representation: Representation
  readonly freshUntil: number
  /** When the origin made or last confirmed it, in milliseconds since 1970; the base of the `Age` field. */
  readonly confirmed: number
}

/**
 * The current representation of each resource, with its freshness. Kept in memory for the resources used last, and beside
 * the chunks on disk, from where it comes back stale, that is, to be confirmed by the origin.
 */
export class Catalog extends Context.Service<Catalog, {
  /** What is known, from memory or disk. A disk that cannot be read knows nothing. */
  readonly get: (resource: Resource) => Effect.Effect<Option.Option<Entry>>
  /** What needs no asking, neither of the disk nor of the origin. */
  readonly fresh: (resource: Resource) => Entry | undefined
  /** Takes an answer of the origin for the current state of its resource; another representation supersedes the old one. */
  readonly confirm: (representation: Representation, headers: HeaderFields) => Effect.Effect<Entry>
  /** Whether `representation` is still the current one of its resource. */
  readonly isCurrent: (representation: Representation) => boolean
  /** Has the origin asked at the next use. */
  readonly expire: (representation: Representation) => void
}>()("spillway/services/Catalog") {
  static readonly layer: Layer.Layer<Catalog, never, CacheConfig | CacheHealth | CacheIndex | ChunkStore> = Layer
    .effect(
      Catalog,
      Effect.suspend(() => make)
    )
}

/** How many resources are kept in memory. */
const CAPACITY = 20_000

const make = Effect.gen(function*() {
  const health = yield* CacheHealth
  const index = yield* CacheIndex
  const store = yield* ChunkStore
  const clock = yield* Clock.Clock
  const { readDeadline } = yield* CacheConfig
  // In the order of use.
  const entries = new Map<string, Entry>()

  const put = (entry: Entry): Entry => {
    const { resource } = entry.representation
    entries.delete(resource)
    entries.set(resource, entry)
    const [oldest] = entries.keys()
    if (entries.size > CAPACITY && oldest !== undefined) entries.delete(oldest)
    return entry
  }

  const fromDisk = (resource: Resource) =>
    Effect.gen(function*() {
      if (!health.readable() || index.hasNothingOf(resource.id)) return Option.none()
      const manifest = yield* store.readManifest(resource.id)
      if (Option.isSome(manifest)) yield* index.load(manifest.value)
      // Somebody may have asked the origin in the meantime.
      const newer = entries.get(resource.id)
      if (newer !== undefined) return Option.some(newer)
      if (Option.isNone(manifest) || manifest.value.url !== resource.url) return Option.none()
      return Option.some(put({ representation: manifest.value, freshUntil: 0, confirmed: 0 }))
    }).pipe(
      Effect.timeoutOrElse({
        duration: readDeadline,
        orElse: () => Effect.fail(new IoError({ errno: "TIMEOUT", operation: "read", path: resource.id }))
      }),
      Effect.catch((error) => Effect.as(health.report(error), Option.none<Entry>()))
    )

  return Catalog.of({
    fresh: (resource) => {
      const entry = entries.get(resource.id)
      return entry !== undefined && clock.currentTimeMillisUnsafe() < entry.freshUntil ? put(entry) : undefined
    },
    get: (resource) =>
      Effect.suspend(() => {
        const known = entries.get(resource.id)
        return known === undefined ? fromDisk(resource) : Effect.succeedSome(put(known))
      }),
    confirm: (representation, headers) =>
      Effect.sync(() => {
        const now = clock.currentTimeMillisUnsafe()
        const before = entries.get(representation.resource)
        if (before !== undefined && before.representation.id !== representation.id) {
          index.supersede(representation.resource, representation.id)
        }
        return put({
          representation,
          freshUntil: now + lifetime(headers, now),
          confirmed: now - initialAge(headers)
        })
      }),
    isCurrent: (representation) => entries.get(representation.resource)?.representation.id === representation.id,
    expire: (representation) => {
      const entry = entries.get(representation.resource)
      if (entry?.representation.id === representation.id) {
        entries.set(representation.resource, { ...entry, freshUntil: 0 })
      }
    }
  })
})
