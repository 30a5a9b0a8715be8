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

/** How many ranges one request may ask for: no player needs more (RFC 9110 §17.15). */
export const MAX_RANGES = 32

/** Two ranges with fewer bytes than this between them are sent as one: the head of another part costs as much. */
export const COALESCE_GAP_BYTES = 80

const UNIT = "bytes="

/** The set of ranges of a `Range` field in bytes. */
const rangeSet = (field: string | undefined): string | undefined =>
  field?.slice(0, UNIT.length).toLowerCase() === UNIT ? field.slice(UNIT.length) : undefined

const isSpace = (text: string, index: number): boolean => text[index] === " " || text[index] === "\t"

/** `text` without the spaces and tabs around it, which is less than `trim` takes, and in linear time, as a pattern is not. */
const unpadded = (text: string): string => {
  let start = 0
  let end = text.length
  while (start < end && isSpace(text, start)) start++
  while (end > start && isSpace(text, end - 1)) end--
  return text.slice(start, end)
}

/** What nearly all players ask for: one range with both of its ends, within `MAX_POSITION`. */
const PLAIN = /^bytes=(\d{1,15})-(\d{1,15})$/

const parseSpec = (text: string): RangeSpec | undefined => {
  const match = /^(\d*)-(\d*)$/.exec(text)
  if (match === null) return undefined
  const [, first = "", last = ""] = match
  if (first === "") return last === "" ? undefined : { _tag: "Suffix", length: position(last) }
  const start = position(first)
  if (last === "") return { _tag: "From", start, last: undefined }
  const inclusive = position(last)
  return inclusive < start ? undefined : { _tag: "From", start, last: inclusive }
}

/**
 * Reads a `Range` field of one range. `undefined` for a field that RFC 9110 §14.2 tells a server to ignore: absent,
 * malformed, another unit, or several ranges (which a server may answer with the whole representation).
 */
export const parseRange = (field: string | undefined): RangeSpec | undefined => {
  const set = rangeSet(field)
  return set === undefined ? undefined : parseSpec(unpadded(set))
}

/**
 * Reads a `Range` field of one range or several, in the order asked for, in linear time. `undefined` for a field to ignore:
 * absent, another unit, or malformed, be it in one of its ranges (RFC 9110 §14.2). `"TooMany"` for more than `MAX_RANGES`,
 * to be refused with 416.
 */
export const parseRanges = (field: string | undefined): ReadonlyArray<RangeSpec> | undefined | "TooMany" => {
  if (field === undefined) return undefined
  const [, first, last] = PLAIN.exec(field) ?? []
  if (first !== undefined && last !== undefined) {
    const [start, inclusive] = [Number(first), Number(last)]
    return inclusive < start ? undefined : [{ _tag: "From", start, last: inclusive }]
  }
  const set = rangeSet(field)
  if (set === undefined) return undefined
  const specs: Array<RangeSpec> = []
  for (const element of set.split(",")) {
    const text = unpadded(element)
    // A list may have empty elements (RFC 9110 §5.6.1.2).
    if (text === "") continue
    const spec = parseSpec(text)
    if (spec === undefined) return undefined
    specs.push(spec)
  }
  if (specs.length === 0) return undefined
  return specs.length > MAX_RANGES ? "TooMany" : specs
}

/** The bytes that `spec` selects of a representation of `size` bytes, or `undefined` when it selects none (416). */
export const resolve = (spec: RangeSpec, size: number): ByteRange | undefined => {
  if (spec._tag === "Suffix") {
    return spec.length === 0 || size === 0 ? undefined : { start: Math.max(0, size - spec.length), end: size }
  }
  if (spec.start >= size) return undefined
  return { start: spec.start, end: spec.last === undefined ? size : Math.min(spec.last + 1, size) }
}

/**
 * The bytes that `specs` select of a representation of `size` bytes, in the order asked for; none when they select none
 * (416). Ranges that overlap, touch or have less than `COALESCE_GAP_BYTES` between them become one, in the place of the
 * first of them (RFC 9110 §15.3.7.2), so that no byte is sent twice.
 */
export const resolveAll = (specs: ReadonlyArray<RangeSpec>, size: number): ReadonlyArray<ByteRange> => {
  if (specs.length === 1) {
    const range = resolve(specs[0]!, size)
    return range === undefined ? [] : [range]
  }
  const ranges = specs.flatMap((spec, place) => {
    const range = resolve(spec, size)
    return range === undefined ? [] : [{ ...range, place }]
  })
  const coalesced: Array<{ start: number; end: number; place: number }> = []
  for (const range of ranges.toSorted((a, b) => a.start - b.start)) {
    const before = coalesced.at(-1)
    if (before !== undefined && range.start - before.end < COALESCE_GAP_BYTES) {
      before.end = Math.max(before.end, range.end)
      before.place = Math.min(before.place, range.place)
    } else {
      coalesced.push(range)
    }
  }
  return coalesced.toSorted((a, b) => a.place - b.place).map(({ end, start }) => ({ start, end }))
}

/** Writes the `Range` field that asks an origin for `start` to `end` (exclusive), or to the last byte without `end`. */
export const formatRange = (start: number, end?: number): string => `bytes=${start}-${end === undefined ? "" : end - 1}`

/** Writes the `Range` field that asks for `spec`. */
export const formatSpec = (spec: RangeSpec): string =>
  spec._tag === "Suffix"
    ? `bytes=-${spec.length}`
    : formatRange(spec.start, spec.last === undefined ? undefined : spec.last + 1)

/** Writes the `Content-Range` field of a 206. */
export const formatContentRange = (range: ByteRange, size: number | undefined): string =>
  `bytes ${range.start}-${range.end - 1}/${size ?? "*"}`

/** Writes the `Content-Range` field of a 416. */
export const formatUnsatisfied = (size: number): string => `bytes */${size}`

/** A `Content-Range` field as received: the range, and the complete size where the sender knew it. */
export interface ContentRange {
  readonly range: ByteRange
  readonly size: number | undefined
}

/** The complete size that a `Content-Range` field of a 206 or 416 states, even if its range is wrong; `undefined` if it states none. */
export const statedSize = (field: string | undefined): number | undefined => {
  const match = /^bytes (?:\d+-\d+|\*)\/(\d+)$/i.exec(field?.trim() ?? "")
  return match === null ? undefined : position(match[1]!)
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
