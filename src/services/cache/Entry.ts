import { ANONYMOUS } from "../../domain/Asker.ts"
import { Audience } from "../../domain/Audience.ts"
import { longestGuess } from "../../domain/Guess.ts"
import { Representation, statusOf } from "../../domain/Representation.ts"
import { isForAnyCookie, isSharable } from "../../domain/rfc/Cacheability.ts"
import { endOf, type Freshness, freshnessOf, softened, type Times } from "../../domain/rfc/Freshness.ts"
import { type HeaderFields, lengthOf } from "../../domain/rfc/HeaderFields.ts"
import * as HttpDate from "../../domain/rfc/HttpDate.ts"
import { matchesAny, ttlOf } from "../../domain/TtlRule.ts"
import type { CacheOptions } from "../config/CacheConfig.ts"

/** What is known of a resource: its current representation, and for how long that needs no asking. */
export interface Entry {
  readonly representation: Representation
  /** According to the origin's last response, to any viewer. */
  readonly freshness: Freshness
  /** The viewers for which the origin has confirmed it. */
  readonly audience: Audience
  /** Whether the origin lets it answer requests with credentials (RFC 9111 §3.5). */
  readonly isSharable: boolean
  /** Whether it is for everybody, with any cookie. */
  readonly isShared: boolean
  /** A transfer found another version in its middle: two servers may have one each. */
  readonly isContested?: boolean
}

/** How fresh `entry` is for those who have `cookie`; `undefined` if the origin has not confirmed it for them. */
export const freshnessFor = ({ audience, freshness, isShared }: Entry, cookie: string): Freshness | undefined =>
  isShared ? freshness : audience.get(cookie)

/** Until when `entry` is fresh for who has no cookie, which is what its manifest says, in milliseconds since 1970. */
export const freshUntil = (entry: Entry): number => {
  const freshness = freshnessFor(entry, ANONYMOUS)
  return freshness === undefined ? -Infinity : endOf(freshness)
}

/** `entry` as a soft purge leaves it: stale since `at`, in milliseconds since 1970. It is newer than the bans up to `afterBan`. */
export const soften = (entry: Entry, at: number, afterBan: number): Entry => ({
  ...entry,
  representation: softenRepresentation(entry.representation, at, afterBan),
  freshness: softened(entry.freshness, at),
  audience: entry.audience.map((freshness) => softened(freshness, at))
})

/** The same for what a manifest says. */
export const softenRepresentation = (found: Representation, at: number, afterBan: number): Representation =>
  new Representation({ ...found, afterBan, softenedAt: Math.min(at, found.softenedAt ?? Infinity) })

/** What an entry takes besides its URL and fields, and each viewer for which it is confirmed, in bytes, roughly, as measured. */
const OVERHEAD_BYTES = 1024
const MEMBER_BYTES = 256

/** What an entry of the catalog takes of memory, in bytes, roughly. */
export const weightOf = ({ audience, representation: { headers, url } }: Entry): number =>
  OVERHEAD_BYTES + MEMBER_BYTES * audience.size + url.length + lengthOf(headers)

/** Makes entries, by the rules of the people who run the cache. */
export const entriesOf = (rules: Pick<CacheOptions, "ignoreCookies" | "ttl">) => {
  /** The operator's rule, which is for files. */
  const ruleFor = ({ status, url }: Representation) => status === undefined ? ttlOf(rules.ttl, url) : undefined

  const entryOf = (representation: Representation, freshness: Freshness, audience: Audience): Entry => ({
    representation,
    freshness,
    audience,
    isSharable: isSharable(representation.headers),
    isShared: isForAnyCookie(representation.headers) || matchesAny(rules.ignoreCookies, representation.url)
  })

  const assess = (
    found: Representation,
    answer: HeaderFields,
    times: Times,
    cookie: string,
    before: Audience = Audience.nobody
  ): Entry => {
    const headers = { ...found.headers, date: answer["date"] ?? HttpDate.format(times.received) }
    const age = answer["age"] === undefined ? {} : { age: answer["age"] }
    const guess = longestGuess(statusOf(found), found.url, headers)
    const freshness = freshnessOf({ ...headers, ...age }, times, ruleFor(found), guess)
    const audience = before.with(cookie, freshness)
    const { softenedAt: _, withCookie: _1, ...described } = found
    const representation = new Representation({
      ...described,
      headers,
      generatedAt: audience.get(ANONYMOUS)?.generatedAt ?? freshness.generatedAt,
      ...(audience.get(ANONYMOUS) === undefined && { withCookie: true })
    })
    return entryOf(representation, freshness, audience)
  }

  /** As far as its fields tell, and no fresher than when it was written. One from the future is stale. */
  const restored = (representation: Representation): Entry => {
    const { generatedAt, headers, softenedAt = Infinity, url, withCookie = false } = representation
    const guess = longestGuess(statusOf(representation), url, headers)
    const freshness = softened({
      ...freshnessOf(headers, { requested: generatedAt, received: generatedAt }, ruleFor(representation), guess),
      generatedAt
    }, softenedAt)
    return entryOf(representation, freshness, withCookie ? Audience.nobody : Audience.nobody.with(ANONYMOUS, freshness))
  }

  return { assess, restored }
}
