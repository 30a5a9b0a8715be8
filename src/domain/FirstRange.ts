import { roundUp } from "./Chunk.ts"
import { carriedRange, type OriginHead } from "./Representation.ts"
import { formatRange, formatSpec, type RangeSpec, resolve, statedSize } from "./rfc/ByteRange.ts"

/**
 * The ranges of first requests, which are requested before the size of the file is known for sure.
 */

/** The range that a first request is for. */
export interface Wanted {
  /** What the viewer asked for. */
  readonly spec: RangeSpec
  /** Bytes. */
  readonly chunkSize: number
  /** The size of the known representation, in bytes. */
  readonly size: number | undefined
}

/**
 * The `Range` field of a first request. The range is widened to the end of a chunk, because only whole chunks are cached. With a
 * known size it ends within the file, and a suffix is given by its position: some servers refuse or misread anything else.
 */
export const rangeField = ({ chunkSize, size, spec }: Wanted): string => {
  const known = size === undefined ? undefined : resolve(spec, size)
  if (spec._tag === "Suffix") return known === undefined ? formatSpec(spec) : formatRange(known.start, known.end)
  if (spec.last === undefined || (size !== undefined && known === undefined)) return formatSpec(spec)
  return formatRange(spec.start, roundUp(spec.last + 1, chunkSize, size ?? Number.MAX_SAFE_INTEGER))
}

/** The start of `spec` in a file of `size` bytes, as far as it is known. */
export const startOf = (spec: RangeSpec, size: number | undefined): number | undefined =>
  size === undefined ? (spec._tag === "From" ? spec.start : undefined) : resolve(spec, size)?.start

/**
 * The `Range` field to send instead of `asked`, which the origin refused or misread: within the size that its answer states, else
 * the viewer's own. `undefined` if the answer is usable, or if there is nothing else to ask.
 */
export const otherRange = (asked: string, wanted: Wanted, head: OriginHead): string | undefined => {
  const { headers, status } = head
  const { spec } = wanted
  const size = statedSize(headers["content-range"])
  const carried = status === 206 ? carriedRange(head)?.range : undefined
  const isMisread = status === 206 && (carried === undefined || carried.start !== startOf(spec, size))
  // A range may have exceeded the file, though a correct server shortens it. Of a known file, it did not.
  const isRefused = status === 400 || status === 416 || (status === 500 && wanted.size === undefined)
  if (!isMisread && !isRefused) return undefined
  // The range lies outside the file.
  if (size !== undefined && resolve(spec, size) === undefined) return undefined
  const other = size === undefined ? formatSpec(spec) : rangeField({ ...wanted, size })
  return other === asked ? undefined : other
}
