import type { HeaderFields } from "./Headers.ts"
import type { Representation } from "./Representation.ts"

/**
 * What a viewer's conditional fields mean for a current representation (RFC 9110 §13).
 */

const opaque = (etag: string): string => etag.replace(/^W\//, "")

const seconds = (date: string | undefined): number | undefined => {
  const time = date === undefined ? Number.NaN : Date.parse(date)
  return Number.isNaN(time) ? undefined : Math.floor(time / 1000)
}

/** Whether a GET or HEAD is answered 304: `If-None-Match` by weak comparison, else `If-Modified-Since`. */
export const isNotModified = (request: HeaderFields, representation: Representation): boolean => {
  const noneMatch = request["if-none-match"]
  if (noneMatch !== undefined) {
    if (noneMatch.trim() === "*") return true
    const etag = representation.headers["etag"]
    return etag !== undefined &&
      [...noneMatch.matchAll(/(?:W\/)?"[^"]*"/g)].some(([candidate]) => opaque(candidate) === opaque(etag))
  }
  const since = seconds(request["if-modified-since"])
  const modified = seconds(representation.lastModified)
  return since !== undefined && modified !== undefined && modified <= since
}

/**
 * Whether `Range` applies: `If-Range` is absent, or names this very representation, an ETag by strong comparison, a date
 * exactly (RFC 9110 §13.1.5). Otherwise the viewer gets the whole representation.
 */
export const rangeApplies = (ifRange: string | undefined, representation: Representation): boolean => {
  if (ifRange === undefined) return true
  const field = ifRange.trim()
  return field.startsWith("\"")
    ? field === representation.etag
    : !field.startsWith("W/") && representation.lastModified !== undefined && field === representation.lastModified
}
