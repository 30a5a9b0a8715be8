import type { Uncacheable } from "../../domain/rfc/Cacheability.ts"
import type { ForwardReason } from "../../domain/rfc/CacheDecision.ts"
import type { Entry } from "../cache/Catalog.ts"
import type { UnmeasuredBody } from "../transfer/UnmeasuredBody.ts"
import type { SpareResponse } from "./SpareResponse.ts"

/**
 * What can be found out about a resource.
 */

/**
 * How a representation was come by. `described`: by an answer to HEAD, of which nothing is kept; `stale`: without the origin's word,
 * since it did not answer, or not usefully; `revalidating`: it is being asked meanwhile.
 */
export type Provenance = "fresh" | "validated" | "fetched" | "described" | "stale" | "revalidating"

/** Why the origin was asked, and what it answered. */
export interface OriginExchange {
  readonly reason: ForwardReason
  readonly status: number | undefined
  /** A node of a fleet that owns the file didn't respond. */
  readonly hasLostPeer?: boolean
}

/** The current representation, which may be of an error or a redirect. */
export interface Current {
  readonly _tag: "Current"
  readonly entry: Entry
  readonly means: Provenance
  readonly asked?: OriginExchange
  /** Somebody else's request brought the answer. */
  readonly collapsed?: boolean
  /** The body, if it isn't in the cache: all of it, for those who waited for it, or one without a length that arrives. */
  readonly body?: Uint8Array | UnmeasuredBody
  /** No request to the origin is allowed. */
  readonly cacheOnly?: boolean
}

/** What a resource turned out to be. */
export type LookupResult =
  | Current
  /** The origin's answer is not for a shared cache: each viewer needs one of its own. The `answer` is for who asks first. */
  | { readonly _tag: "Uncacheable"; readonly reason: Uncacheable; readonly answer?: SpareResponse }
  /** It is not in the cache, and the origin is not to be asked. */
  | { readonly _tag: "NotCached" }
