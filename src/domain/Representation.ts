import { Effect, Schema } from "effect"
import { count, MAX_CHUNKS } from "./Chunk.ts"
import { identify, type Resource } from "./Resource.ts"
import { type ContentRange, parseContentRange } from "./rfc/ByteRange.ts"
import { type Uncacheable, whyUncacheable } from "./rfc/Cacheability.ts"
import { type AcceptedCodings, codingOf, isCoded, only, UNCODED, withCodingInVary } from "./rfc/ContentCoding.ts"
import { areFields, endToEnd, type HeaderFields, isFieldValue } from "./rfc/HeaderFields.ts"
import { hasStrongDate } from "./rfc/lastModified.ts"

/**
 * How a part of a representation is requested: with `Range` and `If-Range`, with `Range` alone when the origin does not answer that
 * as it should, or not at all when the origin has no ranges. An origin that says nothing about ranges may have them (RFC 9110 §14.3).
 */
export const RangeSupport = Schema.Literals(["conditional", "plain", "none"])

/** How a part of a representation is requested. */
export type RangeSupport = typeof RangeSupport.Type

/**
 * One generation of a resource. Chunks belong to a representation, so that bytes of two versions of a file never meet. What makes bytes of
 * one version is its identity:
 *
 * - *Validated*: a strong `ETag`, or else `Last-Modified`, together with the size. Bytes of several responses are combined.
 * - *Assumed*: the operator says that a file of this size and `Content-Type` never changes. Bytes of several responses are combined.
 * - *Single*: a response without a strong validator. All bytes are of one transfer, and are never combined with those of another.
 *
 * @since 0.1.0
 * @category models
 */
export class Representation extends Schema.Class<Representation>("spillway/Representation")({
  /** Identifies resource, validator, size and chunk size, safe as a file name. */
  id: Schema.String,
  resource: Schema.String,
  url: Schema.String,
  /** The status of the response, if it is another than 200 or 206. */
  status: Schema.optionalKey(Schema.Int),
  /** Bytes. */
  size: Schema.Int,
  /** Bytes. */
  chunkSize: Schema.Int,
  /** A strong `ETag`. */
  etag: Schema.optionalKey(Schema.String),
  lastModified: Schema.optionalKey(Schema.String),
  /** The operator says that it never changes. */
  assumed: Schema.optionalKey(Schema.Boolean),
  /** Names the one transfer that a `Single` representation is of. */
  transfer: Schema.optionalKey(Schema.String),
  /** The origin's end-to-end fields, without those that Spillway computes for each response. */
  headers: Schema.Record(Schema.String, Schema.String),
  /** Absent until the origin has shown how it answers range requests, which counts as `conditional`. */
  ranges: Schema.optionalKey(RangeSupport),
  /** The request fields that responses of the URL depend on, as far as is known: in lower case, sorted. */
  varyNames: Schema.optionalKey(Schema.Array(Schema.String)),
  /** The content codings that the request accepted, as a field, if responses of the URL depend on that. */
  accepted: Schema.optionalKey(Schema.String),
  /** Only viewers with a cookie have been given it so far. */
  withCookie: Schema.optionalKey(Schema.Boolean),
  /** The number of the last ban when its last request to the origin began; 0 if it is absent. It is newer than the bans up to this one. */
  afterBan: Schema.optionalKey(Schema.Number),
  /** When a soft purge made it stale, in milliseconds since 1970. */
  softenedAt: Schema.optionalKey(Schema.Number),
  /** When its age was 0, by the origin's last word, in milliseconds since 1970; 0 where that is not known. */
  generatedAt: Schema.Number.pipe(Schema.withDecodingDefaultKey(Effect.succeed(0)))
}) {}

/** The largest `Single` representation, in bytes. A longer response is passed on without being stored. */
export const MAX_SINGLE_BYTES = 64 * 1024 ** 2

/** Whether all bytes of a representation are of one transfer, because it has no strong validator. */
export const isSingle = ({ transfer }: Representation): boolean => transfer !== undefined

/** The status of a response with the whole of a representation. */
export const statusOf = ({ status = 200 }: Representation): number => status

/** Whether a response of this status has the file, or a range of it. Ranges and preconditions concern only that. */
export const isFile = (status: number): boolean => status === 200 || status === 206

/** Whether `found`, which was kept where others may have changed it, can be one of `resource` and be sent as it is. */
export const isSound = (found: Representation, resource: string): boolean => {
  const { chunkSize, etag = "", headers, id, lastModified = "", size, status = 200, transfer } = found
  const isValidated = found.etag === undefined
    ? found.lastModified !== undefined && !isCoded(headers)
    : isStrong(etag)
  const isIdentified = transfer === undefined ? isValidated || found.assumed === true : /^[0-9a-f-]{36}$/.test(transfer)
  return found.resource === resource && /^[0-9a-f]{32}$/.test(id) && size >= 0 && chunkSize > 0 &&
    count(size, chunkSize) <= MAX_CHUNKS &&
    isIdentified && status >= 200 && status <= 599 && (isFile(status) || isSingle(found)) &&
    [etag, lastModified].every(isFieldValue) && areFields(headers)
}

/** The head of an origin's answer. */
export interface OriginHead {
  readonly status: number
  readonly headers: HeaderFields
  /** It may be about credentials or parameters that only this viewer has sent, so that it says nothing of what others get. */
  readonly isAboutViewer?: boolean
}

/** What keeps an origin's answer from being passed on to viewers, or `undefined`. */
export const flawOf = ({ headers, status }: OriginHead): string | undefined => {
  if (status < 200 || status > 599) return "a status that is not final, or unknown"
  if (!areFields(headers)) return "a header field that HTTP does not allow"
  const coding = headers["transfer-encoding"] ?? "chunked"
  // The chunks are taken off here, and the head that goes with the body names no other coding.
  return /^(?:chunked|identity)$/i.test(coding.trim()) ? undefined : "a transfer coding other than chunked"
}

/** Fields that are computed for each response, or that say nothing to the next viewer. */
const notKept = new Set([
  "accept-ranges",
  "age",
  "alt-svc",
  "content-digest",
  "content-length",
  "content-range",
  "set-cookie",
  "trailer",
  "warning"
])

const notKeptOfWhole = new Set([...notKept].filter((name) => name !== "content-range"))

/** Besides these, what tells which bytes they are is not for a 304 to change (RFC 9111 §3.2). */
const notUpdated = new Set([...notKept, "content-encoding", "content-type", "etag", "last-modified"])

const isStrong = (etag: string | undefined): etag is string => etag !== undefined && /^"[^"]*"$/.test(etag)

/** Whether a value is an entity tag, strong or weak. */
const isTag = (etag: string): boolean => /^(?:W\/)?"[^"]*"$/.test(etag)

/** An entity tag without its mark of weakness (RFC 9110 §8.8.3.2). */
const opaque = (etag: string): string => etag.replace(/^W\//, "")

/** The size of the whole representation that `head` belongs to, where it tells. */
const sizeOf = ({ headers, status }: OriginHead): number | undefined => {
  if (status === 206) return parseContentRange(headers["content-range"])?.size
  const length = headers["content-length"]
  return length !== undefined && /^\d{1,15}$/.test(length) ? Number(length) : undefined
}

/** The range that a 206 carries, or `undefined` where it does not say, or contradicts its own length. */
export const carriedRange = ({ headers }: OriginHead): ContentRange | undefined => {
  const found = parseContentRange(headers["content-range"])
  const length = headers["content-length"]
  const isWrong = found !== undefined && length !== undefined && Number(length) !== found.range.end - found.range.start
  return isWrong ? undefined : found
}

/** Whether a response carries all bytes: players request everything as `bytes=0-`. */
const isWhole = (head: OriginHead, size: number): boolean => {
  if (head.status !== 206) return true
  const range = carriedRange(head)?.range
  return range?.start === 0 && range.end === size
}

/** How a response without a strong validator may be identified. */
export interface Identification {
  /** A name for the transfer of this response, which makes a whole one a `Single` representation: a UUID. */
  readonly transfer?: string | undefined
  /** The length is not the origin's own word, so another response could not be compared: the representation is `Single`. */
  readonly isMeasured?: boolean
  /** The operator says that the file never changes. */
  readonly isAssumed?: boolean
  /** The content codings that the request accepted: none by default. */
  readonly accepted?: AcceptedCodings
  /** What selects the response among those of the URL. */
  readonly selectedBy?: Pick<Representation, "accepted" | "varyNames">
  /** The number of the last ban when the request began. Later responses have other identifiers, so no purged byte is one of theirs. */
  readonly afterBan?: number
}

/**
 * The representation that a response for `resource` is of, or why it is uncacheable. A response other than 200 and 206 is `Single`. Whether
 * its status is one to store is for the caller to decide. `isAuthorized`: the request had credentials of one viewer.
 */
export const fromHead = (
  resource: Resource,
  head: OriginHead,
  chunkSize: number,
  isAuthorized = false,
  { accepted = UNCODED, afterBan = 0, isAssumed = false, isMeasured = false, selectedBy, transfer }: Identification = {}
): Representation | Uncacheable => {
  const { headers, status } = head
  if (!isFile(status) && transfer === undefined) return "STATUS"
  const why = whyUncacheable(status, headers, isAuthorized)
  if (why !== undefined) return why
  const coding = codingOf(headers)
  if (coding === undefined || (coding !== "identity" && !accepted.codings.has(coding))) return "ENCODED"
  const size = sizeOf(head)
  if (size === undefined) return "NO_LENGTH"
  if (count(size, chunkSize) > MAX_CHUNKS) return "TOO_LARGE"
  const etag = !isMeasured && isStrong(headers["etag"]) ? headers["etag"] : undefined
  const lastModified = headers["last-modified"]
  const isValidated = isFile(status) && !isMeasured && (etag !== undefined || hasStrongDate(headers))
  const described = {
    resource: resource.id,
    url: resource.url,
    ...(!isFile(status) && { status }),
    size,
    chunkSize,
    ...selectedBy,
    ...(afterBan > 0 && { afterBan }),
    ...(etag !== undefined && { etag }),
    ...(lastModified !== undefined && { lastModified }),
    // Outside of a 206, `Content-Range` means nothing, and is stored like any other field (RFC 9110 §14.4).
    headers: withCodingInVary(endToEnd(headers, status === 206 ? notKept : notKeptOfWhole)),
    generatedAt: 0
  }
  const idOf = (version: string) =>
    identify(resource.id, version, String(size), String(chunkSize), ...(afterBan > 0 ? [`ban ${afterBan}`] : []))
  if (isValidated) {
    const id = idOf(etag ?? `last-modified ${lastModified}`)
    return new Representation({ ...described, id, ...rangesShown(head) })
  }
  // Only the file is assumed not to change. The same file may be coded in another way next time, in as many bytes.
  if (isAssumed && isFile(status) && !isMeasured && coding === "identity") {
    const shown = rangesShown(head).ranges
    // There is nothing to send as `If-Range`.
    const ranges = shown === "none" ? "none" : "plain"
    return new Representation({ ...described, id: idOf(`assumed ${headers["content-type"]}`), assumed: true, ranges })
  }
  if (transfer === undefined || !isWhole(head, size) || size > MAX_SINGLE_BYTES) return "NO_VALIDATOR"
  return new Representation({ ...described, id: idOf(`transfer ${transfer}`), transfer, ranges: "none" })
}

/** What the fields of an answer say of its version. */
export const validatorsOf = (headers: HeaderFields): Pick<Representation, "etag" | "headers" | "lastModified"> => {
  const { etag, "last-modified": lastModified } = headers
  return { headers, ...(isStrong(etag) && { etag }), ...(lastModified !== undefined && { lastModified }) }
}

/** Whether two representations of a resource are of one version, so that they have the same bytes. */
export const isSameVersion = (a: Representation, b: Representation): boolean => {
  if (a.size !== b.size || a.chunkSize !== b.chunkSize || a.etag !== b.etag || a.assumed !== b.assumed) return false
  if (isSingle(a) || isSingle(b)) return a.transfer === b.transfer
  if (a.assumed === true) return a.headers["content-type"] === b.headers["content-type"]
  return a.etag !== undefined || a.lastModified === b.lastModified
}

/** What a 200 or 206 shows of the origin's ranges: a 200 may be the answer to a request without `Range`. */
const rangesShown = ({ headers, status }: OriginHead): { readonly ranges?: RangeSupport } => {
  if (status === 206) return { ranges: "conditional" }
  return headers["accept-ranges"]?.toLowerCase() === "none" ? { ranges: "none" } : {}
}

/** `found` with what `before`, the same representation, has shown of the origin's ranges. */
export const withRangesOf = (before: Representation, found: Representation): Representation => {
  if (before.ranges === undefined || found.ranges === "none") return found
  // A first request has no `If-Range`, so a 206 to it shows nothing about that.
  const ranges = found.ranges === "conditional" && before.ranges === "none" ? "plain" : before.ranges
  return new Representation({ ...found, ranges })
}

/**
 * Whether `head`, a response of 200 or 206, carries bytes of `representation`. `"Unknown"`: the validator to compare is absent, as it may
 * be in a 206 to `If-Range` (RFC 9110 §15.3.7). No other response carries bytes of a `Single` representation, and none with another
 * content coding carries bytes of any.
 */
export const compare = (representation: Representation, head: OriginHead): "Same" | "Other" | "Unknown" => {
  if (isSingle(representation) || sizeOf(head) !== representation.size) return "Other"
  if (codingOf(head.headers) !== codingOf(representation.headers)) return "Other"
  if (representation.assumed === true) {
    return head.headers["content-type"] === representation.headers["content-type"] ? "Same" : "Other"
  }
  const [name, validator] = representation.etag === undefined
    ? ["last-modified", representation.lastModified] as const
    : ["etag", representation.etag] as const
  const found = head.headers[name]
  return found === undefined ? "Unknown" : found === validator ? "Same" : "Other"
}

/**
 * Whether `head`, the response to another request, may be of the same version as a `Single` representation: nothing in it says otherwise.
 * A response without a length doesn't. Only the bytes themselves can tell. `isMeasured`: the size of the representation is known.
 */
export const looksLike = (representation: Representation, head: OriginHead, isMeasured = true): boolean => {
  const { headers } = representation
  const size = sizeOf(head)
  const names = ["content-encoding", "content-type", "etag", "last-modified"]
  return head.status === statusOf(representation) &&
    (!isMeasured || size === undefined || size === representation.size) &&
    names.every((name) => head.headers[name] === headers[name])
}

/**
 * Whether a 304 with `headers` is about `representation` (RFC 9111 §4.3.4): it names no other validator. Entity tags are compared weakly,
 * so chunks that are combined by their date need the same date too.
 */
export const isConfirmedBy = (representation: Representation, headers: HeaderFields): boolean => {
  const { etag, "last-modified": lastModified } = headers
  const known = representation.etag ?? representation.headers["etag"]
  const isTagged = etag !== undefined && known !== undefined
  if (isTagged && opaque(etag) !== opaque(known)) return false
  if (isTagged && (representation.etag !== undefined || isSingle(representation))) return true
  const isOther = lastModified !== undefined && representation.lastModified !== undefined &&
    lastModified !== representation.lastModified
  return !isOther
}

/**
 * `representation` with the fields that a 304 brought (RFC 9111 §3.2). A stored `CDN-Cache-Control` would hide a new `Cache-Control`:
 * it is kept only if the 304 repeats it. `afterBan` is that of the request.
 */
export const updated = (representation: Representation, headers: HeaderFields, afterBan = 0): Representation => {
  const { "cdn-cache-control": targeted, ...stored } = representation.headers
  const kept = targeted !== undefined && headers["cache-control"] === undefined ? { "cdn-cache-control": targeted } : {}
  return new Representation({
    ...representation,
    ...(afterBan > 0 && { afterBan }),
    headers: withCodingInVary({ ...stored, ...kept, ...endToEnd(headers, notUpdated) })
  })
}

/**
 * The request fields that ask an origin to answer 304 if `representation` is still current (RFC 9110 §13.1): the strong `ETag`, or
 * else a weak one and the date, because some origins look at only one of them. Empty without any validator, and for a response that is not a
 * file.
 */
export const validation = (representation: Representation): Record<string, string> => {
  const { etag, headers, lastModified, status } = representation
  if (status !== undefined) return {}
  if (etag !== undefined) return { "if-none-match": etag }
  const weak = headers["etag"]
  return {
    ...(weak !== undefined && isTag(weak) && { "if-none-match": weak }),
    ...(lastModified !== undefined && { "if-modified-since": lastModified })
  }
}

/** The request field that requests a representation in its own content coding, and in no other. */
export const acceptSame = ({ headers }: Representation): Record<string, string> => ({
  "accept-encoding": only(codingOf(headers) ?? "identity").field
})

/** Whether a representation can be used again: it is fresh, or the origin can confirm it. A validated one always can. */
export const isReusable = (representation: Representation, isFresh: boolean): boolean =>
  !isSingle(representation) || isFresh || canRevalidate(representation)

/** Whether the origin can confirm a representation by a 304. */
export const canRevalidate = (representation: Representation): boolean =>
  Object.keys(validation(representation)).length > 0

/** The request field that requests a range of these bytes only, else the whole file (RFC 9110 §13.1.5); none without a strong validator. */
export const ifUnchanged = ({ assumed, etag, lastModified }: Representation): Record<string, string> => {
  const validator = etag ?? (assumed === true ? undefined : lastModified)
  return validator === undefined ? {} : { "if-range": validator }
}
