import { Clock, Context, Effect, FiberSet, Layer, Metric } from "effect"
import { ANONYMOUS, type Asker, askerOf, hasCredential } from "../../domain/Asker.ts"
import type { Ban, BanTarget } from "../../domain/BanList.ts"
import type { OriginError } from "../../domain/OriginError.ts"
import type { Resource } from "../../domain/Resource.ts"
import type { RangeSpec } from "../../domain/rfc/ByteRange.ts"
import { noCache, type RequestDirectives } from "../../domain/rfc/CacheControl.ts"
import { decide } from "../../domain/rfc/CacheDecision.ts"
import { type AcceptedCodings, isAcceptable } from "../../domain/rfc/ContentCoding.ts"
import type { HeaderFields } from "../../domain/rfc/HeaderFields.ts"
import { Bans } from "../cache/Bans.ts"
import { Catalog, type Entry, freshnessFor } from "../cache/Catalog.ts"
import type { ChunkCache } from "../cache/ChunkCache.ts"
import type { Manifests } from "../cache/Manifests.ts"
import type { CacheConfig } from "../config/CacheConfig.ts"
import { OriginConfig } from "../config/OriginConfig.ts"
import { Fleet } from "../fleet/Fleet.ts"
import type { Source } from "../origin/askOrigin.ts"
import type { Origin } from "../origin/Origin.ts"
import { retries } from "../origin/retry.ts"
import type { Downloader } from "../transfer/Downloader.ts"
import { makeAcceptedFor } from "./acceptedFor.ts"
import { makeCollapse, resultFor } from "./collapse.ts"
import { makeFetch } from "./fetchRepresentation.ts"
import { makeGenerations } from "./Generations.ts"
import { makeInvalidation } from "./invalidation.ts"
import type { LookupResult } from "./LookupResult.ts"
import type { RangeRequest } from "./requestedRanges.ts"
import { makeStoredResponse } from "./storedResponse.ts"
import { makeStoredUse, memoryKey } from "./storedUse.ts"
import * as UncacheableHints from "./UncacheableHints.ts"
import { makeUnmeasuredResponses } from "./unmeasuredResponses.ts"

/** A request for the current representation of a resource. */
export interface LookupRequest extends RangeRequest {
  readonly resource: Resource
  /** The range to request from the origin; `undefined` for everything. */
  readonly wanted: RangeSpec | undefined
  readonly source: Source
  readonly directives: RequestDirectives | undefined
  /** The content codings that the viewer accepts. */
  readonly accepted: AcceptedCodings
  /** Requests of others are not shared, because two responses that were shared could not be read. */
  readonly isAlone?: boolean | undefined
  /** What `fresh` has returned for this request: it is not looked up again. */
  readonly fresh?: Entry | undefined
}

/** What `fresh` has to know of a request. */
type FreshRequest = Pick<LookupRequest, "accepted" | "directives" | "ifRange" | "ranges" | "resource">

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
  readonly fresh: (request: FreshRequest, fields: HeaderFields) => Entry | undefined
  /** Makes the origin be asked before anything stored of a resource is used again, and waits until the disk knows it. */
  readonly invalidate: (resource: Resource) => Effect.Effect<void>
  /** Bans what is stored until now, and forgets which resources are uncacheable. Doesn't wait until the disk knows it: see `Bans.saved`. */
  readonly ban: (target: BanTarget) => Effect.Effect<Ban>
}>()("spillway/services/media/Lookup") {
  static readonly layer: Layer.Layer<
    Lookup,
    never,
    Bans | CacheConfig | Catalog | ChunkCache | Downloader | Manifests | Origin | OriginConfig
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

/**
 * Which requests may share one to the origin. In a fleet, the node that owns their first byte is asked instead. Requests that wait for
 * different nodes are kept apart: nodes never wait for each other for one stretch, but for two they could.
 */
const groupOf = ({ isApart, peers }: Source, stretch: number): string =>
  isApart === true ? " apart" : peers === undefined ? "" : ` ${stretch}`

const make = Effect.gen(function*() {
  const { credentialFields, offline } = yield* OriginConfig
  const bans = yield* Bans
  const catalog = yield* Catalog
  const clock = yield* Clock.Clock
  const hints = UncacheableHints.make()
  const unmeasured = yield* makeUnmeasuredResponses
  const storedUse = yield* makeStoredUse({ hints, unmeasured })
  const acceptedFor = yield* makeAcceptedFor(hints)
  const { storedOf, variantsOf } = yield* makeStoredResponse
  const generations = makeGenerations()
  const fetch = yield* makeFetch({ generations, hints, storedUse, unmeasured })
  const collapse = makeCollapse()
  const inBackground = yield* FiberSet.makeRuntime<never, unknown, unknown>()
  yield* Metric.update(retries, 0)
  let alone = 0
  const { isBehind, stretchAt } = yield* Fleet
  const now = () => clock.currentTimeMillisUnsafe()

  /** What the cache knows that bears on a request, and what it decides. */
  const look = Effect.fnUntraced(function*(method: "GET" | "HEAD", request: LookupRequest, asker: Asker) {
    const { resource, wanted } = request
    const directives = isBehind() ? { ...noCache, ...request.directives, noCache: true } : request.directives
    const accepted = acceptedFor.forLookup(request, asker)
    const { file, isChosen, known, variant } = yield* storedOf(request, asker, accepted)
    const isBeside = known !== file
    const isUsable = isChosen || isBeside ||
      (known !== undefined && isAcceptable(known.representation.headers, accepted))
    const canDeliver = known !== undefined && isUsable &&
      (method === "HEAD" || storedUse.canDeliver(known.representation, request))
    const decision = decide({
      representation: known && {
        canDeliver,
        freshness: known.freshness,
        freshnessForViewer: freshnessFor(known, asker.cookie),
        freshnessForAnonymous: freshnessFor(known, ANONYMOUS),
        isSharable: known.isSharable,
        isChosen: isChosen || isBeside
      },
      uncacheable: hints.get(memoryKey(resource, asker, accepted), now(), wanted !== undefined),
      varies: catalog.varies(resource),
      hasCredential: asker.credential !== "",
      directives,
      isOffline: offline,
      now: now()
    })
    const usable = canDeliver ? known : undefined
    const entry = isChosen && !isBeside ? usable : undefined
    return { accepted, decision, entry, file, isChosen, known, mine: entryFor(usable, asker.cookie), variant }
  })

  const find = Effect.fnUntraced(function*(
    method: "GET" | "HEAD",
    request: LookupRequest
  ): Effect.fn.Return<LookupResult, OriginError> {
    const { directives, fresh, source, wanted } = request
    const cacheOnly = offline || directives?.onlyIfCached === true
    if (fresh !== undefined) return { _tag: "Current", entry: fresh, means: "fresh", cacheOnly }
    const asker = askerOf(source.fields, credentialFields)
    let isAlone = false
    for (let selections = 0; selections < MAX_SELECTIONS; selections++) {
      const { accepted, decision, entry, file, isChosen, known, mine, variant } = yield* look(method, request, asker)
      switch (decision._tag) {
        case "Fresh":
          return { _tag: "Current", entry: mine!, means: "fresh", cacheOnly }
        case "Offline":
          return { _tag: "Current", entry: (mine ?? entryFor(known, ANONYMOUS))!, means: "stale", cacheOnly }
        case "NotCached":
        case "Uncacheable":
          return decision
      }
      const { reason } = decision
      const arriving = method === "GET" && source.isApart !== true
        ? unmeasured.joinable(request, asker, accepted)
        : undefined
      if (arriving !== undefined) {
        return { _tag: "Current", ...arriving, means: "fetched", asked: { reason, status: undefined }, collapsed: true }
      }
      const question = { ...request, method, asker, accepted, isChosen, stored: file, entry, mine, reason }
      // What is not for all viewers is confirmed for each. Nothing is known of what is new: it may be for all.
      const stretch = stretchAt(wanted?._tag === "From" ? wanted.start : 0)
      const isOwn = isAlone || (known !== undefined && !known.isShared)
      const who = `${accepted.field} ${asker.credential}${isOwn ? ` ${asker.cookie}` : ""}${groupOf(source, stretch)}`
      const own = request.isAlone === true ? ` ${alone++}` : ""
      // Those who ask after a ban don't share a request from before it.
      const generation = `${generations.current(request.resource)} ${bans.latest()}`
      const flight = `${method} ${variant.id} ${generation} ${who}${own}`
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
      const result = resultFor(
        found,
        isLeader,
        ({ representation: { headers } }) => variantsOf(request, accepted, headers)
      )
      const isDeliverable = method === "HEAD" || isLeader || result?._tag !== "Current" ||
        result.body !== undefined ||
        storedUse.canDeliver(result.entry.representation, request)
      if (result !== undefined && isDeliverable) return result
    }
    return { _tag: "Uncacheable", reason: "VARY" }
  })

  return Lookup.of({
    find: (question) => find("GET", question),
    head: (question) => find("HEAD", question),
    fresh: (request, fields) => {
      if (isBehind()) return undefined
      const accepted = acceptedFor.forRanges(request, fields)
      const entry = catalog.fresh(request.resource, fields, accepted, request.directives)
      if (entry === undefined || !storedUse.canDeliver(entry.representation, request)) return undefined
      return entry.isSharable || !hasCredential(fields, credentialFields) ? entry : undefined
    },
    ...(yield* makeInvalidation({ generations, hints, unmeasured }))
  })
})
