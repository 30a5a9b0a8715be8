import type { HeaderFields } from "./HeaderFields.ts"
import * as HttpDate from "./HttpDate.ts"
import { hasStrongDate } from "./lastModified.ts"

/**
 * What a viewer's conditional fields mean for a current representation (RFC 9110 §13), and what a 304 carries.
 */

/** What conditions are compared with. `headers` may have the `Date` of the answer that it came with. */
export interface Validators {
  /** A strong one. */
  readonly etag?: string
  readonly lastModified?: string
  readonly headers: HeaderFields
}

/** The representation's entity-tag, weak or strong. */
const etagOf = (representation: Validators): string | undefined => representation.etag ?? representation.headers["etag"]

const isWeak = (etag: string): boolean => etag.startsWith("W/")

const opaque = (etag: string): string => isWeak(etag) ? etag.slice(2) : etag

/** The entity-tags of a list (RFC 9110 §8.8.3), and none of a list that is malformed. Takes linear time. */
const parseEtags = (field: string): ReadonlyArray<string> => {
  const etags: Array<string> = []
  let separated = true
  for (let at = 0; at < field.length;) {
    const next = field[at]
    if (next === " " || next === "\t") {
      at++
    } else if (next === ",") {
      separated = true
      at++
    } else {
      const open = field.startsWith("W/", at) ? at + 2 : at
      const close = field[open] === "\"" ? field.indexOf("\"", open + 1) : -1
      if (!separated || close === -1) return []
      etags.push(field.slice(at, close + 1))
      separated = false
      at = close + 1
    }
  }
  return etags
}

/** Whether `field`, of `If-Match` or `If-None-Match`, names `etag`: `*` names any, and a representation without one. */
const names = (field: string, etag: string | undefined, comparison: "Strong" | "Weak"): boolean => {
  if (field.trim() === "*") return true
  if (etag === undefined || (comparison === "Strong" && isWeak(etag))) return false
  return parseEtags(field).some((candidate) =>
    comparison === "Strong" ? candidate === etag : opaque(candidate) === opaque(etag)
  )
}

/** Whether a GET or HEAD is answered 412: `If-Match` by strong comparison, else `If-Unmodified-Since`. */
const isFailed = (request: HeaderFields, representation: Validators): boolean => {
  const match = request["if-match"]
  if (match !== undefined) return !names(match, etagOf(representation), "Strong")
  const field = request["if-unmodified-since"]
  if (field === undefined) return false
  const since = HttpDate.parse(field)
  const modified = HttpDate.parseLeniently(representation.lastModified)
  return since !== undefined && modified !== undefined && modified > since
}

/**
 * Whether a GET or HEAD is answered 304: `If-None-Match` by weak comparison, else `If-Modified-Since`, against the `Date`
 * of a representation without `Last-Modified` (RFC 9111 §4.3.2).
 */
export const isNotModified = (request: HeaderFields, representation: Validators): boolean => {
  const noneMatch = request["if-none-match"]
  if (noneMatch !== undefined) return names(noneMatch, etagOf(representation), "Weak")
  const field = request["if-modified-since"]
  if (field === undefined) return false
  // What the origin sent comes back as it was, though it may be no date.
  if (field === representation.lastModified) return true
  const since = HttpDate.parse(field)
  const modified = HttpDate.parseLeniently(representation.lastModified ?? representation.headers["date"])
  return since !== undefined && modified !== undefined && modified <= since
}

/**
 * Whether a GET or HEAD proceeds, is answered 304 or fails with 412, in the order of RFC 9110 §13.2.2. `If-Match` and
 * `If-Unmodified-Since` are an origin's to evaluate, not a cache's (RFC 9111 §4.3.2): a gateway answers as its origin,
 * and so should know that `representation` is what the origin has now.
 */
export const evaluate = (
  request: HeaderFields,
  representation: Validators
): "Proceed" | "NotModified" | "Failed" => {
  if (isFailed(request, representation)) return "Failed"
  return isNotModified(request, representation) ? "NotModified" : "Proceed"
}

/**
 * Whether `Range` applies: `If-Range` is absent, or names this very representation, an ETag by strong comparison, a date
 * exactly, and only where that is a strong validator (RFC 9110 §13.1.5). Otherwise the viewer gets the whole
 * representation.
 */
export const rangeApplies = (ifRange: string | undefined, representation: Validators): boolean => {
  if (ifRange === undefined) return true
  const field = ifRange.trim()
  return field.startsWith("\"")
    ? field === representation.etag
    : field === representation.lastModified &&
      hasStrongDate({ ...representation.headers, "last-modified": field })
}

const conditions = ["if-match", "if-modified-since", "if-none-match", "if-range", "if-unmodified-since"]

/** Whether a request has a precondition. */
export const isConditional = (request: HeaderFields): boolean => conditions.some((name) => request[name] !== undefined)

/** Fields about the representation or its bytes, which anyone who gets a 304 has already. */
const metadata = new Set([
  "accept-ranges",
  "content-digest",
  "content-disposition",
  "content-encoding",
  "content-language",
  "content-length",
  "content-range",
  "content-type",
  "repr-digest"
])

/** The fields of `headers` that a 304 carries: without representation metadata that guides no cache (RFC 9110 §15.4.5). */
export const notModifiedHeaders = (headers: HeaderFields): Record<string, string> => {
  const kept: Record<string, string> = {}
  for (const [name, value] of Object.entries(headers)) {
    if (metadata.has(name) || (name === "last-modified" && headers["etag"] !== undefined)) continue
    kept[name] = value
  }
  return kept
}
