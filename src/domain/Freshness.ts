import type { HeaderFields } from "./Headers.ts"

/**
 * How long a stored response may be used without asking the origin (RFC 9111 §4.2), for a shared cache.
 */

/** The directives of a `Cache-Control` field, names in lower case, a directive without argument as `""`. */
export const parseCacheControl = (field: string | undefined): ReadonlyMap<string, string> => {
  const directives = new Map<string, string>()
  for (const match of (field ?? "").matchAll(/([^\s=,]+)(?:\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,]*)))?/g)) {
    directives.set(match[1]!.toLowerCase(), match[2] ?? match[3] ?? "")
  }
  return directives
}

const seconds = (text: string | undefined): number | undefined =>
  text !== undefined && /^\d+$/.test(text) ? Math.min(Number(text), 2 ** 31) : undefined

/**
 * The freshness lifetime left when a response arrives, in milliseconds, from `s-maxage`, `max-age` or `Expires`, less its
 * `Age`. 0 where the origin says nothing: then each use asks the origin, so that a changed file is seen at once.
 */
export const lifetime = (headers: HeaderFields, now: number): number => {
  const directives = parseCacheControl(headers["cache-control"])
  if (directives.has("no-cache")) return 0
  const age = initialAge(headers)
  const explicit = seconds(directives.get("s-maxage")) ?? seconds(directives.get("max-age"))
  if (explicit !== undefined) return Math.max(0, explicit * 1000 - age)
  const expires = headers["expires"] === undefined ? Number.NaN : Date.parse(headers["expires"])
  if (Number.isNaN(expires)) return 0
  const date = Date.parse(headers["date"] ?? "")
  return Math.max(0, expires - (Number.isNaN(date) ? now : date) - age)
}

/** The `Age` that a response arrived with, in milliseconds. */
export const initialAge = (headers: HeaderFields): number => (seconds(headers["age"]) ?? 0) * 1000
