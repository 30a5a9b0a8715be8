import { Clock, Context, Effect, Layer, Option } from "effect"
import { ANONYMOUS, cookieOf } from "../../domain/Asker.ts"
import type { CacheError } from "../../domain/CacheError.ts"
import { isSameVersion, type RangeSupport, Representation, withRangesOf } from "../../domain/Representation.ts"
import { identify, type Resource } from "../../domain/Resource.ts"
import type { RequestDirectives } from "../../domain/rfc/CacheControl.ts"
import { type Freshness, isFresh, type Times } from "../../domain/rfc/Freshness.ts"
import type { HeaderFields } from "../../domain/rfc/HeaderFields.ts"
import { isIn, type Tree } from "../../domain/UrlTrees.ts"
import { CacheConfig } from "../config/CacheConfig.ts"
import { ChunkStore } from "../disk/ChunkStore.ts"
import { DiskBreaker } from "../disk/DiskBreaker.ts"
import { Workers } from "../observe/Workers.ts"
import { CacheIndex } from "./CacheIndex.ts"
import { entriesOf, type Entry, freshnessFor, freshUntil, weightOf } from "./Entry.ts"
import { Families } from "./Families.ts"
import { Manifests } from "./Manifests.ts"
import { RevokedTrees } from "./RevokedTrees.ts"
import { type Kept, Sieve } from "./Sieve.ts"
import { Variants } from "./Variants.ts"

export { type Entry, freshnessFor } from "./Entry.ts"

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
   * Records the fields that an answer for `resource` varies on, besides those that earlier ones did, and returns the variant
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
  /** What an answer of the origin to anyone who has `cookie`, of which `answer` are the fields, says of a variant. */
  readonly assess: (representation: Representation, answer: HeaderFields, times: Times, cookie: string) => Entry
  /**
   * Takes an answer of the origin to anyone who has `cookie`, of which `answer` are the fields, for the current state of a variant;
   * another representation supersedes the old one. After a contested one, no chunk is used again: the answer begins the file afresh.
   */
  readonly confirm: (representation: Representation, answer: HeaderFields, times: Times, cookie: string) => Entry
  /** Requires revalidation before a representation is used again for viewers with `cookie`, also if the origin fails. */
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
  /** Records how the origin answers requests for ranges of `representation`. */
  readonly learnRanges: (representation: Representation, ranges: RangeSupport) => void
  /** Requires a request to the origin at the next use; an unconditional one if the representation is contested. */
  readonly expire: (representation: Representation, isContested?: boolean) => void
  /** The same for all variants, and nothing is used any more unless the origin confirms it (RFC 9111 §4.4). */
  readonly invalidate: (resource: Resource) => Effect.Effect<void>
  /** The same for all that is in a tree; waits a little for the disk to know it. */
  readonly invalidateTree: (tree: Tree) => Effect.Effect<void>
}>()("spillway/services/cache/Catalog") {
  static readonly layer: Layer.Layer<
    Catalog,
    never,
    CacheConfig | DiskBreaker | CacheIndex | ChunkStore | Manifests | RevokedTrees
  > = Layer
    .effect(
      Catalog,
      Effect.suspend(() => make)
    )
}

/** How much is kept of resources in memory, in bytes. */
const CAPACITY_BYTES = 64 * 1024 ** 2

/** The entry of a resource in memory, which changes in place. */
interface Held {
  entry: Entry
  /** It was invalidated, or is out of date, and the origin has not confirmed it since. */
  isRevoked: boolean
}

const make = Effect.gen(function*() {
  const breaker = yield* DiskBreaker
  const index = yield* CacheIndex
  const store = yield* ChunkStore
  const clock = yield* Clock.Clock
  const workers = yield* Workers
  const manifests = yield* Manifests
  const trees = yield* RevokedTrees
  const { ignoreCookies, readDeadline, ttl } = yield* CacheConfig
  const sieve = new Sieve<Held>(CAPACITY_BYTES)
  const entries = new Map<string, Kept<Held>>()
  const families = new Families()
  const variants = new Variants()
  const { assess, restored } = entriesOf(ttl, ignoreCookies)
  const now = () => clock.currentTimeMillisUnsafe()

  const known = (id: string): Entry | undefined => entries.get(id)?.value.entry

  const forget = ({ entry: { representation: { resource } } }: Held): void => {
    entries.delete(resource)
    families.delete(resource)
    workers.forgotten(resource)
  }

  const put = (entry: Entry): Entry => {
    const { resource } = entry.representation
    const weight = weightOf(entry)
    const kept = entries.get(resource)
    if (kept?.weight === weight) Object.assign(kept.value, { entry, isRevoked: false })
    else {
      if (kept !== undefined) sieve.remove(kept)
      entries.set(resource, sieve.add({ entry, isRevoked: false }, weight, forget))
      families.add(resource)
    }
    return entry
  }

  /** Makes the next use of an entry ask the origin first, for every viewer. */
  const revoke = (id: string, change: Partial<Freshness> = {}, isContested = false): void => {
    const held = entries.get(id)?.value
    if (held === undefined) return
    const { audience, freshness } = held.entry
    const ended = (freshness: Freshness): Freshness => ({
      ...freshness,
      lifetime: 0,
      staleWhileRevalidate: 0,
      ...change
    })
    const ends = { freshness: ended(freshness), audience: audience.map(ended), ...(isContested && { isContested }) }
    held.entry = { ...held.entry, ...ends }
    held.isRevoked = true
    workers.forgotten(id)
  }

  /** What is known, which counts as used by this. */
  const use = (id: string): Entry | undefined => {
    const kept = entries.get(id)
    if (kept === undefined) return undefined
    kept.visited = true
    return kept.value.entry
  }

  /** What the disk has of a resource, and whether that holds no longer. */
  const recall = Effect.fnUntraced(function*(resource: string, forViewer = false) {
    const isTrusted = manifests.isTrusted(resource)
    const manifest = yield* store.readManifest(resource, forViewer)
    if (Option.isSome(manifest)) {
      const { born, url } = manifest.value
      return { isRevoked: !isTrusted || (yield* trees.covers(url, born)), manifest }
    }
    return { isRevoked: true, manifest: yield* store.readRevoked(resource, forViewer) }
  })

  const fromDisk = (resource: Resource) =>
    Effect.gen(function*() {
      if (!breaker.readable() || index.hasNothingOf(resource.id)) return Option.none()
      const revocations = manifests.revocations()
      const { isRevoked, manifest } = yield* recall(resource.id, true)
      if (Option.isSome(manifest)) yield* Effect.timeoutOption(index.load(manifest.value), readDeadline)
      // Somebody may have asked the origin in the meantime.
      const newer = known(resource.id)
      if (newer !== undefined) return Option.some(newer)
      if (Option.isNone(manifest) || manifest.value.url !== resource.url) return Option.none()
      const entry = put(restored(manifest.value))
      // It may have been this one, which the disk still called fresh.
      if (isRevoked || manifests.revocations() !== revocations) revoke(resource.id, { mustRevalidate: true })
      return Option.some(known(resource.id) ?? entry)
    }).pipe(
      Effect.catch((error) => Effect.as(breaker.report(error), Option.none<Entry>()))
    )

  const get = (resource: Resource) =>
    Effect.suspend(() => {
      const entry = use(resource.id)
      return entry === undefined ? fromDisk(resource) : Effect.succeedSome(entry)
    })

  /** `found` under the identifier of its chunks, after `before`. */
  const following = ({ isContested, representation }: Entry, found: Representation): Representation => {
    if (isContested) return new Representation({ ...found, id: identify(representation.id, found.id) })
    return isSameVersion(representation, found) ? new Representation({ ...found, id: representation.id }) : found
  }

  const identifiers = (matches: (url: string) => boolean): ReadonlyArray<string> =>
    [...entries.values()].flatMap(({ value: { entry: { representation: { resource, url } } } }) =>
      matches(url) ? [resource] : []
    )

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
      if (freshness === undefined || !isFresh(freshness, now(), directives)) return undefined
      return freshness === entry.freshness ? entry : { ...entry, freshness }
    },
    confirm: (answered, answer, times, cookie) => {
      const before = known(answered.resource)
      const found = before === undefined ? answered : following(before, answered)
      const isOther = before !== undefined && before.representation.id !== found.id
      if (isOther) {
        index.supersede(found.resource, found.id)
        workers.forgotten(found.resource)
      }
      const wasRevoked = entries.get(answered.resource)?.value.isRevoked === true
      const audience = isOther || before === undefined ? undefined : before.audience
      const next = isOther || before === undefined ? found : withRangesOf(before.representation, found)
      const entry = put(assess(next, answer, times, cookie, audience))
      const endsSooner = before !== undefined && freshUntil(entry) < freshUntil(before)
      manifests.confirmed(entry.representation, isOther || endsSooner || wasRevoked)
      return entry
    },
    exclude: (representation, cookie) => {
      const held = entries.get(representation.resource)?.value
      if (held?.entry.representation.id !== representation.id) return
      held.entry = { ...held.entry, audience: held.entry.audience.without(cookie) }
      if (cookie !== ANONYMOUS) return
      const next = new Representation({ ...held.entry.representation, withCookie: true })
      held.entry = { ...held.entry, representation: next }
      workers.forgotten(next.resource)
      manifests.confirmed(next, true)
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
          ? Effect.map(recall(resource), ({ manifest }) => Option.map(manifest, restored))
          : Effect.succeedSome(entry)
      }),
    forget: (resource) => {
      workers.forgotten(resource)
      const kept = entries.get(resource)
      if (kept === undefined) return
      sieve.remove(kept)
      entries.delete(resource)
      families.delete(resource)
    },
    identifiers,
    isCurrent: (representation) => {
      const held = entries.get(representation.resource)?.value
      return held !== undefined && !held.isRevoked && held.entry.representation.id === representation.id
    },
    learnRanges: (representation, ranges) => {
      const held = entries.get(representation.resource)?.value
      if (held?.entry.representation.id !== representation.id) return
      held.entry = { ...held.entry, representation: new Representation({ ...held.entry.representation, ranges }) }
    },
    expire: (representation, isContested = false) => {
      if (known(representation.resource)?.representation.id !== representation.id) return
      revoke(representation.resource, {}, isContested)
      manifests.revoke(representation.resource)
    },
    invalidate: (resource) =>
      Effect.suspend(() => {
        const all = Effect.sync(() => {
          for (const id of families.of(resource.id)) revoke(id, { mustRevalidate: true })
          manifests.revokeFamily(resource.id)
        })
        // What is on disk only is taken into memory first, so that the origin can be asked whether it is the same still.
        return known(resource.id) === undefined ? Effect.ensuring(Effect.asVoid(get(resource)), all) : all
      }),
    invalidateTree: (tree) =>
      Effect.suspend(() => {
        trees.add(tree)
        for (const id of identifiers((url) => isIn(tree, url))) revoke(id, { mustRevalidate: true })
        return trees.settled
      })
  })
})
