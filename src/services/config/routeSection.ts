import { Schema, Struct } from "effect"
import type { CacheKeyRule } from "../../domain/CacheKey.ts"
import { isRequestFieldFree, isResponseFieldFree } from "../../domain/fieldChanges.ts"
import { makeRoute, type Route } from "../../domain/Route.ts"
import { defaultPolicy, noChanges, type RouteOrigin, type RoutePolicy } from "../../domain/RoutePolicy.ts"
import type { CacheOptions } from "./CacheConfig.ts"
import { expecting, listOf, redactedOf, tableOf, valueOf } from "./fileValues.ts"
import { type OriginEntry, OriginSection } from "./originSection.ts"
import * as RouteType from "./routeTypes.ts"
import { optional, required, section } from "./section.ts"
import * as Type from "./settingTypes.ts"

/**
 * A `[[route]]` section of a configuration file.
 */

/** The cache key of a route: a `CacheKeyRule` for all its paths. */
const KeySection = section({
  ignore: optional(
    listOf(valueOf(RouteType.PARAMETER)),
    "Query parameters that are not part of the cache key, such as tokens; `*` stands for any characters"
  ),
  keep: optional(
    listOf(valueOf(RouteType.PARAMETER)),
    "The only query parameters that are part of the cache key; not together with `ignore`"
  ),
  sort: optional(valueOf(Type.BOOLEAN), "Whether query parameters identify a file in any order"),
  fields: optional(
    listOf(valueOf(RouteType.changeable(isRequestFieldFree))),
    "Request fields on which responses depend, as if the origin named them in `Vary`, such as `accept-language`"
  )
}).check(
  Schema.makeFilter(({ ignore, keep }) =>
    ignore === undefined || keep === undefined || "expected either ignore or keep, not both"
  )
)

/** Header fields that are changed on the way. */
const fieldsSection = (isFree: (name: string) => boolean) =>
  section({
    set: optional(
      tableOf(RouteType.changeable(isFree), redactedOf(RouteType.FIELD_VALUE)),
      "Fields to set, each with its value, which may be a secret"
    ),
    remove: optional(listOf(valueOf(RouteType.changeable(isFree))), "Names of fields to remove")
  })

/** How the origins of a route are checked. */
const CheckSection = section({
  path: required(
    valueOf(Type.CHECK_PATH),
    "Path below the URL of each origin, which returns a success or a redirect while the origin works"
  ),
  every: optional(valueOf(Type.CHECK_INTERVAL), "Time between two checks; `10s` if omitted")
})

/** How often origins are checked unless a section says otherwise, in milliseconds. */
const CHECK_MILLIS = 10_000

/** The keys of a section. */
export const RouteSection = section({
  match: optional(
    valueOf(RouteType.MATCH),
    "Requests of the route: those below a path, such as `/films`, or those to a host; all if omitted"
  ),
  origin: required(
    listOf(Schema.Union([valueOf(RouteType.ORIGIN), OriginSection]).annotate(expecting(RouteType.ORIGIN.expected))),
    "URL of the server, directory or bucket that has the files, a table with the URL and how it is reached, or a list of those with the same files"
  ),
  check: optional(CheckSection, "Active checks of the origins, besides what comes of requests"),
  ttl: optional(
    listOf(valueOf(Type.TTL)),
    "Freshness of files: `1h` if the origin doesn't say, `/live/*=2s` regardless of the origin"
  ),
  key: optional(KeySection, "What identifies a file"),
  "assume-unchanged": optional(
    Schema.Union([Schema.Boolean, listOf(valueOf(Type.PATH_PATTERN))]).annotate(
      expecting("true, false, or paths such as /library/*")
    ),
    "Whether files without a validator never change while their size stays the same, or the paths of those"
  ),
  cookies: optional(
    valueOf(Type.BOOLEAN),
    "`false` if responses don't depend on cookies: GET and HEAD requests go to the origin without them"
  ),
  "request-fields": optional(
    fieldsSection(isRequestFieldFree),
    "Changes of header fields on the way to the origin. Viewers who differ only in them share what is cached"
  ),
  "response-fields": optional(
    fieldsSection(isResponseFieldFree),
    "Changes of header fields on the way to the viewer, of error messages, too"
  ),
  redirects: optional(
    valueOf(Type.REDIRECTS),
    "`follow` redirects to routes and hosts of `url-host`, except to pages, playlists and directories, or `pass` all of them on; `follow` if omitted"
  ),
  forwarded: optional(
    valueOf(Type.BOOLEAN),
    "Whether the origin gets the viewer's address, host and scheme in `Forwarded` and `X-Forwarded-…`"
  ),
  upgrades: optional(valueOf(Type.BOOLEAN), "Whether WebSocket and other protocols pass; otherwise WebSocket gets 501"),
  "long-polls": optional(
    valueOf(Type.BOOLEAN),
    "Whether the origin may wait for events: requests are sent once, without a limit until the first byte, and nothing is cached"
  ),
  "first-byte-timeout": optional(
    valueOf(Type.DURATION),
    "Maximum time until an origin begins its response, instead of `first-byte-timeout` outside of sections"
  ),
  "silence-timeout": optional(
    valueOf(Type.DURATION),
    "Maximum time between two reads of an origin's body, instead of `silence-timeout` outside of sections"
  ),
  "read-ahead": optional(
    valueOf(Type.READ_AHEAD),
    "How far the cache is filled ahead of a viewer, or `all` for whole files; at most half of `max-size`; 1MiB if omitted"
  ),
  finish: optional(valueOf(Type.BOOLEAN), "Whether a file is fetched to its end after its last viewer has left"),
  parallel: optional(
    valueOf(Type.PARALLEL),
    "How many requests for one file run at a time ahead of a viewer, 1 to 8, for origins that throttle each one; 1 if omitted"
  ),
  "hedge-after": optional(
    valueOf(Type.HEDGE_AFTER),
    "How long an origin is silent while a viewer waits before a second request for the same bytes is sent, or `off`; 3s if omitted"
  )
})

/** What a section says. */
export type RouteSection = typeof RouteSection.Type

/** The rules of a cache by path. */
export type CacheRules = Pick<CacheOptions, "assumeUnchanged" | "cacheKey" | "ignoreCookies" | "ttl">

/** An origin that is written as its URL, or as a table. */
const serverOf = (origin: URL | OriginEntry): RouteOrigin =>
  origin instanceof URL ? { url: origin, weight: 1, access: {} } : { ...origin, weight: origin.weight ?? 1 }

/** What a section says of its origins. If one of them has a weight, they are chosen by weight. */
const originsOf = ({ check, origin }: RouteSection) => {
  const [first, ...others] = origin.map(serverOf)
  const isWeighted = origin.some((origin) => !(origin instanceof URL) && origin.weight !== undefined)
  return {
    origins: [first!, ...others] as const,
    choice: isWeighted ? "weighted" : "in-order",
    ...(check !== undefined && { check: { path: check.path, every: check.every ?? CHECK_MILLIS } })
  } satisfies Partial<RoutePolicy>
}

/** What a section says of requests on their way to the origin and back. */
const passageOf = (section: RouteSection): Partial<RoutePolicy> => {
  const { "first-byte-timeout": firstByteTimeout, forwarded, "long-polls": longPolls, redirects } = section
  const { "silence-timeout": silenceTimeout, upgrades } = section
  return {
    ...(redirects !== undefined && { redirects }),
    ...(forwarded !== undefined && { forwarded }),
    ...(upgrades !== undefined && { upgrades }),
    ...(longPolls !== undefined && { longPolls }),
    ...(firstByteTimeout !== undefined && { firstByteTimeout }),
    ...(silenceTimeout !== undefined && { silenceTimeout })
  }
}

/** What a section says of how files are fetched. */
const fetchingOf = ({ finish, "hedge-after": hedgeAfter, parallel, "read-ahead": readAhead }: RouteSection) => ({
  ...(readAhead !== undefined && { readAhead }),
  ...(finish !== undefined && { finish }),
  ...(parallel !== undefined && { parallel }),
  ...(hedgeAfter !== undefined && { hedgeAfter })
})

/** The route of a section. */
export const routeOf = (section: RouteSection): Route => {
  const { match = { _tag: "All" } } = section
  const origins = originsOf(section)
  const [{ url }] = origins.origins
  return makeRoute(match, url, {
    ...defaultPolicy(url),
    ...origins,
    keyFields: section.key?.fields ?? [],
    requestFields: { ...noChanges, ...section["request-fields"] },
    responseFields: { ...noChanges, ...section["response-fields"] },
    ...passageOf(section),
    ...fetchingOf(section)
  })
}

/** The rules of a section, for the URLs of its route. */
export const rulesOf = (section: RouteSection): CacheRules => {
  const { url: below } = routeOf(section)
  const everywhere = { pattern: "*", below }
  const { "assume-unchanged": assumed = false, cookies = true, key, ttl = [] } = section
  const patterns = typeof assumed === "boolean" ? assumed ? ["*"] : [] : assumed
  return {
    ttl: ttl.map(({ pattern, ttl }) => ({ pattern, ttl, below })),
    cacheKey: key === undefined ? [] : [{ ...everywhere, ...Struct.omit(key, ["fields"]) } satisfies CacheKeyRule],
    ignoreCookies: cookies ? [] : [everywhere],
    assumeUnchanged: patterns.map((pattern) => ({ pattern, below }))
  }
}
