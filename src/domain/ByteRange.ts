/**
 * Byte ranges of a representation, and the two header fields that carry them (RFC 9110 §14).
 */

/** A half-open range of byte offsets, `start` inclusive and `end` exclusive, `0 <= start <= end`. */
export interface ByteRange {
  readonly start: number
  readonly end: number
}

/**
 * One `bytes` range as a client asks for it, before the size is known: `start-`, `start-last` or the last `length`
 * bytes. `last` is inclusive, as on the wire.
 */
export type RangeSpec =
  | { readonly _tag: "From"; readonly start: number; readonly last: number | undefined }
  | { readonly _tag: "Suffix"; readonly length: number }

/** Past this the arithmetic would lose bytes, so larger positions count as this one. */
const MAX_POSITION = Number.MAX_SAFE_INTEGER

const position = (digits: string): number => Math.min(Number(digits), MAX_POSITION)

/**
 * Reads a `Range` field. `undefined` for a field that RFC 9110 §14.2 tells a server to ignore: absent, malformed, another
 * unit, or several ranges (which a server may answer with the whole representation).
 */
export const parseRange = (field: string | undefined): RangeSpec | undefined => {
  if (field === undefined) return undefined
  const match = /^bytes=[ \t]*(\d*)-(\d*)[ \t]*$/i.exec(field)
  if (match === null) return undefined
  const [, first = "", last = ""] = match
  if (first === "") return last === "" ? undefined : { _tag: "Suffix", length: position(last) }
  const start = position(first)
  if (last === "") return { _tag: "From", start, last: undefined }
  const inclusive = position(last)
  return inclusive < start ? undefined : { _tag: "From", start, last: inclusive }
}

/** The bytes that `spec` selects of a representation of `size` bytes, or `undefined` when it selects none (416). */
export const resolve = (spec: RangeSpec, size: number): ByteRange | undefined => {
  if (spec._tag === "Suffix") {
    return spec.length === 0 || size === 0 ? undefined : { start: Math.max(0, size - spec.length), end: size }
  }
  if (spec.start >= size) return undefined
  return { start: spec.start, end: spec.last === undefined ? size : Math.min(spec.last + 1, size) }
}

/** Writes the `Range` field that asks an origin for `start` to `end` (exclusive), or to the last byte without `end`. */
export const formatRange = (start: number, end?: number): string => `bytes=${start}-${end === undefined ? "" : end - 1}`

/** Writes the `Content-Range` field of a 206. */
export const formatContentRange = (range: ByteRange, size: number): string =>
  `bytes ${range.start}-${range.end - 1}/${size}`

/** Writes the `Content-Range` field of a 416. */
export const formatUnsatisfied = (size: number): string => `bytes */${size}`

/** A `Content-Range` field as received: the range, and the complete size where the sender knew it. */
export interface ContentRange {
  readonly range: ByteRange
  readonly size: number | undefined
}

/** Reads the `Content-Range` field of a 206, or `undefined` for anything that contradicts itself. */
export const parseContentRange = (field: string | undefined): ContentRange | undefined => {
  const match = /^bytes (\d+)-(\d+)\/(\d+|\*)$/i.exec(field?.trim() ?? "")
  if (match === null) return undefined
  const start = position(match[1]!)
  const end = position(match[2]!) + 1
  const size = match[3] === "*" ? undefined : position(match[3]!)
  if (end <= start || (size !== undefined && end > size)) return undefined
  return { range: { start, end }, size }
}
