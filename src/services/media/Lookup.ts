import { Clock, Context, Effect, FiberSet, Layer, Metric, Option } from "effect"
import { ANONYMOUS, type Asker, askerOf, hasCredential } from "../../domain/Asker.ts"
import type { OriginError } from "../../domain/OriginError.ts"
import type { Resource } from "../../domain/Resource.ts"
import type { RangeSpec } from "../../domain/rfc/ByteRange.ts"
import { isForAnyCookie, varyNames } from "../../domain/rfc/Cacheability.ts"
import type { RequestDirectives } from "../../domain/rfc/CacheControl.ts"
import { isFresh, mayRevalidateBehind } from "../../domain/rfc/Freshness.ts"
import type { HeaderFields } from "../../domain/rfc/HeaderFields.ts"
import { isIn, treeAt } from "../../domain/UrlTrees.ts"
import * as SingleFlight from "../../effects/SingleFlight.ts"
import { Catalog, type Entry, freshnessFor } from "../cache/Catalog.ts"
import type { ChunkCache } from "../cache/ChunkCache.ts"
import { Manifests } from "../cache/Manifests.ts"
import * as UncacheableHints from "../cache/UncacheableHints.ts"
import type { CacheConfig } from "../config/CacheConfig.ts"
import { OriginConfig } from "../config/OriginConfig.ts"
import type { Source } from "../origin/askOrigin.ts"
import type { Origin } from "../origin/Origin.ts"
import { retries } from "../origin/retry.ts"
import type { Downloader } from "../transfer/Downloader.ts"
import { makeFetch, memoryKey } from "./fetchRepresentation.ts"
import type { LookupResult } from "./LookupResult.ts"
import * as ResponseCache from "./ResponseCache.ts"

/** What to find out, and for which viewer. */
export interface LookupRequest {
  readonly resource: Resource
  /** The range that the viewer asked for, or `undefined` for everything. */
  readonly wanted: RangeSpec | undefined
  /** The validator to which the viewer ties its range. */
  readonly ifRange?: string | undefined
  readonly source: Source
  readonly directives: RequestDirectives | undefined
}

/**
 * Finds the current representation of a resource: from the `Catalog` while that is fresh for who asks, and else from the origin, in
 * one round trip that also starts the transfer of the bytes that are wanted. Requests for one resource at a time share it.
 */
export class Lookup extends Context.Service<Lookup, {
  /** What a resource is, from the cache while it is fresh, else from the origin, whose answer begins the transfer of what is wanted. */
  readonly find: (question: LookupRequest) => Effect.Effect<LookupResult, OriginError>
  /** The same without a transfer. */
  readonly head: (question: LookupRequest) => Effect.Effect<LookupResult, OriginError>
  /** What needs no asking, neither of the disk nor of the origin, for a request with `fields`. */
  readonly fresh: (
    resource: Resource,
    fields: HeaderFields,
    directives: RequestDirectives | undefined
  ) => Entry | undefined
  /** Requires revalidation before anything that is kept of a resource is used again; waits a little for the disk to record it. */
  readonly invalidate: (resource: Resource) => Effect.Effect<void>
  /** The same for a resource with any query, and all that lies below it. */
  readonly invalidateTree: (resource: Resource) => Effect.Effect<void>
  /** Forgets all answers other than files, and what is not to be kept. */
  readonly forget: () => void
}>()("spillway/services/media/Lookup") {
  static readonly layer: Layer.Layer<
    Lookup,
    never,
    CacheConfig | Catalog | ChunkCache | Downloader | Manifests | Origin | OriginConfig
  > = Layer.effect(Lookup, Effect.suspend(() => make))
}

/** How often an answer may turn out to be of another variant than was thought, or for another viewer. */
const MAX_SELECTIONS = 4

/** How long a viewer waits for the answer to a viewer with other cookies, which may be for both, before asking alone, in milliseconds. */
const JOIN_MILLIS = 1000

const make = Effect.gen(function*() {
  const { credentialFields, offline } = yield* OriginConfig
  const catalog = yield* Catalog
  const clock = yield* Clock.Clock
  const manifests = yield* Manifests
  const answers = ResponseCache.make()
  const notStorables = UncacheableHints.make()
  const fetch = yield* makeFetch({ answers, notStorables })
  const flights = SingleFlight.make<string, LookupResult, OriginError>()
  const inBackground = yield* FiberSet.makeRuntime<never, unknown, unknown>()
  yield* Metric.update(retries, 0)
  const now = () => clock.currentTimeMillisUnsafe()

  /** `entry`, as fresh as it is for `cookie`, if the origin has confirmed it for that. */
  const entryFor = (entry: Entry | undefined, cookie: string): Entry | undefined => {
    if (entry === undefined) return undefined
    const freshness = freshnessFor(entry, cookie)
    return freshness === undefined || freshness === entry.freshness ? freshness && entry : { ...entry, freshness }
  }

  /** An answer that is kept, if it is fresh, and for the asker. */
  const keptFor = ({ directives, resource }: LookupRequest, { cookie, credential }: Asker) => {
    const kept = credential === "" ? answers.get(resource.id, now(), directives) : undefined
    return kept !== undefined && (cookie === ANONYMOUS || isForAnyCookie(kept.answer.headers)) ? kept : undefined
  }

  /** Whether what was found by a request of other cookies is for `cookie` too. */
  const isForBoth = (found: LookupResult, cookie: string): boolean => {
    switch (found._tag) {
      case "Current":
        return freshnessFor(found.entry, cookie) !== undefined
      case "Final":
        return isForAnyCookie(found.answer.headers)
      default:
        return true
    }
  }

  /**
   * The outcome of the request `flight`, which is made for `cookie`, or shared with who makes it already. That may be somebody with
   * other cookies: `undefined` if it fails, takes long, or turns out to be for those alone.
   */
  const joined = (flight: string, cookie: string, work: Effect.Effect<LookupResult, OriginError>) =>
    Effect.suspend(() => {
      const leader = flights.leaderOf(flight)
      const outcome = flights.share(flight, work, cookie)
      if (leader === undefined || leader === cookie) return outcome
      return Effect.option(outcome).pipe(
        Effect.timeoutOrElse({ duration: JOIN_MILLIS, orElse: () => Effect.succeedNone }),
        Effect.map((found) => Option.getOrUndefined(Option.filter(found, (found) => isForBoth(found, cookie))))
      )
    })

  const find = Effect.fnUntraced(function*(method: "GET" | "HEAD", question: LookupRequest) {
    const { directives, ifRange, resource, source, wanted } = question
    const asker = askerOf(source.fields, credentialFields)
    const cacheOnly = offline || directives?.onlyIfCached === true
    let isAlone = false
    for (let selections = 0; selections < MAX_SELECTIONS; selections++) {
      const selected = catalog.select(resource, source.fields)
      const entry = Option.getOrUndefined(yield* catalog.get(selected))
      // What others may not be given is not requested with one viewer's credentials to be kept.
      if (entry?.isSharable === false && asker.credential !== "") {
        return cacheOnly ? { _tag: "NotCached" } as const : { _tag: "Uncacheable", reason: "AUTHORIZATION" } as const
      }
      const mine = entryFor(entry, asker.cookie)
      if (mine !== undefined && isFresh(mine.freshness, now(), directives)) {
        return { _tag: "Current", entry: mine, means: "fresh", cacheOnly } as const
      }
      const kept = keptFor(question, asker)
      if (kept !== undefined) return { _tag: "Final", ...kept } as const
      if (offline) {
        // Nobody can be asked whether it differs by cookie, and what those without one get isn't a secret.
        const any = mine ?? entryFor(entry, ANONYMOUS)
        if (any !== undefined) return { _tag: "Current", entry: any, means: "stale", cacheOnly: true } as const
      }
      if (cacheOnly) return { _tag: "NotCached" } as const
      const reason = notStorables.get(memoryKey(resource, asker), now(), wanted !== undefined)
      if (reason !== undefined) return { _tag: "Uncacheable", reason } as const
      const miss = catalog.varies(resource) ? "vary-miss" : "uri-miss"
      const isFreshForOthers = entry !== undefined && isFresh(entry.freshness, now())
      const why = entry === undefined ? miss : isFreshForOthers ? "request" : "stale"
      const request = {
        method,
        resource,
        wanted,
        ifRange,
        source,
        asker,
        directives,
        entry,
        mine,
        reason: why
      } as const
      // What is not for all is confirmed for each viewer. Nothing is known of what is new: it may be for all.
      const isOwn = isAlone || (entry !== undefined && !entry.isShared)
      const flight = `${method} ${selected.id} ${asker.credential}${isOwn ? ` ${asker.cookie}` : ""}`
      if (mine !== undefined && mayRevalidateBehind(mine.freshness, now(), directives)) {
        inBackground(Effect.ignore(joined(flight, asker.cookie, fetch({ ...request, background: true }))))
        return { _tag: "Current", entry: mine, means: "revalidating" } as const
      }
      let isFirst = false
      const found = yield* joined(
        flight,
        asker.cookie,
        Effect.suspend(() => {
          isFirst = true
          return fetch(request)
        })
      )
      if (found === undefined) {
        isAlone = true
        continue
      }
      if (found._tag === "Uncacheable") return isFirst ? found : { _tag: "Uncacheable", reason: found.reason } as const
      if (found._tag === "Final" && !isFirst) {
        // What varies is for the one whose request it answers.
        const isMine = varyNames(found.answer.headers).length === 0
        return isMine ? { ...found, collapsed: true } : { _tag: "Uncacheable", reason: "VARY" } as const
      }
      if (found._tag !== "Current") return found
      // Who joined another viewer's request may learn that the answer is of another variant than its own.
      const own = catalog.select(resource, source.fields)
      if (own.id === found.entry.representation.resource) return isFirst ? found : { ...found, collapsed: true }
    }
    return { _tag: "Uncacheable", reason: "VARY" } as const
  })

  return Lookup.of({
    find: (question) => find("GET", question),
    head: (question) => find("HEAD", question),
    fresh: (resource, fields, directives) => {
      const entry = catalog.fresh(resource, fields, directives)
      return entry?.isSharable === false && hasCredential(fields, credentialFields) ? undefined : entry
    },
    forget: () => {
      answers.clear()
      notStorables.clear()
    },
    invalidate: (resource) =>
      Effect.suspend(() => {
        answers.remove(resource.id)
        for (const cookie of [ANONYMOUS, "any"]) notStorables.remove(memoryKey(resource, { cookie, credential: "" }))
        return Effect.andThen(catalog.invalidate(resource), manifests.settled)
      }),
    invalidateTree: ({ url }) =>
      Effect.suspend(() => {
        const tree = treeAt(url)
        answers.removeAll((other) => isIn(tree, other))
        notStorables.clear()
        return catalog.invalidateTree(tree)
      })
  })
})
