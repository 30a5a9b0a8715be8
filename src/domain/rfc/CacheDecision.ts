import type { Uncacheable } from "./Cacheability.ts"
import type { RequestDirectives } from "./CacheControl.ts"
import { type Freshness, isFresh, mayRevalidateBehind } from "./Freshness.ts"

/**
 * What a shared cache does with a request for a resource (RFC 9111 §4). The first line that applies decides:
 *
 * - `Uncacheable`: the request has credentials, and the representation is not for such requests. Without an origin: `NotCached`.
 * - `Fresh`: the representation is fresh for this request.
 * - `Offline`: the representation is stale, and the cache works offline.
 * - `NotCached`: the origin must not be asked.
 * - `Uncacheable`: the last response was uncacheable.
 * - `RevalidateBehind`: the representation is stale within `stale-while-revalidate`.
 * - `AskOrigin`: anything else.
 */
type CacheDecision =
  | { readonly _tag: "Fresh" }
  | { readonly _tag: "Offline" }
  | { readonly _tag: "NotCached" }
  | { readonly _tag: "Uncacheable"; readonly reason: Uncacheable }
  | { readonly _tag: "RevalidateBehind"; readonly reason: ForwardReason }
  | { readonly _tag: "AskOrigin"; readonly reason: ForwardReason }

/** Why a request goes to the origin (RFC 9211 §2.2). */
export type ForwardReason = "uri-miss" | "vary-miss" | "partial" | "stale" | "request"

/** What the cache knows of the representation that a request selects. */
export interface KnownRepresentation {
  /** Whether it can deliver the wanted bytes. If not, it counts as neither fresh nor stale. */
  readonly canDeliver: boolean
  /** Its freshness by the last response of the origin, for any viewer. */
  readonly freshness: Freshness
  /** Its freshness for this viewer; `undefined` if the origin has not confirmed it for the viewer's cookies. */
  readonly freshnessForViewer: Freshness | undefined
  /** Its freshness for viewers without cookies. */
  readonly freshnessForAnonymous: Freshness | undefined
  /** Whether it may answer requests with credentials (RFC 9111 §3.5). */
  readonly isSharable: boolean
  /**
   * Whether the origin has chosen it for the content codings that the request accepts. If not, it is used only if the origin can't be asked
   * (RFC 9111 §4.1).
   */
  readonly isChosen: boolean
}

/** What a decision depends on. */
export interface CacheFacts {
  readonly representation: KnownRepresentation | undefined
  /** Why the last response was uncacheable, for as long as that is remembered. */
  readonly uncacheable: Uncacheable | undefined
  /** Whether responses for the resource vary by fields of the request. */
  readonly varies: boolean
  /** Whether the request has credentials. */
  readonly hasCredential: boolean
  readonly directives: RequestDirectives | undefined
  /** Whether the cache works without an origin. */
  readonly isOffline: boolean
  /** Milliseconds since 1970. */
  readonly now: number
}

/** Decides what to do with a request. */
export const decide = (facts: CacheFacts): CacheDecision => {
  const { directives, hasCredential, isOffline, now, representation } = facts
  const isCacheOnly = isOffline || directives?.onlyIfCached === true
  if (representation?.isSharable === false && hasCredential) {
    return isCacheOnly ? { _tag: "NotCached" } : { _tag: "Uncacheable", reason: "AUTHORIZATION" }
  }
  const usable = representation?.canDeliver === true ? representation : undefined
  const freshness = usable?.freshnessForViewer
  const isChosen = usable?.isChosen === true
  if (isChosen && freshness !== undefined && isFresh(freshness, now, directives)) return { _tag: "Fresh" }
  // Offline, nobody can be asked whether it differs by cookie, and what viewers without one get is public.
  if (isOffline && (freshness ?? usable?.freshnessForAnonymous) !== undefined) return { _tag: "Offline" }
  if (isCacheOnly) return { _tag: "NotCached" }
  if (facts.uncacheable !== undefined) return { _tag: "Uncacheable", reason: facts.uncacheable }
  const reason = forwardReason(facts)
  return isChosen && freshness !== undefined && mayRevalidateBehind(freshness, now, directives)
    ? { _tag: "RevalidateBehind", reason }
    : { _tag: "AskOrigin", reason }
}

const forwardReason = ({ now, representation, varies }: CacheFacts): ForwardReason => {
  if (representation?.isChosen !== true) return varies ? "vary-miss" : "uri-miss"
  if (!representation.canDeliver) return "partial"
  // What is fresh for others is not for this request, by its directives or cookies.
  return isFresh(representation.freshness, now) ? "request" : "stale"
}
