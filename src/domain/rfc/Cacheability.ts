import { type Directives, responseDirectives } from "./CacheControl.ts"
import type { HeaderFields } from "./HeaderFields.ts"

/**
 * Which responses a shared cache may keep, and whom it may give them to (RFC 9111 §3, §4.1).
 */

/** Why an answer is passed on without being kept, in the form of a `Cache-Status` detail. */
export type Uncacheable =
  | "STATUS"
  | "NO_STORE"
  | "PRIVATE"
  | "VARY"
  | "SET_COOKIE"
  | "ENCODED"
  | "NO_LENGTH"
  | "TOO_LARGE"
  | "NO_VALIDATOR"
  | "AUTHORIZATION"
  | "COOKIE"

/** A response that depends on more request fields than this has more variants than are worth keeping. */
export const MAX_VARY_NAMES = 8

const heuristicallyCacheable = new Set([200, 203, 204, 206, 300, 301, 308, 404, 405, 410, 414, 501])

/** Whether a response of `status` may be kept, and be fresh by a guess, where its header says nothing (RFC 9110 §15.1). */
export const isHeuristicallyCacheable = (status: number): boolean => heuristicallyCacheable.has(status)

const ofTheRequest = new Set([400, 406, 408, 411, 412, 413, 415, 417, 421, 426, 428, 429, 431])

/**
 * Whether a response of `status` is about what one request was like besides its URL, so that the next one for the same may be
 * answered well: kept, it would let one viewer spoil a file for all.
 */
export const isOfTheRequest = (status: number): boolean => ofTheRequest.has(status)

/** Whether a response of `status` is an error of the server that may be over at any moment. */
export const isServerError = (status: number): boolean =>
  status === 500 || status === 502 || status === 503 || status === 504

/**
 * Whether a response of `status` may be stored. `isExplicit`: the origin states how long it is fresh. Even then, an error of the server is
 * not stored.
 */
export const isStorableStatus = (status: number, isExplicit: boolean): boolean =>
  isHeuristicallyCacheable(status) || (isExplicit && !isServerError(status) && !isOfTheRequest(status))

/** What `must-understand` asks about: the caching of these is implemented (RFC 9111 §5.2.2.3). */
const isUnderstood = isHeuristicallyCacheable

const allowsSharing = (directives: Directives): boolean =>
  directives.has("public") || directives.has("s-maxage") || directives.has("must-revalidate")

/** Whether the origin says that the response is the same for all, so that it does not depend on their cookies. */
export const isForAnyCookie = (headers: HeaderFields): boolean => {
  const directives = responseDirectives(headers)
  return directives.has("public") || directives.has("s-maxage") || directives.has("immutable")
}

/** Whether the response may answer requests with `Authorization` (RFC 9111 §3.5). */
export const isSharable = (headers: HeaderFields): boolean => allowsSharing(responseDirectives(headers))

/**
 * The request fields that the response depends on: in lower case, sorted, each once (RFC 9110 §12.5.5). Without `accept-encoding`, of
 * which `ContentCoding` takes care.
 */
export const varyNames = (headers: HeaderFields): ReadonlyArray<string> => {
  const field = headers["vary"]
  if (field === undefined) return []
  const names = new Set(field.toLowerCase().split(",").map((name) => name.trim()))
  return [...names].filter((name) => name !== "" && name !== "accept-encoding").toSorted()
}

/** Whether the response has a variant for each person, or too many. */
export const variesTooMuch = (headers: HeaderFields): boolean => {
  const names = varyNames(headers)
  return names.length > MAX_VARY_NAMES ||
    names.some((name) => name === "*" || name === "cookie" || name === "authorization")
}

/**
 * Why the response to a GET must not be kept by a shared cache (RFC 9111 §3), or `undefined`; `authorized` when the request
 * had `Authorization`. Whether the status is one to keep is for the caller to decide, except that `must-understand` is heeded:
 * it lifts `no-store` from a status that is understood, and forbids all others (§5.2.2.3).
 *
 * `private` is taken for unqualified, even with an argument, as §5.2.2.7 notes of many caches. An answer that sets a cookie
 * is for one viewer unless the origin says `public` or `s-maxage`; that field itself is not for keeping even then.
 */
export const whyUncacheable = (
  status: number,
  headers: HeaderFields,
  authorized: boolean
): "NO_STORE" | "PRIVATE" | "VARY" | "SET_COOKIE" | "AUTHORIZATION" | undefined => {
  const directives = responseDirectives(headers)
  if (directives.has("must-understand") ? !isUnderstood(status) : directives.has("no-store")) return "NO_STORE"
  if (directives.has("private")) return "PRIVATE"
  if (authorized && !allowsSharing(directives)) return "AUTHORIZATION"
  if (variesTooMuch(headers)) return "VARY"
  if (headers["set-cookie"] !== undefined && !directives.has("public") && !directives.has("s-maxage")) {
    return "SET_COOKIE"
  }
  return undefined
}
