import { Schema } from "effect"
import { parseContentRange } from "./ByteRange.ts"
import { parseCacheControl } from "./Freshness.ts"
import { endToEnd, type HeaderFields } from "./Headers.ts"
import { identify, type Resource } from "./Resource.ts"

/**
 * One generation of a resource: its bytes are those that the origin sends under one validator and one size. Chunks belong
 * to a representation, so that bytes of two versions of a file never meet.
 */
export class Representation extends Schema.Class<Representation>("spillway/Representation")({
  /** Identifies resource, validator, size and chunk size, safe as a file name. */
  id: Schema.String,
  resource: Schema.String,
  url: Schema.String,
  /** Bytes. */
  size: Schema.Int,
  /** Bytes. */
  chunkSize: Schema.Int,
  /** A strong `ETag`, or `Last-Modified` where there is none. */
  etag: Schema.optionalKey(Schema.String),
  lastModified: Schema.optionalKey(Schema.String),
  /** The origin's end-to-end fields, without those that Spillway computes for each response. */
  headers: Schema.Record(Schema.String, Schema.String),
  /** Whether the origin answers range requests with the range. */
  acceptsRanges: Schema.Boolean
}) {}

/** Why an answer is passed on without being kept, in the form of a `Cache-Status` detail. */
export type NotStorable =
  | "STATUS"
  | "NO_STORE"
  | "PRIVATE"
  | "VARY"
  | "SET_COOKIE"
  | "ENCODED"
  | "NO_LENGTH"
  | "NO_VALIDATOR"

/** The head of an origin's answer. */
export interface OriginHead {
  readonly status: number
  readonly headers: HeaderFields
}

/** Fields that are computed for each response, or that say nothing to the next viewer. */
const notKept = new Set([
  "accept-ranges",
  "age",
  "alt-svc",
  "cache-status",
  "content-length",
  "content-range",
  "date",
  "set-cookie",
  "warning"
])

const isStrong = (etag: string | undefined): etag is string => etag !== undefined && /^"[^"]*"$/.test(etag)

/** The size of the whole representation that `head` belongs to, where it tells. */
const sizeOf = ({ headers, status }: OriginHead): number | undefined => {
  if (status === 206) return parseContentRange(headers["content-range"])?.size
  const length = headers["content-length"]
  return length !== undefined && /^\d{1,15}$/.test(length) ? Number(length) : undefined
}

/** The representation that a 200 or 206 of `resource` is of, or why it cannot be kept. */
export const fromHead = (resource: Resource, head: OriginHead, chunkSize: number): Representation | NotStorable => {
  const { headers, status } = head
  if (status !== 200 && status !== 206) return "STATUS"
  const directives = parseCacheControl(headers["cache-control"])
  if (directives.has("no-store")) return "NO_STORE"
  if (directives.has("private")) return "PRIVATE"
  const varies = (headers["vary"] ?? "").toLowerCase().split(",").map((name) => name.trim())
  if (varies.some((name) => name !== "" && name !== "accept-encoding")) return "VARY"
  if (headers["set-cookie"] !== undefined) return "SET_COOKIE"
  if ((headers["content-encoding"] ?? "identity").toLowerCase() !== "identity") return "ENCODED"
  const size = sizeOf(head)
  if (size === undefined) return "NO_LENGTH"
  const etag = isStrong(headers["etag"]) ? headers["etag"] : undefined
  const lastModified = headers["last-modified"]
  if (etag === undefined && lastModified === undefined) return "NO_VALIDATOR"
  return new Representation({
    id: identify(resource.url, etag ?? `last-modified ${lastModified}`, String(size), String(chunkSize)),
    resource: resource.id,
    url: resource.url,
    size,
    chunkSize,
    ...(etag !== undefined && { etag }),
    ...(lastModified !== undefined && { lastModified }),
    headers: endToEnd(headers, notKept),
    acceptsRanges: status === 206 || headers["accept-ranges"]?.toLowerCase() === "bytes"
  })
}

/** Whether `head`, an answer of 200 or 206, is of the very bytes that `representation` is. */
export const isSame = (representation: Representation, head: OriginHead): boolean => {
  const size = sizeOf(head)
  if (size !== representation.size) return false
  if (representation.etag !== undefined) return head.headers["etag"] === representation.etag
  return head.headers["last-modified"] === representation.lastModified
}

/** The request fields that ask an origin to answer 304 when `representation` is still current (RFC 9110 §13.1). */
export const validation = (representation: Representation): Record<string, string> =>
  representation.etag !== undefined
    ? { "if-none-match": representation.etag }
    : { "if-modified-since": representation.lastModified! }
