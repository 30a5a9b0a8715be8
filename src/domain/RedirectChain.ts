import { longestGuess } from "./Guess.ts"
import { isHeuristicallyCacheable, whyUncacheable } from "./rfc/Cacheability.ts"
import { deltaMillis, type Directives, format, parse, targetedDirectives } from "./rfc/CacheControl.ts"
import { age, type Freshness, freshnessOf, type Times } from "./rfc/Freshness.ts"
import type { HeaderFields } from "./rfc/HeaderFields.ts"

/**
 * What a chain of redirects, followed on behalf of a viewer, says as the one answer to the URL that was requested. Every hop has a
 * say: the redirect decides for how long its URL leads where it does, and who may follow it.
 */

/** One answer of a chain: a redirect that was followed, or, as the last one, where it led to. */
export interface HopAnswer {
  readonly url: string
  readonly status: number
  readonly headers: HeaderFields
  readonly times: Times
  /** It came from the origin that was asked first, which gets the viewer's cookies and credentials; others do not. */
  readonly isFirstOrigin: boolean
}

/** An answer as one kind of cache reads it. */
interface View extends HopAnswer {
  readonly directives: Directives
  readonly freshness: Freshness
}

const viewOf = (answer: HopAnswer, directives: Directives): View => {
  const { headers, status, times, url } = answer
  return {
    ...answer,
    directives,
    freshness: freshnessOf(headers, times, undefined, longestGuess(status, url, headers))
  }
}

/** As this cache reads it, and others that `CDN-Cache-Control` is for. */
const targetedView = (answer: HopAnswer): View =>
  viewOf(answer, targetedDirectives(answer.headers) ?? parse(answer.headers["cache-control"]))

/** As browsers read it. */
const plainView = (answer: HopAnswer): View => {
  const { "cdn-cache-control": _, ...headers } = answer.headers
  const { "s-maxage": _1, ...directives } = Object.fromEntries(parse(headers["cache-control"]))
  const control = new Map(Object.entries(directives))
  return viewOf({ ...answer, headers: { ...headers, "cache-control": format(control) } }, control)
}

/** A permanent redirect that says no lifetime leads there for as long as one likes; a temporary one is requested each time. */
const isUnlimited = ({ freshness, status }: View): boolean => !freshness.explicit && (status === 301 || status === 308)

const mayGuess = (status: number): boolean => status === 304 || isHeuristicallyCacheable(status)

/** How much longer a redirect that was followed lets the answer be used, in milliseconds. */
const remaining = ({ freshness }: View, now: number): number =>
  freshness.explicit ? freshness.lifetime - age(freshness, now) : 0

/** The least of what the views say with a directive, in seconds; `undefined` where none says it. */
const least = (views: ReadonlyArray<View>, name: string, absent: number | undefined): number | undefined => {
  const millis = views.map(({ directives }) => deltaMillis(directives.get(name)) ?? absent)
    .filter((value) => value !== undefined)
  return millis.length === 0 ? undefined : Math.floor(Math.min(...millis) / 1000)
}

const fold = (views: ReadonlyArray<View>): Directives => {
  const last = views.at(-1)!
  const first = views.filter(({ isFirstOrigin }) => isFirstOrigin)
  const some = (name: string) => views.some(({ directives }) => directives.has(name))
  const limits = views.slice(0, -1).filter((view) => !isUnlimited(view))
  const folded = new Map<string, string>()
  const add = (name: string, isSaid: boolean) => isSaid && folded.set(name, "")
  const seconds = (name: string, value: number | undefined) => value !== undefined && folded.set(name, String(value))

  const refusals = new Set(views.map(({ headers, status }) => whyUncacheable(status, headers, false)))
  add("no-store", refusals.has("NO_STORE"))
  add("private", refusals.has("PRIVATE"))
  add("no-cache", some("no-cache"))
  add("no-transform", some("no-transform"))

  // What an origin gives to one viewer's cookie or credentials is for others where each of its answers says so.
  const isPublic = ({ directives }: View) => directives.has("public") || directives.has("s-maxage")
  add("public", first.every(isPublic))
  const isShared = first.every((view) => isPublic(view) || view.directives.has("must-revalidate"))
  add("must-revalidate", isShared && some("must-revalidate"))
  const isStrict = some("must-revalidate") || some("proxy-revalidate") ||
    views.some(({ directives }) => directives.has("s-maxage") && !directives.has("stale-if-error"))
  add("proxy-revalidate", isStrict && !folded.has("must-revalidate"))
  add("immutable", views.every(({ directives }) => directives.has("immutable")))

  const now = last.times.received
  const { explicit, lifetime } = last.freshness
  const isGuessed = !explicit && !last.directives.has("immutable")
  // A guess is left to anyone who reads the answer, unless a redirect sets a limit to it.
  if (limits.length > 0) {
    const lastAge = age(last.freshness, now)
    const own = isGuessed && !mayGuess(last.status) ? 0 : lifetime - lastAge
    const left = Math.min(own, ...limits.map((view) => remaining(view, now)))
    // It counts from when the last answer was made, whose `Date` and `Age` the viewer gets.
    seconds("max-age", left <= 0 ? 0 : Math.floor((left + lastAge) / 1000))
  } else if (!isGuessed) seconds("max-age", Math.floor(lifetime / 1000))
  seconds("stale-while-revalidate", least([...limits, last], "stale-while-revalidate", 0) || undefined)
  seconds("stale-if-error", least(views, "stale-if-error", undefined))
  return folded
}

/** The fields of `Vary`, each once. */
const varyOf = (answers: ReadonlyArray<HopAnswer>): string =>
  [...new Set(answers.flatMap(({ headers }) => (headers["vary"] ?? "").toLowerCase().split(/[\s,]+/)))]
    .filter((name) => name !== "").join(", ")

/**
 * The fields of the last of `answers`, with what all of them say about caching: the least lifetime, every restriction, a permission
 * where each answer of the first origin gives it, and all fields of `Vary`. A single answer is left as it is.
 */
export const foldChain = (answers: ReadonlyArray<HopAnswer>): HeaderFields => {
  const { headers } = answers.at(-1)!
  if (answers.length === 1) return headers
  const { "cache-control": _, "cdn-cache-control": _1, expires: _2, vary: _3, ...others } = headers
  const plain = format(fold(answers.map(plainView)))
  const targeted = fold(answers.map(targetedView))
  const vary = varyOf(answers)
  return {
    ...others,
    ...(plain !== "" && { "cache-control": plain }),
    ...(format(targeted) !== plain && { "cdn-cache-control": format(targeted) }),
    ...(vary !== "" && { vary })
  }
}
