import type { Freshness } from "../../domain/rfc/Freshness.ts"
import type { NotStorable } from "../../domain/rfc/Storable.ts"
import type { Entry } from "../cache/Catalog.ts"
import type { Answer } from "./AnswerCache.ts"
import type { SpareAnswer } from "./SpareAnswer.ts"

/**
 * What can be found out about a resource.
 */

/**
 * How a representation was come by. `described`: by an answer to HEAD, of which nothing is kept; `stale`: without the origin's word,
 * since it did not answer, or not usefully; `revalidating`: it is being asked meanwhile.
 */
export type Means = "fresh" | "validated" | "fetched" | "described" | "stale" | "revalidating"

/** Why the origin was asked, and what it answered. */
export interface Asked {
  readonly reason: "uri-miss" | "vary-miss" | "stale" | "request"
  readonly status: number | undefined
}

/** The current representation. */
export interface Current {
  readonly _tag: "Current"
  readonly entry: Entry
  readonly means: Means
  readonly asked?: Asked
  /** Somebody else's request brought the answer. */
  readonly collapsed?: boolean
  /** Nothing may be asked of the origin. */
  readonly cacheOnly?: boolean
}

/** An answer that is no file. */
export interface Final {
  readonly _tag: "Final"
  readonly answer: Answer
  readonly freshness?: Freshness
  readonly asked?: Asked
  /** Whether it is being kept. */
  readonly stored?: boolean
  /** Somebody else's request brought it. */
  readonly collapsed?: boolean
}

/** What a resource turned out to be. */
export type Found =
  | Current
  /** The origin's answer is to be passed on as it is: the one to what was asked, or one that was kept, with its `freshness`. */
  | Final
  /** The origin's answer is not for a shared cache: each viewer needs one of its own. The `answer` is for who asks first. */
  | { readonly _tag: "NotStorable"; readonly reason: NotStorable; readonly answer?: SpareAnswer }
  /** It is not in the cache, and the origin is not to be asked. */
  | { readonly _tag: "NotCached" }
