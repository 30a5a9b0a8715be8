import { isCoded } from "./ContentCoding.ts"
import type { HeaderFields } from "./HeaderFields.ts"
import * as HttpDate from "./HttpDate.ts"

/**
 * `Last-Modified` as a validator (RFC 9110 §8.8.2).
 */

/** The time within which a file may change again under the same `Last-Modified`, in milliseconds (RFC 9110 §8.8.2.2). */
const RESOLUTION_MILLIS = 1000

/**
 * How far the clock that dates a file may be ahead of the one that dates answers, in milliseconds. A `Last-Modified` beyond that was
 * set by hand, or in another zone, so that it does not tell when the file was written.
 */
const SKEW_MILLIS = 60_000

/** How many digits it takes to name a second: one for the day, two for the year, six for the time. */
const MIN_DIGITS = 9

/**
 * The time until `Last-Modified` of a file that has just been written becomes a strong validator, in milliseconds. `undefined` if the field
 * is missing, or if it is strong or weak for another reason.
 */
export const unsettledMillis = (headers: HeaderFields): number | undefined => {
  const modified = HttpDate.parseLeniently(headers["last-modified"])
  const date = HttpDate.parse(headers["date"])
  if (modified === undefined || date === undefined) return undefined
  const elapsed = date - modified
  return elapsed >= RESOLUTION_MILLIS || elapsed < -SKEW_MILLIS ? undefined : RESOLUTION_MILLIS - elapsed
}

/**
 * Whether `Last-Modified` is a strong validator, as far as the `Date` that came with it shows. A text that is not a date can still be
 * compared, if it can name a time at all. Of a coded response, it dates the file that was coded, which may be coded otherwise next time.
 */
export const hasStrongDate = (headers: HeaderFields): boolean => {
  const lastModified = headers["last-modified"] ?? ""
  return lastModified.replace(/\D/g, "").length >= MIN_DIGITS && unsettledMillis(headers) === undefined &&
    !isCoded(headers)
}
