import { Clock, Context, Effect, FiberSet, Layer, Metric, Option } from "effect"
import { ANONYMOUS, type Asker, askerOf, hasCredential } from "../../domain/Asker.ts"
import type { OriginError } from "../../domain/OriginError.ts"
import { besideFile, type Resource } from "../../domain/Resource.ts"
import type { RangeSpec } from "../../domain/rfc/ByteRange.ts"
import type { RequestDirectives } from "../../domain/rfc/CacheControl.ts"
import { decide } from "../../domain/rfc/CacheDecision.ts"
import { isFresh } from "../../domain/rfc/Freshness.ts"
import type { HeaderFields } from "../../domain/rfc/HeaderFields.ts"
import { Catalog, type Entry, freshnessFor } from "../cache/Catalog.ts"
import type { ChunkCache } from "../cache/ChunkCache.ts"
import type { Manifests } from "../cache/Manifests.ts"
import type { CacheConfig } from "../config/CacheConfig.ts"
import { OriginConfig } from "../config/OriginConfig.ts"
import type { Source } from "../origin/askOrigin.ts"
import type { Origin } from "../origin/Origin.ts"
import { retries } from "../origin/retry.ts"
import type { Downloader } from "../transfer/Downloader.ts"
import { makeCollapse, resultFor } from "./collapse.ts"
import { makeFetch } from "./fetchRepresentation.ts"
import { makeInvalidation } from "./invalidation.ts"
import type { LookupResult } from "./LookupResult.ts"
import type { RangeRequest } from "./requestedRanges.ts"
import { makeStoredUse, memoryKey } from "./storedUse.ts"
import * as UncacheableHints from "./UncacheableHints.ts"

/** A request for the current representation of a resource. */
export interface LookupRequest extends RangeRequest {
  readonly resource: Resource
  /** The range to request from the origin; `undefined` for everything. */
  readonly wanted: RangeSpec | undefined
  readonly source: Source
  readonly directives: RequestDirectives | undefined
  /** What `fresh` has returned for this request: it is not looked up again. */
  readonly fresh?: Entry | undefined
}

/**
 * Finds the current representation of a resource. It comes from the `Catalog` while it is fresh for the viewer. Otherwise the origin is
 * asked, in one round trip that also starts the transfer of the wanted bytes. Concurrent requests for one resource share that round
 * trip. `decide` in `CacheDecision` says what happens when.
 */
export class Lookup extends Context.Service<Lookup, {
  /** Finds the representation for a GET. A response of the origin starts the transfer of the wanted bytes. */
  readonly find: (question: LookupRequest) => Effect.Effect<LookupResult, OriginError>
  /** Finds the representation for a HEAD: nothing is transferred. */
  readonly head: (question: LookupRequest) => Effect.Effect<LookupResult, OriginError>
  /** The representation if memory knows it and it is fresh for a request with `fields`; neither disk nor origin is asked. */
  readonly fresh: (
    resource: Resource,
    fields: HeaderFields,
    directives: RequestDirectives | undefined,
    request: RangeRequest
  ) => Entry | undefined
  /** Makes the origin be asked before anything stored of a resource is used again, and waits until the disk knows it. */
  readonly invalidate: (resource: Resource) => Effect.Effect<void>
  /** The same for a resource with any query, and for everything below it. */
  readonly invalidateTree: (resource: Resource) => Effect.Effect<void>
  /** Forgets which resources are uncacheable. */
  readonly forget: () => void
}>()("spillway/services/media/Lookup") {
  static readonly layer: Layer.Layer<
    Lookup,
    never,
    CacheConfig | Catalog | ChunkCache | Downloader | Manifests | Origin | OriginConfig
  > = Layer.effect(Lookup, Effect.suspend(() => make))
}

/** How often a response may turn out to be of another variant than expected, or for another viewer. */
const MAX_SELECTIONS = 4

/** `entry` with its freshness for `cookie`; `undefined` if the origin has not confirmed it for that cookie. */
const entryFor = (entry: Entry | undefined, cookie: string): Entry | undefined => {
  if (entry === undefined) return undefined
  const freshness = freshnessFor(entry, cookie)
  return freshness === undefined || freshness === entry.freshness ? freshness && entry : { ...entry, freshness }
}

const make = Effect.gen(function*() {
  const { credentialFields, offline } = yield* OriginConfig
  const catalog = yield* Catalog
  const clock = yield* Clock.Clock
  const hints = UncacheableHints.make()
  const storedUse = yield* makeStoredUse(hints)
  const fetch = yield* makeFetch({ hints, storedUse })
  const collapse = makeCollapse()
  const inBackground = yield* FiberSet.makeRuntime<never, unknown, unknown>()
  yield* Metric.update(retries, 0)
  const now = () => clock.currentTimeMillisUnsafe()

  const isFreshFor = (entry: Entry, { directives }: LookupRequest, { cookie }: Asker): boolean => {
    const freshness = freshnessFor(entry, cookie)
    return freshness !== undefined && isFresh(freshness, now(), directives)
  }

  /** What is stored of a variant: its file, or the response beside the file if that is fresh and the file isn't, or there is no file. */
  const storedOf = Effect.fnUntraced(function*(selected: Resource, request: LookupRequest, asker: Asker) {
    const file = Option.getOrUndefined(yield* catalog.get(selected))
    if (file !== undefined && isFreshFor(file, request, asker)) return { file, known: file }
    const beside = Option.getOrUndefined(yield* catalog.get(besideFile(selected)))
    const isBetter = beside !== undefined && (asker.credential === "" || beside.isSharable) &&
      (file === undefined || isFreshFor(beside, request, asker))
    return { file, known: isBetter ? beside : file }
  })

  /** What the cache knows that bears on a request, and what it decides. */
  const look = Effect.fnUntraced(function*(method: "GET" | "HEAD", request: LookupRequest, asker: Asker) {
    const { directives, resource, source, wanted } = request
    const selected = catalog.select(resource, source.fields)
    const { file, known } = yield* storedOf(selected, request, asker)
    const canDeliver = known !== undefined &&
      (method === "HEAD" || storedUse.canDeliver(known.representation, request))
    const decision = decide({
      representation: known && {
        canDeliver,
        freshness: known.freshness,
        freshnessForViewer: freshnessFor(known, asker.cookie),
        freshnessForAnonymous: freshnessFor(known, ANONYMOUS),
        isSharable: known.isSharable
      },
      uncacheable: hints.get(memoryKey(resource, asker), now(), wanted !== undefined),
      varies: catalog.varies(resource),
      hasCredential: asker.credential !== "",
      directives,
      isOffline: offline,
      now: now()
    })
    const entry = canDeliver ? known : undefined
    return { decision, file, known, entry, mine: entryFor(entry, asker.cookie), selected }
  })

  const find = Effect.fnUntraced(function*(
    method: "GET" | "HEAD",
    request: LookupRequest
  ): Effect.fn.Return<LookupResult, OriginError> {
    const { directives, fresh, ifRange, ranges, resource, source, wanted } = request
    const cacheOnly = offline || directives?.onlyIfCached === true
    if (fresh !== undefined) return { _tag: "Current", entry: fresh, means: "fresh", cacheOnly }
    const asker = askerOf(source.fields, credentialFields)
    let isAlone = false
    for (let selections = 0; selections < MAX_SELECTIONS; selections++) {
      const { decision, entry, file, known, mine, selected } = yield* look(method, request, asker)
      switch (decision._tag) {
        case "Fresh":
          return { _tag: "Current", entry: mine!, means: "fresh", cacheOnly }
        case "Offline":
          return { _tag: "Current", entry: (mine ?? entryFor(entry, ANONYMOUS))!, means: "stale", cacheOnly }
        case "NotCached":
        case "Uncacheable":
          return decision
      }
      const { reason } = decision
      const question = {
        method,
        resource,
        wanted,
        ranges,
        ifRange,
        source,
        asker,
        directives,
        stored: file,
        entry: entry === file ? entry : undefined,
        mine,
        reason
      } as const
      // What is not for all viewers is confirmed for each. Nothing is known of what is new: it may be for all.
      const isOwn = isAlone || (known !== undefined && !known.isShared)
      const flight = `${method} ${selected.id} ${asker.credential}${isOwn ? ` ${asker.cookie}` : ""}`
      if (decision._tag === "RevalidateBehind") {
        inBackground(Effect.ignore(collapse(flight, asker.cookie, fetch({ ...question, background: true }))))
        return { _tag: "Current", entry: mine!, means: "revalidating" }
      }
      let isLeader = false
      const work = Effect.suspend(() => {
        isLeader = true
        return fetch(question)
      })
      const found = yield* collapse(flight, asker.cookie, work)
      if (found === undefined) {
        isAlone = true
        continue
      }
      const result = resultFor(found, isLeader, catalog.select(resource, source.fields))
      const isDeliverable = method === "HEAD" || isLeader || result?._tag !== "Current" ||
        result.shared !== undefined ||
        storedUse.canDeliver(result.entry.representation, request)
      if (result !== undefined && isDeliverable) return result
    }
    return { _tag: "Uncacheable", reason: "VARY" }
  })

  return Lookup.of({
    find: (question) => find("GET", question),
    head: (question) => find("HEAD", question),
    fresh: (resource, fields, directives, request) => {
      const entry = catalog.fresh(resource, fields, directives)
      if (entry === undefined || !storedUse.canDeliver(entry.representation, request)) return undefined
      return entry.isSharable || !hasCredential(fields, credentialFields) ? entry : undefined
    },
    ...(yield* makeInvalidation({ hints }))
  })
})
