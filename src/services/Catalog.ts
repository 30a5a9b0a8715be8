import { Clock, Context, Effect, Layer, Option } from "effect"
import { ANONYMOUS, cookieOf } from "../domain/Asker.ts"
import { Audience } from "../domain/Audience.ts"
import type { RequestDirectives } from "../domain/CacheControl.ts"
import type { CacheError } from "../domain/CacheError.ts"
import { type Freshness, freshnessOf, isFresh } from "../domain/Freshness.ts"
import { longestGuess } from "../domain/Guess.ts"
import type { HeaderFields } from "../domain/Headers.ts"
import * as HttpDate from "../domain/HttpDate.ts"
import { isSameVersion, type RangeSupport, Representation, withRangesOf } from "../domain/Representation.ts"
import { identify, type Resource } from "../domain/Resource.ts"
import { isForAnyCookie, isSharable } from "../domain/Storable.ts"
import { matchesAny, ttlOf } from "../domain/TtlRule.ts"
import { CacheConfig } from "./CacheConfig.ts"
import { CacheHealth } from "./CacheHealth.ts"
import { CacheIndex } from "./CacheIndex.ts"
import { ChunkStore } from "./ChunkStore.ts"
import { type Kept, Sieve } from "./Sieve.ts"
import { Variants } from "./Variants.ts"
import { Workers } from "./Workers.ts"

/** What is known of a resource: its current representation, and for how long that needs no asking. */
export interface Entry {
  readonly representation: Representation
  /** By the last word of the origin's, whoever asked it. */
  readonly freshness: Freshness
  /** For whom the origin has confirmed it. */
  readonly audience: Audience
  /** Whether the origin lets it answer requests with credentials (RFC 9111 §3.5). */
  readonly isSharable: boolean
  /** Whether it is for everybody, whatever cookies they have. */
  readonly isShared: boolean
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
  /** Takes note that the answers for `resource` differ by whether a request has a cookie. */
  readonly separateCookies: (resource: Resource) => void
  /** What an answer of the origin to whoever has `cookie`, of which `answer` are the fields, says of a variant. */
  readonly assess: (representation: Representation, answer: HeaderFields, times: Times, cookie: string) => Entry
  /**
   * Takes an answer of the origin to whoever has `cookie`, of which `answer` are the fields, for the current state of a variant;
   * another representation supersedes the old one. After a contested one, no chunk is used again: the answer begins the file afresh.
   */
  readonly confirm: (representation: Representation, answer: HeaderFields, times: Times, cookie: string) => Entry
  /** Has the origin asked before a representation is used again for those who have `cookie`, also where the origin fails. */
  readonly exclude: (representation: Representation, cookie: string) => void
  /** Whether what is known of the variant `selected` of `resource` must not be superseded by what those who have `cookie` are given. */
  readonly isProtected: (resource: Resource, selected: Resource, cookie: string) => boolean
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

/** How many resources are kept in memory. */
const CAPACITY = 20_000

/** How fresh `entry` is for those who have `cookie`; `undefined` if the origin has not confirmed it for them. */
export const freshnessFor = ({ audience, freshness, isShared }: Entry, cookie: string): Freshness | undefined =>
  isShared ? freshness : audience.get(cookie)

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
  const { ignoreCookies, readDeadline, ttl } = yield* CacheConfig
  const sieve = new Sieve<Held>(CAPACITY)
  const entries = new Map<string, Kept<Held>>()
  const variants = new Variants()
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

  const entryOf = (representation: Representation, freshness: Freshness, audience: Audience): Entry => ({
    representation,
    freshness,
    audience,
    isSharable: isSharable(representation.headers),
    isShared: isForAnyCookie(representation.headers) || matchesAny(ignoreCookies, representation.url)
  })

  const assess = (
    found: Representation,
    answer: HeaderFields,
    times: Times,
    cookie: string,
    before: Audience = Audience.nobody
  ): Entry => {
    const headers = { ...found.headers, date: answer["date"] ?? HttpDate.format(times.received) }
    const age = answer["age"] === undefined ? {} : { age: answer["age"] }
    const guess = longestGuess(200, found.url, headers)
    const freshness = freshnessOf({ ...headers, ...age }, times, ttlOf(ttl, found.url), guess)
    const audience = before.with(cookie, freshness)
    const { withCookie: _, ...described } = found
    const representation = new Representation({
      ...described,
      headers,
      born: audience.get(ANONYMOUS)?.born ?? freshness.born,
      ...(audience.get(ANONYMOUS) === undefined && { withCookie: true })
    })
    return entryOf(representation, freshness, audience)
  }

  /** As far as its fields tell, and no fresher than when it was written. One from the future is stale. */
  const restored = (representation: Representation): Entry => {
    const { born, headers, url, withCookie = false } = representation
    const guess = longestGuess(200, url, headers)
    const freshness = { ...freshnessOf(headers, { requested: born, received: born }, ttlOf(ttl, url), guess), born }
    return entryOf(representation, freshness, withCookie ? Audience.nobody : Audience.nobody.with(ANONYMOUS, freshness))
  }

  const fromDisk = (resource: Resource) =>
    Effect.gen(function*() {
      if (!health.readable() || index.hasNothingOf(resource.id)) return Option.none()
      const manifest = yield* store.readManifest(resource.id, true)
      if (Option.isSome(manifest)) yield* Effect.timeoutOption(index.load(manifest.value), readDeadline)
      // Somebody may have asked the origin in the meantime.
      const newer = known(resource.id)
      if (newer !== undefined) return Option.some(newer)
      if (Option.isNone(manifest) || manifest.value.url !== resource.url) return Option.none()
      return Option.some(put(restored(manifest.value)))
    }).pipe(
      Effect.catch((error) => Effect.as(health.report(error), Option.none<Entry>()))
    )

  const get = (resource: Resource) =>
    Effect.suspend(() => {
      const entry = use(resource.id)
      return entry === undefined ? fromDisk(resource) : Effect.succeedSome(entry)
    })

  /** Changes how fresh an entry is for everybody. */
  const age = (entry: Entry, change: Partial<Freshness>, isContested = false): void => {
    const changed = (freshness: Freshness): Freshness => ({ ...freshness, ...change })
    const freshness = changed(entry.freshness)
    const audience = entry.audience.map(changed)
    put({ ...entry, freshness, audience, ...(isContested && { isContested }) })
    workers.forgotten(entry.representation.resource)
  }

  const invalidate = (id: string): void => {
    const entry = known(id)
    if (entry !== undefined) age(entry, { lifetime: 0, staleWhileRevalidate: 0, mustRevalidate: true })
  }

  /** `found` under the identifier of its chunks, after `before`. */
  const following = ({ isContested, representation }: Entry, found: Representation): Representation => {
    if (isContested) return new Representation({ ...found, id: identify(representation.id, found.id) })
    return isSameVersion(representation, found) ? new Representation({ ...found, id: representation.id }) : found
  }

  return Catalog.of({
    select: (resource, fields) => variants.select(resource, fields),
    varies: (resource) => variants.has(resource),
    vary: (resource, answer, fields) => {
      const hasVaried = variants.has(resource)
      const selected = variants.vary(resource, answer, fields)
      // Until now they may have been known not to vary.
      if (!hasVaried && variants.has(resource)) workers.forgotten(resource.id)
      return selected
    },
    separateCookies: (resource) => {
      variants.separateCookies(resource)
      workers.forgotten(resource.id)
    },
    get,
    assess,
    fresh: (resource, fields, directives) => {
      const entry = use(variants.select(resource, fields).id)
      if (entry === undefined) return undefined
      // The hash of a cookie is not worked out for what is for all.
      const freshness = entry.isShared ? entry.freshness : freshnessFor(entry, cookieOf(fields))
      return freshness !== undefined && isFresh(freshness, now(), directives) ? entry : undefined
    },
    confirm: (answered, answer, times, cookie) => {
      const before = known(answered.resource)
      const found = before === undefined ? answered : following(before, answered)
      if (before !== undefined && before.representation.id !== found.id) {
        index.supersede(found.resource, found.id)
        workers.forgotten(found.resource)
      }
      if (before?.representation.id !== found.id) return put(assess(found, answer, times, cookie))
      return put(assess(withRangesOf(before.representation, found), answer, times, cookie, before.audience))
    },
    exclude: (representation, cookie) => {
      const entry = known(representation.resource)
      if (entry?.representation.id !== representation.id) return
      put({ ...entry, audience: entry.audience.without(cookie) })
      if (cookie === ANONYMOUS) workers.forgotten(representation.resource)
    },
    isProtected: (resource, selected, cookie) => {
      const entry = known(selected.id)
      if (entry === undefined || entry.isShared) return false
      // What only those with cookies were given is of no use to anybody, where those ask for a variant of their own by now.
      if (cookie === ANONYMOUS && variants.areCookiesSeparate(resource)) return false
      return entry.audience.isProtectedFrom(cookie, now())
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
      age(entry, { lifetime: 0, staleWhileRevalidate: 0 }, isContested)
    },
    invalidate: (resource) =>
      // What is on disk only is taken into memory, where the mark is kept.
      Effect.map(get(resource), () => {
        for (const id of [resource.id, ...variants.ids(resource)]) invalidate(id)
      })
  })
})
