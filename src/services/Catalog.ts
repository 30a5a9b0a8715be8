import { Clock, Context, Effect, Layer, Option } from "effect"
import type { RequestDirectives } from "../domain/CacheControl.ts"
import { type CacheError, IoError } from "../domain/CacheError.ts"
import { type Freshness, freshnessOf, isFresh } from "../domain/Freshness.ts"
import { longestGuess } from "../domain/Guess.ts"
import type { HeaderFields } from "../domain/Headers.ts"
import * as HttpDate from "../domain/HttpDate.ts"
import { isSameVersion, type RangeSupport, Representation, withRangesOf } from "../domain/Representation.ts"
import { identify, type Resource, variant } from "../domain/Resource.ts"
import { isSharable, MAX_VARY_NAMES, variesTooMuch, varyNames } from "../domain/Storable.ts"
import { ttlOf } from "../domain/TtlRule.ts"
import { CacheConfig } from "./CacheConfig.ts"
import { CacheHealth } from "./CacheHealth.ts"
import { CacheIndex } from "./CacheIndex.ts"
import { ChunkStore } from "./ChunkStore.ts"
import { type Kept, Sieve } from "./Sieve.ts"
import { Workers } from "./Workers.ts"

/** What is known of a resource: its current representation, and for how long that needs no asking. */
export interface Entry {
  readonly representation: Representation
  readonly freshness: Freshness
  /** Whether the origin lets it answer requests with credentials (RFC 9111 §3.5). */
  readonly isSharable: boolean
  /** A transfer found another version in its middle: two servers may have one each. */
  readonly isContested?: boolean
}

/** When an answer of the origin was asked for, and when it came, in milliseconds since 1970. */
export interface Times {
  readonly requested: number
  readonly received: number
}

/**
 * The current representation of each resource, with its freshness. Kept in memory for the resources used last, and beside
 * the chunks on disk. A resource whose answers vary has an entry for each variant.
 */
export class Catalog extends Context.Service<Catalog, {
  /** The variant of a resource that a request with `fields` selects, as far as is known. */
  readonly select: (resource: Resource, fields: HeaderFields) => Resource
  /** Whether the answers for `resource` are known to vary. */
  readonly varies: (resource: Resource) => boolean
  /**
   * Takes note of the fields that an answer for `resource` varies on, besides those that earlier ones did, and returns the variant
   * that `fields` select.
   */
  readonly vary: (resource: Resource, answer: HeaderFields, fields: HeaderFields) => Resource
  /** What is known of a variant, from memory or disk. A disk that cannot be read knows nothing. */
  readonly get: (variant: Resource) => Effect.Effect<Option.Option<Entry>>
  /** What needs no asking, neither of the disk nor of the origin. */
  readonly fresh: (
    resource: Resource,
    fields: HeaderFields,
    directives: RequestDirectives | undefined
  ) => Entry | undefined
  /** What an answer of the origin, of which `answer` are the fields, says of a variant. */
  readonly assess: (representation: Representation, answer: HeaderFields, times: Times) => Entry
  /**
   * Takes an answer of the origin, of which `answer` are the fields, for the current state of a variant; another representation
   * supersedes the old one. After a contested one, no chunk is used again: the answer begins the file afresh.
   */
  readonly confirm: (representation: Representation, answer: HeaderFields, times: Times) => Entry
  /** Takes for known what another process knows. */
  readonly adopt: (entry: Entry) => void
  /** What is in memory of the resource of an identifier. */
  readonly known: (resource: string) => Entry | undefined
  /** What `get` would return for the resource of an identifier, without counting as a use. */
  readonly peek: (resource: string) => Effect.Effect<Option.Option<Entry>, CacheError>
  /** Knows nothing of a resource any more. */
  readonly forget: (resource: string) => void
  /** The identifiers of resources in memory, variants included, whose URL is to the liking of `matches`. */
  readonly identifiers: (matches: (url: string) => boolean) => ReadonlyArray<string>
  /** Whether `representation` is still the current one of its resource. */
  readonly isCurrent: (representation: Representation) => boolean
  /** Takes note of how the origin answers requests for ranges of `representation`. */
  readonly learnRanges: (representation: Representation, ranges: RangeSupport) => void
  /** Has the origin asked at the next use; unconditionally, if the representation is contested. */
  readonly expire: (representation: Representation, isContested?: boolean) => void
  /** The same for all variants, and nothing is used any more unless the origin confirms it (RFC 9111 §4.4). */
  readonly invalidate: (resource: Resource) => Effect.Effect<void>
}>()("spillway/services/Catalog") {
  static readonly layer: Layer.Layer<Catalog, never, CacheConfig | CacheHealth | CacheIndex | ChunkStore> = Layer
    .effect(
      Catalog,
      Effect.suspend(() => make)
    )
}

/** How many resources are kept in memory, and of how many it is known that they vary. */
const CAPACITY = 20_000

/** How many variants of one resource an invalidation reaches. */
const MAX_VARIANTS = 64

interface Variants {
  readonly names: ReadonlyArray<string>
  /** The variants that were seen last. */
  readonly ids: Set<string>
}

/** Keeps `map` within `capacity`: what was put in first goes. */
const putLast = <K, V>(map: Map<K, V>, key: K, value: V, capacity: number): void => {
  map.delete(key)
  map.set(key, value)
  if (map.size > capacity) map.delete(map.keys().next().value!)
}

/** The entry of a resource in memory, which changes in place. */
interface Held {
  entry: Entry
}

const make = Effect.gen(function*() {
  const health = yield* CacheHealth
  const index = yield* CacheIndex
  const store = yield* ChunkStore
  const clock = yield* Clock.Clock
  const workers = yield* Workers
  const { readDeadline, ttl } = yield* CacheConfig
  const sieve = new Sieve<Held>(CAPACITY)
  const entries = new Map<string, Kept<Held>>()
  const variants = new Map<string, Variants>()
  const now = () => clock.currentTimeMillisUnsafe()

  const known = (id: string): Entry | undefined => entries.get(id)?.value.entry

  const forget = ({ entry: { representation: { resource } } }: Held): void => {
    entries.delete(resource)
    workers.forgotten(resource)
  }

  const put = (entry: Entry): Entry => {
    const { resource } = entry.representation
    const kept = entries.get(resource)
    if (kept === undefined) entries.set(resource, sieve.add({ entry }, 1, forget))
    else kept.value.entry = entry
    return entry
  }

  /** What is known, which counts as used by this. */
  const use = (id: string): Entry | undefined => {
    const kept = entries.get(id)
    if (kept === undefined) return undefined
    kept.visited = true
    return kept.value.entry
  }

  const entryOf = (representation: Representation, freshness: Freshness): Entry => ({
    representation,
    freshness,
    isSharable: isSharable(representation.headers)
  })

  const assess = (found: Representation, answer: HeaderFields, times: Times): Entry => {
    const headers = { ...found.headers, date: answer["date"] ?? HttpDate.format(times.received) }
    const age = answer["age"] === undefined ? {} : { age: answer["age"] }
    const guess = longestGuess(200, found.url, headers)
    const freshness = freshnessOf({ ...headers, ...age }, times, ttlOf(ttl, found.url), guess)
    return entryOf(new Representation({ ...found, headers, born: freshness.born }), freshness)
  }

  /** As far as its fields tell, and no fresher than when it was written. One from the future is stale. */
  const restored = (representation: Representation): Entry => {
    const { born, headers, url } = representation
    const freshness = freshnessOf(
      headers,
      { requested: born, received: born },
      ttlOf(ttl, url),
      longestGuess(200, url, headers)
    )
    return entryOf(representation, { ...freshness, born })
  }

  const fromDisk = (resource: Resource) =>
    Effect.gen(function*() {
      if (!health.readable() || index.hasNothingOf(resource.id)) return Option.none()
      const manifest = yield* store.readManifest(resource.id)
      if (Option.isSome(manifest)) yield* index.load(manifest.value)
      // Somebody may have asked the origin in the meantime.
      const newer = known(resource.id)
      if (newer !== undefined) return Option.some(newer)
      if (Option.isNone(manifest) || manifest.value.url !== resource.url) return Option.none()
      return Option.some(put(restored(manifest.value)))
    }).pipe(
      Effect.timeoutOrElse({
        duration: readDeadline,
        orElse: () => Effect.fail(new IoError({ errno: "TIMEOUT", operation: "read", path: resource.id }))
      }),
      Effect.catch((error) => Effect.as(health.report(error), Option.none<Entry>()))
    )

  const get = (resource: Resource) =>
    Effect.suspend(() => {
      const entry = use(resource.id)
      return entry === undefined ? fromDisk(resource) : Effect.succeedSome(entry)
    })

  const select = (resource: Resource, fields: HeaderFields): Resource => {
    const known = variants.get(resource.id)
    return known === undefined ? resource : variant(resource, known.names, fields)
  }

  const invalidate = (id: string): void => {
    const entry = known(id)
    if (entry === undefined) return
    const freshness = { ...entry.freshness, lifetime: 0, staleWhileRevalidate: 0, mustRevalidate: true }
    put({ ...entry, freshness })
    workers.forgotten(id)
  }

  /** `found` under the identifier of its chunks, after `before`. */
  const following = ({ isContested, representation }: Entry, found: Representation): Representation => {
    if (isContested) return new Representation({ ...found, id: identify(representation.id, found.id) })
    return isSameVersion(representation, found) ? new Representation({ ...found, id: representation.id }) : found
  }

  return Catalog.of({
    select,
    varies: (resource) => variants.has(resource.id),
    vary: (resource, answer, fields) => {
      const known = variants.get(resource.id)
      // S3 says `Vary: Origin` only where the request has `Origin`: an answer without `Vary` is one variant of several all the same.
      const named = variesTooMuch(answer) ? [] : varyNames(answer)
      const all = [...new Set([...known?.names ?? [], ...named])].toSorted()
      const names = all.length > MAX_VARY_NAMES ? named : all
      if (names.length === 0) return resource
      // Until now they may have been known not to vary.
      if (!variants.has(resource.id)) workers.forgotten(resource.id)
      const selected = variant(resource, names, fields)
      const ids = known?.ids ?? new Set()
      ids.delete(selected.id)
      ids.add(selected.id)
      if (ids.size > MAX_VARIANTS) ids.delete(ids.keys().next().value!)
      putLast(variants, resource.id, { names, ids }, CAPACITY)
      return selected
    },
    get,
    assess,
    fresh: (resource, fields, directives) => {
      const entry = use(select(resource, fields).id)
      return entry !== undefined && isFresh(entry.freshness, now(), directives) ? entry : undefined
    },
    confirm: (answered, answer, times) => {
      const before = known(answered.resource)
      const found = before === undefined ? answered : following(before, answered)
      if (before !== undefined && before.representation.id !== found.id) {
        index.supersede(found.resource, found.id)
        workers.forgotten(found.resource)
      }
      const next = before?.representation.id === found.id ? withRangesOf(before.representation, found) : found
      return put(assess(next, answer, times))
    },
    adopt: (entry) => void put(entry),
    known,
    peek: (resource) =>
      Effect.suspend(() => {
        const entry = known(resource)
        return entry === undefined
          ? Effect.map(store.readManifest(resource), Option.map(restored))
          : Effect.succeedSome(entry)
      }),
    forget: (resource) => {
      workers.forgotten(resource)
      const kept = entries.get(resource)
      if (kept === undefined) return
      sieve.remove(kept)
      entries.delete(resource)
    },
    identifiers: (matches) =>
      [...entries.values()].flatMap(({ value: { entry: { representation: { resource, url } } } }) =>
        matches(url) ? [resource] : []
      ),
    isCurrent: (representation) => known(representation.resource)?.representation.id === representation.id,
    learnRanges: (representation, ranges) => {
      const entry = known(representation.resource)
      if (entry?.representation.id !== representation.id) return
      put({ ...entry, representation: new Representation({ ...entry.representation, ranges }) })
    },
    expire: (representation, isContested = false) => {
      const entry = known(representation.resource)
      if (entry?.representation.id !== representation.id) return
      const freshness = { ...entry.freshness, lifetime: 0, staleWhileRevalidate: 0 }
      put({ ...entry, freshness, ...(isContested && { isContested }) })
      workers.forgotten(representation.resource)
    },
    invalidate: (resource) =>
      // What is on disk only is taken into memory, where the mark is kept.
      Effect.map(get(resource), () => {
        for (const id of [resource.id, ...variants.get(resource.id)?.ids ?? []]) invalidate(id)
      })
  })
})
