import { Clock, Effect } from "effect"
import { ANONYMOUS, type Asker } from "../../domain/Asker.ts"
import { indexAt } from "../../domain/Chunk.ts"
import { canRevalidate, isSingle, type OriginHead, type Representation, updated } from "../../domain/Representation.ts"
import type { Resource } from "../../domain/Resource.ts"
import { resolve } from "../../domain/rfc/ByteRange.ts"
import { type Uncacheable, whyUncacheable } from "../../domain/rfc/Cacheability.ts"
import type { AcceptedCodings } from "../../domain/rfc/ContentCoding.ts"
import { mayServeStale } from "../../domain/rfc/Freshness.ts"
import { Catalog } from "../cache/Catalog.ts"
import { ChunkCache } from "../cache/ChunkCache.ts"
import type { Source } from "../origin/askOrigin.ts"
import type { FirstResponse } from "../origin/firstResponse.ts"
import { Downloader } from "../transfer/Downloader.ts"
import type { Exchange, Request } from "./Exchange.ts"
import type { Memories } from "./fetchRepresentation.ts"
import type { Current, LookupResult, OriginExchange } from "./LookupResult.ts"
import { type RangeRequest, requestedRanges } from "./requestedRanges.ts"

/**
 * The key under which a response is remembered as uncacheable: viewers with a cookie, or who accept other content codings, may get another
 * one.
 */
export const memoryKey = ({ id }: Resource, { cookie, credential }: Asker, { field }: AcceptedCodings): string =>
  `${id} ${credential} ${cookie === ANONYMOUS ? "" : "cookie"} ${field}`

/** When a stored representation is used although the origin is asked, and when it is not used again. */
export const makeStoredUse = Effect.fnUntraced(function*(
  { hints, unmeasured }: Pick<Memories, "hints" | "unmeasured">
) {
  const catalog = yield* Catalog
  const cache = yield* ChunkCache
  const clock = yield* Clock.Clock
  const downloader = yield* Downloader
  const now = () => clock.currentTimeMillisUnsafe()

  /**
   * Whether a representation can deliver what is requested. A `Single` one has to have all of it at hand, because no other response brings
   * the rest.
   */
  const canDeliver = (representation: Representation, request: RangeRequest & { readonly source?: Source }): boolean =>
    !isSingle(representation) ||
    requestedRanges(representation, request).ranges.every((range) =>
      cache.hasAll(representation, range) || downloader.canFollow(representation, range.start, request.source)
    )

  /** Whether the first wanted byte is in the cache or on its way. */
  const hasFirst = (representation: Representation, request: Request): boolean => {
    if (isSingle(representation)) return canDeliver(representation, request)
    const { source, wanted } = request
    const { chunkSize, id, resource, size } = representation
    const range = wanted === undefined ? { start: 0, end: size } : resolve(wanted, size)
    if (range === undefined || range.start === range.end) return true
    return cache.has({ resource, representation: id, index: indexAt(range.start, chunkSize) }) ||
      downloader.isRunning(representation, range.start, source)
  }

  /** What is stored for the viewer, if it may be used because the origin cannot be asked. */
  const staleFor = (request: Request, asked: OriginExchange): Current | undefined => {
    const { directives, mine } = request
    if (mine === undefined || !mayServeStale(mine.freshness, now(), directives)) return undefined
    return hasFirst(mine.representation, request) ? { _tag: "Current", entry: mine, means: "stale", asked } : undefined
  }

  /** Whether the request to the origin may be conditional: the first byte is at hand, so a 304 is enough. */
  const isConditional = (request: Request): boolean => {
    const { asker, entry, method } = request
    if (entry === undefined || entry.isContested === true || !canRevalidate(entry.representation)) return false
    const { audience, isShared, representation } = entry
    // "Not modified since" may be said of another file, which others get; an `ETag` names this one.
    const isNamed = representation.etag !== undefined || isShared || audience.get(asker.cookie) !== undefined
    return isNamed && (method === "HEAD" || hasFirst(representation, request))
  }

  /** Takes what is stored from the viewer; from all viewers, unless others have it by a cookie of their own. */
  const withdraw = ({ asker, stored, resource }: Request): Effect.Effect<void> => {
    if (stored === undefined || stored.isShared || !stored.audience.hasOthers(asker.cookie)) {
      return catalog.invalidate(resource)
    }
    return Effect.sync(() => catalog.exclude(stored.representation, asker.cookie))
  }

  /** Remembers that a response is uncacheable. If the origin takes back what is stored, that is not used again. */
  const remember = (request: Request, reason: Uncacheable, head: OriginHead): Effect.Effect<void> => {
    if (head.isAboutViewer === true) return Effect.void
    // What is stored may still be confirmed, or be needed when the origin fails.
    const mayUseStored = request.stored !== undefined && request.isChosen &&
      (reason === "NO_VALIDATOR" || reason === "NO_LENGTH")
    if (!mayUseStored) hints.put(memoryKey(request.resource, request.asker, request.accepted), reason, head, now())
    if (request.asker.credential !== "" || (reason !== "PRIVATE" && reason !== "NO_STORE")) return Effect.void
    unmeasured.releaseFamily(request.resource)
    return withdraw(request)
  }

  /** Takes a response of the origin that confirms a stored representation. */
  const confirm = Effect.fnUntraced(function*(
    { afterBan, asked, request }: Exchange,
    { response, times }: FirstResponse,
    stored: Representation,
    status: number
  ): Effect.fn.Return<LookupResult> {
    const next = updated(stored, response.headers, afterBan)
    const why = whyUncacheable(200, next.headers, request.asker.credential !== "")
    if (why !== undefined) {
      yield* remember(request, why, response)
      return { _tag: "Uncacheable", reason: why }
    }
    catalog.vary(request.resource, response.headers, request.source.fields)
    const entry = catalog.confirm(next, response.headers, times, request.asker.cookie)
    return { _tag: "Current", entry, means: "validated", asked: { ...asked, status } }
  })

  return { canDeliver, confirm, isConditional, remember, staleFor, withdraw }
})

/** What `makeStoredUse` makes. */
export interface StoredUse extends Effect.Success<ReturnType<typeof makeStoredUse>> {}
