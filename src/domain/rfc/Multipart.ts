import { type ByteRange, formatContentRange } from "./ByteRange.ts"

/**
 * The `multipart/byteranges` body of a 206 that answers several ranges (RFC 9110 §14.6, §15.3.7.2).
 */

/** A body is, for each part, its `head` and then the bytes of its `range`, and at last `end`. */
export interface Multipart {
  /** The `Content-Type` field of the response. */
  readonly contentType: string
  /** The `Content-Length` field of the response, in bytes: of all parts, with their heads and the end. */
  readonly contentLength: number
  readonly parts: ReadonlyArray<{ readonly range: ByteRange; readonly head: Uint8Array }>
  readonly end: Uint8Array
}

/** The bytes of a head's text, one for each character, as Node reads and writes header fields. */
const bytes = (text: string): Uint8Array => Buffer.from(text, "latin1")

/**
 * The body for `ranges` of a representation of `size` bytes, in that order; `type` is the representation's own
 * `Content-Type`, where it has one. `boundary` must not occur in the bytes: 128 random bits as hexadecimal digits, new
 * for each response, do not.
 */
export const make = (
  ranges: ReadonlyArray<ByteRange>,
  size: number,
  type: string | undefined,
  boundary: string
): Multipart => {
  const typeLine = type === undefined ? "" : `Content-Type: ${type}\r\n`
  const parts = ranges.map((range, index) => ({
    range,
    head: bytes(
      `${index === 0 ? "" : "\r\n"}--${boundary}\r\n${typeLine}Content-Range: ${
        formatContentRange(range, size)
      }\r\n\r\n`
    )
  }))
  const end = bytes(`\r\n--${boundary}--\r\n`)
  return {
    contentType: `multipart/byteranges; boundary=${boundary}`,
    contentLength: parts.reduce((sum, { head, range }) => sum + head.length + range.end - range.start, end.length),
    parts,
    end
  }
}
