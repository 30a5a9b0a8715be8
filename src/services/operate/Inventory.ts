import { Context, Effect, Layer, Option } from "effect"
import { type CacheError, IoError } from "../../domain/CacheError.ts"
import { tagsOf } from "../../domain/CacheTags.ts"
import { make as makeResource } from "../../domain/Resource.ts"
import type { ByteRange } from "../../domain/rfc/ByteRange.ts"
import { LruMap } from "../../effects/LruMap.ts"
import { CacheIndex } from "../cache/CacheIndex.ts"
import { Catalog, type Entry } from "../cache/Catalog.ts"
import { IndexScan } from "../cache/IndexScan.ts"
import { CacheConfig } from "../config/CacheConfig.ts"
import { DiskBreaker } from "../disk/DiskBreaker.ts"

/** How much of a resource's current representation is on disk. */
export interface Cached {
  readonly entry: Entry
  /** In order; adjacent ranges are merged. */
  readonly ranges: ReadonlyArray<ByteRange>
  readonly chunks: number
  readonly bytes: number
  readonly pinned: boolean
  /** In milliseconds since 1970, to the minute; 0 if unknown. */
  readonly lastUsed: number
}

/** Which resources to list. */
interface Listing {
  /** The beginning of their URLs. */
  readonly prefix: string
  /** A tag of their responses; `undefined` for all. */
  readonly tag?: string | undefined
  readonly limit: number
}

/** The listed resources, and the number of all that match, with their bytes on disk. */
interface Listed {
  readonly resources: ReadonlyArray<Cached>
  readonly total: number
  readonly bytes: number
}

/**
 * Lists what is cached, for the API. Manifests that are not in memory are read from disk, so the first query by URL may take long. Queries
 * don't count as uses.
 */
export class Inventory extends Context.Service<Inventory, {
  /** The most recently used first. With a tag, all manifests are read that aren't in memory. */
  readonly list: (listing: Listing) => Effect.Effect<Listed, CacheError>
  /** The resource at a URL. Of several variants, the most recently used. */
  readonly find: (url: string) => Effect.Effect<Option.Option<Cached>, CacheError>
  /** The identifiers of the resource at a URL and its variants, if any of their bytes are on disk. */
  readonly family: (url: string) => Effect.Effect<ReadonlyArray<string>, CacheError>
  /** The URL of a resource, if it is in memory. */
  readonly knownUrl: (resource: string) => string | undefined
  /** How much of an entry is on disk. */
  readonly cached: (entry: Entry) => Cached
}>()("spillway/services/operate/Inventory") {
  static readonly layer: Layer.Layer<
    Inventory,
    never,
    CacheConfig | DiskBreaker | CacheIndex | Catalog | IndexScan
  > = Layer.effect(Inventory, Effect.suspend(() => make))
}

/** How many manifests are read at a time. */
const CONCURRENCY = 4

/** How long the disk may take for one query. */
const DEADLINE = "20 seconds"

/** How much memory URLs may take, in bytes, and the overhead that is counted for each. */
const URLS_BYTES = 32 * 1024 ** 2
const URL_OVERHEAD_BYTES = 128

const make = Effect.gen(function*() {
  const catalog = yield* Catalog
  const { directory } = yield* CacheConfig
  const breaker = yield* DiskBreaker
  const index = yield* CacheIndex
  const scan = yield* IndexScan
  /** The URLs of resources, which never change. */
  const urls = new LruMap<string, string>(URLS_BYTES)

  const keepUrl = (resource: string, url: string): void => urls.set(resource, url, URL_OVERHEAD_BYTES + url.length)

  const bounded = <A>(question: Effect.Effect<A, CacheError>): Effect.Effect<A, CacheError> =>
    Effect.timeoutOrElse(question, {
      duration: DEADLINE,
      orElse: () => Effect.fail(new IoError({ errno: "TIMEOUT", operation: "read", path: directory }))
    })

  const peek = (resource: string): Effect.Effect<Option.Option<Entry>, CacheError> =>
    Effect.suspend(() => {
      const failure = breaker.readable() ? undefined : breaker.unwritable()
      if (failure !== undefined) return Effect.fail(failure)
      return Effect.tap(catalog.peek(resource), (entry) =>
        Effect.sync(() => {
          if (Option.isSome(entry) && index.hasResource(resource)) keepUrl(resource, entry.value.representation.url)
        }))
    })

  const urlOf = (resource: string): Effect.Effect<string | undefined, CacheError> =>
    Effect.suspend(() => {
      const known = urls.peek(resource)
      return known === undefined
        ? Effect.map(peek(resource), Option.match({ onNone: () => undefined, onSome: (_) => _.representation.url }))
        : Effect.succeed(known)
    })

  /** The identifiers of all resources and variants that `matches`. */
  const filtered = Effect.fnUntraced(function*(matches: (resource: string) => Effect.Effect<boolean, CacheError>) {
    // Only then are all resources known.
    yield* scan.loaded
    for (const resource of urls.keys()) if (!index.hasResource(resource)) urls.delete(resource)
    const resources = new Set([...index.resources(), ...index.pinned()])
    return yield* Effect.filter(resources, matches, { concurrency: CONCURRENCY })
  })

  const withUrl = (matches: (url: string) => boolean) =>
    filtered((resource) => Effect.map(urlOf(resource), (url) => url !== undefined && matches(url)))

  const withTag = (tag: string, prefix: string) =>
    filtered((resource) =>
      Effect.map(
        peek(resource),
        Option.exists(({ representation: { headers, url } }) => url.startsWith(prefix) && tagsOf(headers).includes(tag))
      )
    )

  const cached = (entry: Entry): Cached => {
    const { chunkSize, id, resource, size } = entry.representation
    const stretches = index.stretches(resource, id)
    const ranges = stretches.map(([start, end]) => ({ start: start * chunkSize, end: Math.min(end * chunkSize, size) }))
    return {
      entry,
      ranges,
      chunks: stretches.reduce((sum, [start, end]) => sum + end - start, 0),
      bytes: ranges.reduce((sum, { end, start }) => sum + end - start, 0),
      pinned: index.isPinned(resource),
      lastUsed: index.lastUsed(resource)
    }
  }

  const byUse = (resources: ReadonlyArray<string>): ReadonlyArray<string> =>
    resources.toSorted((a, b) => index.lastUsed(b) - index.lastUsed(a))

  const known = (resources: ReadonlyArray<string>) =>
    Effect.map(
      Effect.forEach(resources, peek, { concurrency: CONCURRENCY }),
      (entries) => entries.flatMap(Option.toArray).map(cached)
    )

  return Inventory.of({
    list: ({ limit, prefix, tag }) =>
      bounded(Effect.gen(function*() {
        if (prefix === "" && tag === undefined) {
          return { resources: yield* known(index.recent(limit)), total: index.resourceCount(), bytes: index.bytes() }
        }
        const found = tag === undefined ? withUrl((url) => url.startsWith(prefix)) : withTag(tag, prefix)
        const matching = (yield* found).filter(index.hasResource)
        return {
          resources: yield* known(byUse(matching).slice(0, limit)),
          total: matching.length,
          bytes: matching.reduce((sum, resource) => sum + index.bytesOf(resource), 0)
        }
      })),
    find: (url) =>
      bounded(Effect.gen(function*() {
        const { id } = makeResource(url)
        const ids = index.hasResource(id) ? [id] : byUse(yield* withUrl((other) => other === url)).slice(0, 1)
        return Option.fromNullishOr((yield* known(ids))[0])
      })),
    family: (url) => bounded(Effect.map(scan.loaded, () => index.family(makeResource(url).id))),
    knownUrl: (resource) => catalog.known(resource)?.representation.url ?? urls.peek(resource),
    cached
  })
})
