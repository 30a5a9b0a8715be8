import type { Uncacheable } from "../../domain/rfc/Cacheability.ts"
import type { ForwardReason } from "../../domain/rfc/CacheDecision.ts"
import type { Freshness } from "../../domain/rfc/Freshness.ts"
import type { Entry } from "../cache/Catalog.ts"
import type { StoredResponse } from "./ResponseCache.ts"
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
}

/** The current representation. */
export interface Current {
  readonly _tag: "Current"
  readonly entry: Entry
  readonly means: Provenance
  readonly asked?: OriginExchange
  /** Somebody else's request brought the answer. */
  readonly collapsed?: boolean
  /** No request to the origin is allowed. */
  readonly cacheOnly?: boolean
}

/** An answer that is not file. */
export interface Final {
  readonly _tag: "Final"
  readonly answer: StoredResponse
  readonly freshness?: Freshness
  readonly asked?: OriginExchange
  /** Whether it is being kept. */
  readonly stored?: boolean
  /** Somebody else's request brought it. */
  readonly collapsed?: boolean
}

/** What a resource turned out to be. */
export type LookupResult =
  | Current
  /** The origin's answer is to be passed on as it is: the one to what was asked, or one that was kept, with its `freshness`. */
  | Final
  /** The origin's answer is not for a shared cache: each viewer needs one of its own. The `answer` is for who asks first. */
  | { readonly _tag: "Uncacheable"; readonly reason: Uncacheable; readonly answer?: SpareResponse }
  /** It is not in the cache, and the origin is not to be asked. */
  | { readonly _tag: "NotCached" }
