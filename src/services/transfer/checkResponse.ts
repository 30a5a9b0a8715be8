import {
  loggable,
  type OriginError,
  OriginUnexpected,
  RepresentationChanged,
  retryAfterMillis
} from "../../domain/OriginError.ts"
import {
  carriedRange,
  compare,
  isSingle,
  looksLike,
  type OriginHead,
  type RangeSupport,
  type Representation,
  statusOf
} from "../../domain/Representation.ts"
import type { ByteRange } from "../../domain/rfc/ByteRange.ts"

/** What was requested. */
interface Expected {
  readonly representation: Representation
  /** The first byte. */
  readonly position: number
  /** How it was requested; `none` is a request for the whole file. */
  readonly mode: RangeSupport
}

/** What a response is good for. */
interface Usable {
  /** The bytes that it carries; `undefined` if the request has to be repeated, as `ranges` says. */
  readonly range: ByteRange | undefined
  /** What the response shows of the origin's range support; `undefined` if nothing new. */
  readonly ranges?: RangeSupport
}

const announcesRanges = ({ headers }: OriginHead): boolean => headers["accept-ranges"]?.toLowerCase() === "bytes"

/** Whether a response shows that its origin has no range support: it is the whole file, though `Range` was sent without `If-Range`. */
export const ignoresRanges = (head: OriginHead, mode: RangeSupport): boolean =>
  mode === "plain" && head.status === 200 && !announcesRanges(head)

/** The failure that the status of a response is, to a stream that has begun; `undefined` for 200 and 206. */
export const failureOfStatus = (
  { headers, isAboutViewer = false, status }: OriginHead,
  url: string,
  now: number
): OriginError | undefined => {
  if (status === 200 || status === 206) return undefined
  const isGone = !isAboutViewer && (status === 404 || status === 410)
  if (isGone || status === 412 || status === 416) {
    return new RepresentationChanged({ url, status })
  }
  const retryAfter = retryAfterMillis(headers, now)
  const detail = "no body of the file"
  return new OriginUnexpected({
    url,
    status,
    detail,
    ...(retryAfter !== undefined && { retryAfter }),
    ...(isAboutViewer && { isAboutViewer })
  })
}

/** Checks that a response carries the requested bytes of the representation. `now` is in milliseconds since 1970. */
export const checkResponse = (
  head: OriginHead,
  { mode, position, representation }: Expected,
  now: number
): Usable | OriginError => {
  const { status } = head
  const url = loggable(representation.url)
  if (isSingle(representation)) {
    // It is this response itself, unless its transfer broke off. Then the bytes have to show that the next response is the same.
    const failure = status === statusOf(representation) ? undefined : failureOfStatus(head, url, now)
    if (position > 0 && failure !== undefined) return failure
    if (position > 0 && !looksLike(representation, head)) return new RepresentationChanged({ url, status })
    return { range: { start: 0, end: representation.size } }
  }
  // Some origins take `If-Range` for `If-Modified-Since`. The range is requested without it.
  if (status === 304 && mode === "conditional") return { range: undefined, ranges: "plain" }
  const failure = failureOfStatus(head, url, now)
  if (failure !== undefined) return failure
  const sameness = compare(representation, head)
  if (sameness === "Unknown" && status === 206 && mode !== "none") {
    // Without `If-Range`, a 206 has to have all header fields (RFC 9110 §15.3.7). The whole file has them in any case.
    return { range: undefined, ranges: mode === "conditional" ? "plain" : "none" }
  }
  if (sameness !== "Same") return new RepresentationChanged({ url, status })
  if (status === 206) {
    const range = carriedRange(head)?.range
    return range?.start === position
      ? { range }
      : new OriginUnexpected({ url, status, detail: "another range than was requested" })
  }
  const range = { start: 0, end: representation.size }
  if (ignoresRanges(head, mode)) return { range, ranges: "none" }
  // Some origins misunderstand only `If-Range`, and some send everything just once although they have ranges.
  return mode === "conditional" && (representation.ranges ?? mode) === mode ? { range, ranges: "plain" } : { range }
}
