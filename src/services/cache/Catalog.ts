import { Clock, Context, Effect, Layer, Option } from "effect"
import { ANONYMOUS, cookieOf } from "../../domain/Asker.ts"
import type { CacheError } from "../../domain/CacheError.ts"
import { isSameVersion, type RangeSupport, Representation, withRangesOf } from "../../domain/Representation.ts"
import { familyOf, identify, type Resource } from "../../domain/Resource.ts"
import type { RequestDirectives } from "../../domain/rfc/CacheControl.ts"
import { type AcceptedCodings, type Coding, codingOf } from "../../domain/rfc/ContentCoding.ts"
import { isFresh, type Times } from "../../domain/rfc/Freshness.ts"
import type { HeaderFields } from "../../domain/rfc/HeaderFields.ts"
import { type Choices, type Selection, Variants } from "../../domain/Variants.ts"
import * as SingleFlight from "../../effects/SingleFlight.ts"
import { CacheConfig } from "../config/CacheConfig.ts"
import { ChunkStore } from "../disk/ChunkStore.ts"
import { DiskBreaker } from "../disk/DiskBreaker.ts"
import { Bans } from "./Bans.ts"
import { CacheIndex } from "./CacheIndex.ts"
import { CatalogMemory } from "./CatalogMemory.ts"
import { entriesOf, type Entry, freshnessFor, freshUntil, softenRepresentation } from "./Entry.ts"
import { IndexScan } from "./IndexScan.ts"
import { Manifests } from "./Manifests.ts"

export { type Entry, freshnessFor } from "./Entry.ts"

/**
 * The current representation of each resource, with its freshness. `CatalogMemory` holds it for the resources that were used last; for
 * others it is on disk, beside the chunks. A resource whose responses vary has an entry for each variant.
 */
export class Catalog extends Context.Service<Catalog, {
  /** The variant of a resource that a request with `fields` selects that accepts these content codings, as far as is known. */
  readonly select: (resource: Resource, fields: HeaderFields, accepted: AcceptedCodings) => Selection
  /** The same with its entry. What the disk has of other variants is learned first, unless any of them is in memory. */
  readonly find: (
    resource: Resource,
    fields: HeaderFields,
    accepted: AcceptedCodings
  ) => Effect.Effect<Selection & { readonly entry: Option.Option<Entry> }>
  /** Whether the responses for `resource` are known to vary. */
  readonly varies: (resource: Resource) => boolean
  /**
   * Records the fields that a response for `resource` varies on, in addition to those of earlier responses. Returns the variant of the
   * response to a request with `fields`.
   */
  readonly vary: (resource: Resource, answer: HeaderFields, fields: HeaderFields) => Resource
  /** The variant of a resource in one content coding that a request with `fields` selects. */
  readonly variant: (resource: Resource, fields: HeaderFields, coding: Coding) => Resource
  /** Which content codings the origin has chosen for which requests; `undefined` if the responses depend on anything else. */
  readonly choices: (resource: Resource) => Choices | undefined
  /** Records that the origin has chosen the content coding of a response for requests that accept `accepted`. */
  readonly choose: (resource: Resource, answer: HeaderFields, accepted: AcceptedCodings) => void
  /** What selects a response with the fields `answer` among those for `resource`, to be stored with it. */
  readonly selectedBy: (
    resource: Resource,
    answer: HeaderFields,
    accepted: AcceptedCodings
  ) => Pick<Representation, "accepted" | "varyNames">
  /** What is known of a variant, from memory or disk. Returns none if the disk can't be read. */
  readonly get: (variant: Resource) => Effect.Effect<Option.Option<Entry>>
  /** The entry in memory that `fields` select, if it is fresh for them. Asks neither the disk nor the origin. */
  readonly fresh: (
    resource: Resource,
    fields: HeaderFields,
    accepted: AcceptedCodings,
    directives: RequestDirectives | undefined
  ) => Entry | undefined
  /** Records that the responses for `resource` depend on whether a request has a cookie. */
  readonly separateCookies: (resource: Resource) => void
  /** The entry that a response of the origin makes of a variant. The response has the fields `answer`, and is for viewers with `cookie`. */
  readonly assess: (representation: Representation, answer: HeaderFields, times: Times, cookie: string) => Entry
  /**
   * Makes a response of the origin the current state of a variant, and supersedes any other representation. The parameters are those of
   * `assess`. After a contested representation, no chunk is used again: the file starts afresh. A response that may be older than a purge is
   * for those who wait for it, and supersedes nothing.
   */
  readonly confirm: (representation: Representation, answer: HeaderFields, times: Times, cookie: string) => Entry
  /** Requires revalidation before a representation is used again for viewers with `cookie`, also if the origin fails. */
  readonly exclude: (representation: Representation, cookie: string) => void
  /** Whether the response to viewers with `cookie` must not supersede what is known of the variant `selected` of `resource`. */
  readonly isProtected: (resource: Resource, selected: Resource, cookie: string) => boolean
  /** Adds the entry of a resource that another process knows, whose responses depend only on `choices`. */
  readonly adopt: (entry: Entry, choices: Choices) => void
  /** The entry of a resource in memory, by its identifier. */
  readonly known: (resource: string) => Entry | undefined
  /** What `get` would return for the resource with this identifier. Doesn't count as a use. */
  readonly peek: (resource: string) => Effect.Effect<Option.Option<Entry>, CacheError>
  /** Removes the entry of a resource from memory. */
  readonly forget: (resource: string) => void
  /** Whether `representation` is still the current one of its resource. */
  readonly isCurrent: (representation: Representation) => boolean
  /** Records that a response with a part of `representation` depends on request fields, if no response for the resource did. */
  readonly learnVary: (representation: Representation, answer: HeaderFields) => void
  /** Records how the origin answers requests for ranges of `representation`. */
  readonly learnRanges: (representation: Representation, ranges: RangeSupport) => void
  /** Requires a request to the origin at the next use; an unconditional one if the representation is contested. */
  readonly expire: (representation: Representation, isContested?: boolean) => void
  /** Expires a resource and its variants. None is used again, even stale, before the origin confirms it (RFC 9111 §4.4). */
  readonly invalidate: (resource: Resource) => Effect.Effect<void>
}>()("spillway/services/cache/Catalog") {
  static readonly layer: Layer.Layer<
    Catalog,
    never,
    CacheConfig | CatalogMemory | DiskBreaker | CacheIndex | ChunkStore | IndexScan | Manifests | Bans
  > = Layer.effect(Catalog, Effect.suspend(() => make))
}

/** The number of variants whose manifests are read to learn what the responses for a resource depend on. */
const MAX_LEARNED = 8

/** Reads what the disk knows of resources: as entries made by `restored`, and how they vary into `variants`. */
const makeDiskCatalog = Effect.fnUntraced(function*(
  restored: (representation: Representation) => Entry,
  variants: Variants
) {
  const breaker = yield* DiskBreaker
  const store = yield* ChunkStore
  const index = yield* CacheIndex
  const scan = yield* IndexScan
  const memory = yield* CatalogMemory
  const manifests = yield* Manifests
  const bans = yield* Bans
  const clock = yield* Clock.Clock
  const { readDeadline } = yield* CacheConfig
  const { share: shared } = SingleFlight.make<string, void, never>()

  /** The manifest of a resource as the bans leave it, and whether it is no longer valid. `forViewer` as in `ChunkStore.readManifest`. */
  const recall = Effect.fnUntraced(function*(resource: string, forViewer = false) {
    const isTrusted = manifests.isTrusted(resource)
    const valid = yield* store.readManifest(resource, forViewer)
    const manifest = Option.isSome(valid) ? valid : yield* store.readRevoked(resource, forViewer)
    if (Option.isNone(manifest)) return { isRevoked: true, manifest }
    yield* bans.loaded
    const verdict = bans.verdict(manifest.value)
    const isRevoked = !isTrusted || Option.isNone(valid) || verdict?.effect === "outdate"
    if (verdict?.effect === "purge") return { isRevoked, manifest: Option.none<Representation>() }
    if (verdict?.effect !== "soften") return { isRevoked, manifest }
    const at = Math.min(verdict.at, clock.currentTimeMillisUnsafe())
    return { isRevoked, manifest: Option.some(softenRepresentation(manifest.value, at, bans.latest())) }
  })

  /** Reads the entry of a resource into memory. Returns none if the disk has none, or fails. */
  const fromDisk: (resource: Resource) => Effect.Effect<Option.Option<Entry>> = Effect.fnUntraced(
    function*(resource: Resource) {
      if (!breaker.readable() || scan.hasNothingOf(resource.id)) return Option.none()
      const latest = bans.latest()
      const revocations = manifests.revocations()
      const { isRevoked, manifest } = yield* recall(resource.id, true)
      if (Option.isSome(manifest) && !scan.isLoaded()) {
        yield* Effect.timeoutOption(scan.load(manifest.value), readDeadline)
      }
      // Another request may have asked the origin in the meantime.
      const newer = memory.known(resource.id)
      if (newer !== undefined) return Option.some(newer)
      if (Option.isNone(manifest) || manifest.value.url !== resource.url) return Option.none()
      // It may have been purged and removed since it was read.
      if (bans.isPast(latest)) return yield* fromDisk(resource)
      const entry = restored(manifest.value)
      memory.put(entry)
      // It may have been this one, which the disk still called fresh.
      if (isRevoked || manifests.revocations() !== revocations) memory.revoke(resource.id, { mustRevalidate: true })
      return Option.fromUndefinedOr(memory.known(resource.id))
    },
    Effect.catch((error) => Effect.as(breaker.report(error), Option.none<Entry>()))
  )

  /** The entry of a resource, without reading it into memory. */
  const peek = (resource: string) => Effect.map(recall(resource), ({ manifest }) => Option.map(manifest, restored))

  const family = ({ id }: Resource): Effect.Effect<ReadonlyArray<string>, CacheError> => {
    if (scan.isLoaded()) return Effect.succeed(index.family(id))
    return Effect.map(Effect.timeoutOption(store.withPrefix(familyOf(id)), readDeadline), Option.getOrElse(() => []))
  }

  /** The representations of other variants of a resource that are only on disk: those used last, in the order of their age. */
  const others = Effect.fnUntraced(
    function*(resource: Resource): Effect.fn.Return<ReadonlyArray<Representation>, CacheError> {
      if (!breaker.readable()) return []
      const ids = (yield* family(resource)).filter((id) => id !== resource.id && memory.known(id) === undefined)
      const last = ids.toSorted((a, b) => index.lastUsed(b) - index.lastUsed(a)).slice(0, MAX_LEARNED)
      const found = yield* Effect.forEach(last, (id) => recall(id, true))
      return found.flatMap(({ manifest }) => Option.toArray(manifest))
        .filter(({ url }) => url === resource.url)
        .toSorted((a, b) => a.generatedAt - b.generatedAt)
    },
    Effect.catch((error) => Effect.as(breaker.report(error), []))
  )

  /** Learns how a resource varies. Nothing is read if that or the resource is in memory. */
  const learn = (resource: Resource): Effect.Effect<void> =>
    Effect.suspend(() => {
      if (variants.has(resource) || memory.known(resource.id) !== undefined) return Effect.void
      return shared(resource.id, Effect.map(others(resource), (found) => void variants.learn(resource, found)))
    })

  const get = (resource: Resource) =>
    Effect.suspend(() => {
      const entry = memory.use(resource.id)
      return entry === undefined ? fromDisk(resource) : Effect.succeedSome(entry)
    })

  const find = Effect.fnUntraced(function*(resource: Resource, fields: HeaderFields, accepted: AcceptedCodings) {
    yield* learn(resource)
    const first = variants.select(resource, fields, accepted)
    const entry = yield* get(first.variant)
    // It may be of the time before this process, and be one of several.
    const isNew = Option.isSome(entry) && variants.learn(resource, [entry.value.representation])
    if (!isNew) return { ...first, entry }
    const selection = variants.select(resource, fields, accepted)
    return { ...selection, entry: yield* get(selection.variant) }
  })

  return { find, get, learn, peek }
})

/** `found`, named so that it follows `before`: by the same identifier of its chunks if they may be used with it. */
const following = ({ isContested, representation }: Entry, found: Representation): Representation => {
  if (isContested) return new Representation({ ...found, id: identify(representation.id, found.id) })
  return isSameVersion(representation, found) ? new Representation({ ...found, id: representation.id }) : found
}

const make = Effect.gen(function*() {
  const index = yield* CacheIndex
  const clock = yield* Clock.Clock
  const memory = yield* CatalogMemory
  const { known, use } = memory
  const manifests = yield* Manifests
  const bans = yield* Bans
  const { assess, restored } = entriesOf(yield* CacheConfig)
  const variants = new Variants()
  const disk = yield* makeDiskCatalog(restored, variants)
  const now = () => clock.currentTimeMillisUnsafe()

  return Catalog.of({
    find: disk.find,
    selectedBy: (resource, answer, accepted) => variants.selectedBy(resource, answer, accepted),
    select: (resource, fields, accepted) => variants.select(resource, fields, accepted),
    varies: (resource) => variants.has(resource),
    vary: (resource, answer, fields) => {
      variants.vary(resource, answer, known(variants.variant(resource, fields, "identity").id) !== undefined)
      return variants.variant(resource, fields, codingOf(answer) ?? "identity")
    },
    variant: (resource, fields, coding) => variants.variant(resource, fields, coding),
    choices: (resource) => variants.choices(resource),
    choose: (resource, answer, accepted) => variants.choose(resource, answer, accepted),
    separateCookies: (resource) => variants.separateCookies(resource),
    get: disk.get,
    assess,
    fresh: (resource, fields, accepted, directives) => {
      const { isChosen, variant } = variants.select(resource, fields, accepted)
      const entry = isChosen ? use(variant.id) : undefined
      if (entry === undefined) return undefined
      // A shared entry needs no hash of the cookie.
      const freshness = entry.isShared ? entry.freshness : freshnessFor(entry, cookieOf(fields))
      if (freshness === undefined || !isFresh(freshness, now(), directives)) return undefined
      return freshness === entry.freshness ? entry : { ...entry, freshness }
    },
    confirm: (answered, answer, times, cookie) => {
      const before = known(answered.resource)
      const found = before === undefined ? answered : following(before, answered)
      const isOther = before !== undefined && before.representation.id !== found.id
      const wasEnded = memory.isRevoked(answered.resource) || before?.representation.softenedAt !== undefined
      const audience = isOther || before === undefined ? undefined : before.audience
      const next = isOther || before === undefined ? found : withRangesOf(before.representation, found)
      const entry = assess(next, answer, times, cookie, audience)
      if (bans.isPast(entry.representation.afterBan ?? 0)) return entry
      if (isOther) index.supersede(found.resource, found.id)
      memory.put(entry)
      const endsSooner = before !== undefined && freshUntil(entry) < freshUntil(before)
      manifests.confirmed(entry.representation, isOther || endsSooner || wasEnded)
      return entry
    },
    exclude: (representation, cookie) => {
      const entry = known(representation.resource)
      if (entry?.representation.id !== representation.id) return
      const audience = entry.audience.without(cookie)
      if (cookie !== ANONYMOUS) return memory.change({ ...entry, audience })
      const next = new Representation({ ...entry.representation, withCookie: true })
      memory.change({ ...entry, audience, representation: next })
      manifests.confirmed(next, true)
    },
    isProtected: (resource, selected, cookie) => {
      const entry = known(selected.id)
      if (entry === undefined || entry.isShared) return false
      // What only those with cookies were given is of no use to anybody, if those ask for a variant of their own by now.
      if (cookie === ANONYMOUS && variants.areCookiesSeparate(resource)) return false
      return entry.audience.isProtectedFrom(cookie, now())
    },
    adopt: (entry, choices) => {
      const { resource, url } = entry.representation
      variants.adopt({ id: resource, url }, choices)
      memory.put(entry)
    },
    known,
    peek: (resource) =>
      Effect.suspend(() => {
        const entry = known(resource)
        return entry === undefined ? disk.peek(resource) : Effect.succeedSome(entry)
      }),
    forget: memory.forget,
    isCurrent: ({ id, resource }) => known(resource)?.representation.id === id && !memory.isRevoked(resource),
    learnVary: ({ accepted, resource, url, varyNames }, answer) => {
      if (accepted === undefined && varyNames === undefined) variants.vary({ id: resource, url }, answer, true)
    },
    learnRanges: ({ id, resource }, ranges) => {
      const entry = known(resource)
      if (entry?.representation.id !== id) return
      memory.change({ ...entry, representation: new Representation({ ...entry.representation, ranges }) })
    },
    expire: ({ id, resource }, isContested = false) => {
      if (known(resource)?.representation.id !== id) return
      memory.revoke(resource, {}, isContested)
      manifests.revoke(resource)
    },
    invalidate: (resource) =>
      Effect.suspend(() => {
        const all = Effect.sync(() => {
          for (const id of memory.family(resource.id)) memory.revoke(id, { mustRevalidate: true })
          manifests.revokeFamily(resource.id)
        })
        // What is on disk only is taken into memory first, so that the origin can be asked whether it is the same still.
        const read = Effect.andThen(disk.learn(resource), disk.get(resource))
        return known(resource.id) === undefined ? Effect.ensuring(Effect.asVoid(read), all) : all
      })
  })
})
