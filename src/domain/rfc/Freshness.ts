import { deltaMillis, type Directives, parse, type RequestDirectives, targetedDirectives } from "./CacheControl.ts"
import type { HeaderFields } from "./HeaderFields.ts"
import * as HttpDate from "./HttpDate.ts"

/**
 * How long a stored response may be used without asking the origin, and how much longer when the origin cannot be asked
 * (RFC 9111 §4.2, RFC 5861), for a shared cache.
 */

/** How long an `immutable` response that says no lifetime is fresh (RFC 8246). */
export const IMMUTABLE_MILLIS = 24 * 60 * 60 * 1000

/** The longest that a response is fresh by the age of its file alone (RFC 9111 §4.2.2). */
export const HEURISTIC_MILLIS = 60 * 60 * 1000

/** What is known of the freshness of one response. Milliseconds. */
export interface Freshness {
  /** The instant, since 1970, at which the response's age was 0 (RFC 9111 §4.2.3). */
  readonly generatedAt: number
  /** The age at which it becomes stale. */
  readonly lifetime: number
  /** For how long it may still be used once stale, while the origin is being asked (RFC 5861 §3). */
  readonly staleWhileRevalidate: number
  /** For how long it may still be used once stale, when the origin fails; `undefined` when the origin says nothing (§4). */
  readonly staleIfError: number | undefined
  /** Whether, once stale, it must not be used although the origin cannot be asked (RFC 9111 §5.2.2.2, §5.2.2.8). */
  readonly mustRevalidate: boolean
  /** Whether `lifetime` is the origin's own word, rather than an operator's or a guess. */
  readonly explicit: boolean
}

/**
 * An operator's rule of how many milliseconds a response is fresh: where the origin says none, or, with `override`, instead
 * of what the origin says, `no-cache` and `must-revalidate` included. It changes no age: what comes old becomes stale sooner.
 */
export interface Ttl {
  readonly lifetime: number
  readonly override: boolean
}

/** When a response was requested and when its header was there, in milliseconds since 1970. */
export interface Times {
  readonly requested: number
  readonly received: number
}

/** The `Age` that a response came with: the first of a list, 0 for one that is invalid (RFC 9111 §5.1). */
const ageField = (headers: HeaderFields): number => deltaMillis(headers["age"]?.split(",", 1)[0]!.trim()) ?? 0

/** The directives after which there is no guessing. */
const forbidsHeuristic = (directives: Directives): boolean =>
  directives.has("must-revalidate") || directives.has("proxy-revalidate") || directives.has("no-store")

/**
 * The lifetime that the origin states (RFC 9111 §4.2.1), or `undefined`. An invalid lifetime is 0. `no-cache` is
 * 0 in its qualified form too, as §5.2.2.4 notes of many caches.
 */
const stated = (directives: Directives, expires: string | undefined, date: number): number | undefined => {
  if (directives.has("no-cache")) return 0
  const seconds = directives.get("s-maxage") ?? directives.get("max-age")
  if (seconds !== undefined) return deltaMillis(seconds) ?? 0
  if (expires === undefined) return undefined
  const end = HttpDate.parse(expires)
  return end === undefined ? 0 : Math.max(0, end - date)
}

/** A tenth of the time for which the file had not been changed (RFC 9111 §4.2.2), at most `longest` milliseconds. */
const heuristic = (lastModified: string | undefined, date: number, longest: number): number => {
  const modified = HttpDate.parseLeniently(lastModified)
  return modified === undefined ? 0 : Math.min(Math.max(0, Math.floor((date - modified) / 10)), longest)
}

/**
 * The freshness of a response that has just come from the origin, or that the origin has just confirmed. Its age counts from
 * `Date` or from `Age`, whichever makes it older. A valid `CDN-Cache-Control` hides `Cache-Control` and `Expires` (RFC 9213
 * §2.2). A guess is at most `longestGuess` milliseconds. A status that is not heuristically cacheable is for the caller to refuse.
 *
 * `stale-while-revalidate` and `stale-if-error` have no effect beside `must-revalidate`, `proxy-revalidate` or `no-cache`. Beside
 * `s-maxage`, which implies `proxy-revalidate` (RFC 9111 §5.2.2.10), they have: an origin that says both means both.
 */
export const freshnessOf = (
  headers: HeaderFields,
  { received, requested }: Times,
  ttl?: Ttl,
  longestGuess = HEURISTIC_MILLIS
): Freshness => {
  const targeted = targetedDirectives(headers)
  const directives = targeted ?? parse(headers["cache-control"])
  const date = HttpDate.parse(headers["date"]) ?? received
  const apparentAge = received - date
  const correctedAge = ageField(headers) + Math.max(0, received - requested)
  const own = stated(directives, targeted === undefined ? headers["expires"] : undefined, date)
  const override = ttl?.override === true
  const lifetime = override ? ttl.lifetime : own ?? ttl?.lifetime ?? (
    directives.has("immutable")
      ? IMMUTABLE_MILLIS
      : forbidsHeuristic(directives)
      ? 0
      : heuristic(headers["last-modified"], date, longestGuess)
  )
  const strict = !override &&
    (directives.has("must-revalidate") || directives.has("proxy-revalidate") || directives.has("no-cache"))
  return {
    generatedAt: received - Math.max(0, apparentAge, correctedAge),
    lifetime,
    staleWhileRevalidate: strict ? 0 : deltaMillis(directives.get("stale-while-revalidate")) ?? 0,
    staleIfError: deltaMillis(directives.get("stale-if-error")),
    mustRevalidate: strict || (!override && directives.has("s-maxage") && !directives.has("stale-if-error")),
    explicit: !override && own !== undefined
  }
}

/** What of `headers`, or which rule of the operator's, decides how long a response is fresh: `freshnessOf` in words. */
export const freshnessSource = (headers: HeaderFields, ttl?: Ttl): string => {
  if (ttl?.override === true) return "--ttl for this path"
  const targeted = targetedDirectives(headers)
  const directives = targeted ?? parse(headers["cache-control"])
  const field = targeted === undefined ? "Cache-Control" : "CDN-Cache-Control"
  for (const name of ["no-cache", "s-maxage", "max-age"]) if (directives.has(name)) return `${field}: ${name}`
  if (targeted === undefined && headers["expires"] !== undefined) return "Expires"
  if (ttl !== undefined) return "--ttl"
  if (directives.has("immutable")) return `${field}: immutable`
  if (forbidsHeuristic(directives)) return field
  return headers["last-modified"] === undefined ? "nothing" : "guessed from Last-Modified"
}

/** The current age, in milliseconds, never negative (RFC 9111 §4.2.3), and 0 for a response from the future. */
export const age = (freshness: Freshness, now: number): number => Math.max(0, now - freshness.generatedAt)

/**
 * How long it has been stale, in milliseconds, negative while it is fresh. The age of a response from the future is unknown, since
 * the clock has been set back: it counts as stale for at least as long as the clock is behind.
 */
const staleness = ({ generatedAt, lifetime }: Freshness, now: number): number =>
  now < generatedAt ? generatedAt - now : now - generatedAt - lifetime

/** Whether a request asks for more than freshness. */
const isPicky = (request: RequestDirectives | undefined): boolean =>
  request !== undefined && (request.noCache || request.maxAge !== undefined || request.minFresh !== undefined)

/**
 * Whether the response answers a request without asking the origin: it is fresh, and as young and as long fresh as the
 * request wants it, or the request takes it stale and the origin does not forbid that (RFC 9111 §4.2, §5.2.1).
 */
export const isFresh = (freshness: Freshness, now: number, request?: RequestDirectives): boolean => {
  const stale = staleness(freshness, now)
  if (request === undefined) return stale < 0
  if (request.noCache) return false
  if (request.maxAge !== undefined && age(freshness, now) > request.maxAge) return false
  if (request.minFresh !== undefined && -stale < request.minFresh) return false
  return stale < 0 || (!freshness.mustRevalidate && request.maxStale !== undefined && stale <= request.maxStale)
}

/**
 * Whether a stale response may be used at once while the origin is asked behind it (RFC 5861 §3). Not for a request with
 * `no-cache`, `max-age` or `min-fresh`, which wants no stale response; `max-stale` only ever allows more.
 */
export const mayRevalidateBehind = (freshness: Freshness, now: number, request?: RequestDirectives): boolean => {
  const stale = staleness(freshness, now)
  return stale >= 0 && stale < freshness.staleWhileRevalidate && !isPicky(request)
}

/**
 * Whether the response may be used after the origin could not be asked (RFC 9111 §4.2.4, RFC 5861 §4). Within the longer
 * `stale-if-error` of origin and request; without any, for as long as the origin fails, unless the origin forbids it. What a
 * request prefers by `no-cache`, `max-age` or `min-fresh` (§5.2.1) nobody can give it then: a reload gets what there is.
 */
export const mayServeStale = (freshness: Freshness, now: number, request?: RequestDirectives): boolean => {
  const stale = staleness(freshness, now)
  if (freshness.mustRevalidate && stale >= 0) return false
  const { staleIfError: asked } = request ?? {}
  if (freshness.staleIfError === undefined && asked === undefined) return true
  return stale < Math.max(freshness.staleIfError ?? 0, asked ?? 0)
}

/** The whole seconds for which the response stays fresh, negative when it is stale, as `Cache-Status` has it (RFC 9211 §2.5). */
export const ttlSeconds = (freshness: Freshness, now: number): number => Math.floor(-staleness(freshness, now) / 1000)

/** `freshness` that ends at `at` at the latest, in milliseconds since 1970. It may still be used while the origin is asked, or fails. */
export const softened = (freshness: Freshness, at: number): Freshness => ({
  ...freshness,
  lifetime: Math.max(0, Math.min(freshness.lifetime, at - freshness.generatedAt))
})

/** The instant, in milliseconds since 1970, at which a response becomes stale. */
export const endOf = ({ generatedAt, lifetime }: Freshness): number => generatedAt + lifetime
