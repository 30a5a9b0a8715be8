import { adviceOn, type OriginError } from "../../domain/OriginError.ts"
import { isSingle, type Representation } from "../../domain/Representation.ts"
import type { Uncacheable } from "../../domain/rfc/Cacheability.ts"
import { codingOf, isCoded } from "../../domain/rfc/ContentCoding.ts"
import { age, type Freshness, freshnessSource, isFresh, ttlSeconds } from "../../domain/rfc/Freshness.ts"
import type { HeaderFields } from "../../domain/rfc/HeaderFields.ts"
import { ttlOf, type TtlRule } from "../../domain/TtlRule.ts"
import type { Cached } from "./Inventory.ts"
import { adviceOnStatus, uncacheableAdvice } from "./uncacheableAdvice.ts"

/** `code` is for programs, `message` for people. */
interface Reason {
  readonly code: string
  readonly message: string
}

/** Whether a resource is cached, whether it would be, and why not. */
export interface Explanation {
  readonly cached: Cached | undefined
  readonly size: number | undefined
  /** Whether the origin allows caching. */
  readonly storable: boolean
  readonly reasons: ReadonlyArray<Reason>
  readonly freshness: {
    readonly fresh: boolean
    readonly ageSeconds: number
    readonly ttlSeconds: number
    /** What determines it: a header field with its directive, a rule of the operator, or a guess. */
    readonly source: string
  } | undefined
  /** Whether the origin supports range requests; `undefined` if it hasn't been asked. */
  readonly rangeSupport: boolean | undefined
  readonly advice: ReadonlyArray<string>
}

/** The state of the cache that explanations depend on. */
export interface Circumstances {
  /** In milliseconds since 1970. */
  readonly now: number
  readonly ttl: ReadonlyArray<TtlRule>
  readonly maxSize: number
  /** Why the disk can't be written to; `undefined` if it can. */
  readonly unwritable: { readonly message: string } | undefined
}

const freshnessIn = ({ now, ttl }: Circumstances, freshness: Freshness, headers: HeaderFields, url: string) => ({
  fresh: isFresh(freshness, now),
  ageSeconds: Math.floor(age(freshness, now) / 1000),
  ttlSeconds: ttlSeconds(freshness, now),
  source: freshnessSource(headers, ttlOf(ttl, url))
})

/** What prevents all caching at the moment. */
const storeReasons = ({ unwritable }: Circumstances): ReadonlyArray<Reason> =>
  unwritable === undefined
    ? []
    : [{ code: "STORE_UNUSABLE", message: `The cache cannot be written to: ${unwritable.message}` }]

/** `advice`, or what comes before it. */
const fetchAdvice = ({ unwritable }: Circumstances, advice: string): string =>
  unwritable === undefined ? advice : "Repair the disk first (spillway doctor); then requests are cached again"

const sizeReasons = ({ maxSize }: Circumstances, size: number): ReadonlyArray<Reason> =>
  size <= maxSize ? [] : [{ code: "TOO_LARGE", message: "The file is larger than the cache (--max-size)" }]

const identityReasons = (representation: Representation): ReadonlyArray<Reason> => {
  const { status } = representation
  if (status !== undefined) {
    return [{ code: "STATUS", message: `The origin responds with status ${status}, which is stored while it is fresh` }]
  }
  // Ranges are those of the uncoded file.
  if (isCoded(representation.headers)) return []
  if (isSingle(representation)) {
    return [{
      code: "NO_STRONG_VALIDATOR",
      message: "The origin sends no strong validator: only whole responses are stored, each from one transfer"
    }]
  }
  return representation.ranges !== "none" ? [] : [{
    code: "NO_RANGES",
    message: "The origin does not support range requests: a seek waits for everything before it"
  }]
}

const codingReasons = ({ headers }: Representation): ReadonlyArray<Reason> => {
  const coding = codingOf(headers)
  if (coding === undefined || coding === "identity") return []
  return [{ code: "CODED", message: `It is stored in the content coding ${coding}, for viewers who accept that` }]
}

const validatorAdvice = (representation: Representation): ReadonlyArray<string> =>
  isSingle(representation) && representation.status === undefined && !isCoded(representation.headers)
    ? ["Have the origin send a strong ETag, so that ranges are cached too"]
    : []

/** `undefined` if nothing is known. */
const hasRanges = (representation: Representation): boolean | undefined =>
  isSingle(representation) ? undefined : representation.ranges !== "none"

const uncached = (reasons: ReadonlyArray<Reason>, advice: ReadonlyArray<string>): Explanation => ({
  cached: undefined,
  size: undefined,
  storable: false,
  reasons,
  freshness: undefined,
  rangeSupport: undefined,
  advice
})

/** For a resource that viewers cannot request. */
export const notServed: Explanation = uncached(
  [{ code: "NOT_SERVED", message: "No origin is configured for this URL" }],
  ["Give a URL at the origin, or a path at this server"]
)

/** For a resource of which at least the manifest is cached. */
export const explainCached = (circumstances: Circumstances, cached: Cached): Explanation => {
  const { entry: { freshness, representation } } = cached
  const { headers, size, url } = representation
  const isWhole = cached.bytes === size
  const current = freshnessIn(circumstances, freshness, headers, url)
  return {
    cached,
    size,
    storable: true,
    reasons: [
      ...(isWhole || circumstances.unwritable !== undefined
        ? []
        : [{ code: "NOT_ASKED_FOR", message: "The rest has not been requested yet, or has been evicted" }]),
      ...(current.fresh ? [] : [{ code: "STALE", message: "It is stale: the next request revalidates it" }]),
      ...codingReasons(representation),
      ...identityReasons(representation),
      ...storeReasons(circumstances),
      ...(isWhole ? [] : sizeReasons(circumstances, size))
    ],
    freshness: current,
    rangeSupport: hasRanges(representation),
    advice: [
      ...validatorAdvice(representation),
      ...(isWhole ? [] : [fetchAdvice(circumstances, "Fetch the rest ahead: spillway warm URL")]),
      ...(current.fresh || freshness.lifetime > 0
        ? []
        : ["Have the origin send Cache-Control with max-age, or set --ttl, to avoid revalidating each time"])
    ]
  }
}

/** For a resource that the origin has, and that would be cached if it were requested. */
export const explainStorable = (
  circumstances: Circumstances,
  representation: Representation,
  freshness: Freshness,
  headers: HeaderFields
): Explanation => ({
  cached: undefined,
  size: representation.size,
  storable: true,
  reasons: [
    ...(circumstances.unwritable === undefined
      ? [{ code: "NOT_ASKED_FOR", message: "It has not been requested yet, or has been evicted" }]
      : []),
    ...identityReasons(representation),
    ...storeReasons(circumstances),
    ...sizeReasons(circumstances, representation.size)
  ],
  freshness: freshnessIn(circumstances, freshness, headers, representation.url),
  rangeSupport: hasRanges(representation),
  advice: representation.status === undefined
    ? [...validatorAdvice(representation), fetchAdvice(circumstances, "Fetch it ahead: spillway warm URL")]
    : []
})

/** For a resource whose response is fresh, and has no length. */
export const explainUnmeasured = (
  circumstances: Circumstances,
  freshness: Freshness,
  headers: HeaderFields,
  url: string
): Explanation => ({
  ...uncached([
    { code: "NO_LENGTH", message: "The origin does not send the length: it is stored when it has ended, up to 16 MiB" },
    ...storeReasons(circumstances)
  ], ["Have the origin send Content-Length, so that ranges are served and longer files are stored"]),
  storable: true,
  freshness: freshnessIn(circumstances, freshness, headers, url)
})

/** For a resource whose response is uncacheable. */
export const explainUncacheable = (
  circumstances: Circumstances,
  code: Uncacheable,
  status: number
): Explanation => {
  const { advice, message } = code === "STATUS"
    ? { message: `The origin responds with status ${status}, which is not a file`, advice: adviceOnStatus(status) }
    : uncacheableAdvice[code]
  return uncached([{ code, message }, ...storeReasons(circumstances)], advice === undefined ? [] : [advice])
}

export const explainFailure = (circumstances: Circumstances, error: OriginError): Explanation =>
  uncached(
    [
      { code: "ORIGIN_FAILED", message: `The request to the origin failed: ${error.message}` },
      ...storeReasons(circumstances)
    ],
    [adviceOn(error)]
  )

export const explainOffline = (circumstances: Circumstances): Explanation =>
  uncached([
    { code: "OFFLINE", message: "It is not cached, and the server sends no requests to origins (--offline)" },
    ...storeReasons(circumstances)
  ], [])
