import { Effect } from "effect"
import type { TargetError } from "../../domain/RequestTarget.ts"
import type { Resource } from "../../domain/Resource.ts"
import { parseRanges, type RangeSpec } from "../../domain/rfc/ByteRange.ts"
import { type RequestDirectives, requestDirectives } from "../../domain/rfc/CacheControl.ts"
import { acceptedBy, type AcceptedCodings } from "../../domain/rfc/ContentCoding.ts"
import type { HeaderFields } from "../../domain/rfc/HeaderFields.ts"
import type { Entry } from "../../services/cache/Catalog.ts"
import { Lookup } from "../../services/media/Lookup.ts"
import { OriginResolver } from "../../services/origin/OriginResolver.ts"

/** The head of a request, as Node's requests and the platform's have it. */
export interface RequestHead {
  readonly method: string
  readonly url: string
  readonly headers: HeaderFields
}

/** A request whose fields have been parsed. */
export interface ParsedRequest {
  readonly resource: Resource
  /** `undefined` for everything; none if no range can be satisfied. */
  readonly ranges: ReadonlyArray<RangeSpec> | undefined
  readonly ifRange: string | undefined
  readonly directives: RequestDirectives | undefined
  readonly accepted: AcceptedCodings
  /** It is repeated without sharing requests of others. */
  readonly isAlone?: boolean
  /** For a GET: the representation if it is fresh for this request, by what is in memory. */
  readonly fresh: Entry | undefined
}

/** A request for a representation that is fresh for it. */
interface FreshParsedRequest extends ParsedRequest {
  readonly fresh: Entry
}

/** Whether a precondition may fail. What fails one may be out of date, so the origin is asked first. */
const mayFail = (headers: HeaderFields): boolean =>
  headers["if-match"] !== undefined || headers["if-unmodified-since"] !== undefined

/** Whether the cache may reply to a request without asking the origin. */
export const isFreshRequest = (parsed: ParsedRequest, { headers }: RequestHead): parsed is FreshParsedRequest =>
  parsed.fresh !== undefined && !mayFail(headers)

/** Parses each field of a request once, for the fast path and the slow one. */
export const makeParseRequest = Effect.gen(function*() {
  const lookup = yield* Lookup
  const resolver = yield* OriginResolver
  return ({ headers, method, url }: RequestHead): ParsedRequest | TargetError => {
    const resource = resolver.identify({ target: url, headers })
    if ("status" in resource) return resource
    const isGet = method === "GET"
    const parsed = isGet ? parseRanges(headers["range"]) : undefined
    // More ranges than are allowed count as unsatisfiable.
    const ranges = parsed === "TooMany" ? [] : parsed
    const ifRange = headers["if-range"]
    const directives = requestDirectives(headers)
    const accepted = acceptedBy(headers["accept-encoding"])
    const asked = { resource, ranges, ifRange, directives, accepted }
    return { ...asked, fresh: isGet ? lookup.fresh(asked, headers) : undefined }
  }
})
