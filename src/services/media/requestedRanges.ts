import type { Representation } from "../../domain/Representation.ts"
import { type ByteRange, type RangeSpec, resolveAll } from "../../domain/rfc/ByteRange.ts"
import { rangeApplies } from "../../domain/rfc/Preconditions.ts"

/** What a request says about ranges. */
export interface RangeRequest {
  /** `undefined` for everything. */
  readonly ranges?: ReadonlyArray<RangeSpec> | undefined
  /** A validator: the ranges apply only to the representation that it names. */
  readonly ifRange?: string | undefined
}

/**
 * The requested ranges of a representation, or all of it. `Range` is ignored if the response would not be a 200 (RFC 9110 §14.2). No range
 * of an empty file can be satisfied, so it is ignored there too, as by most origins: clients that always send it get 200 without bytes.
 */
export const requestedRanges = (
  representation: Representation,
  { ifRange, ranges }: RangeRequest
): { readonly isPartial: boolean; readonly ranges: ReadonlyArray<ByteRange> } =>
  ranges !== undefined && representation.status === undefined && representation.size > 0 &&
    rangeApplies(ifRange, representation)
    ? { isPartial: true, ranges: resolveAll(ranges, representation.size) }
    : { isPartial: false, ranges: [{ start: 0, end: representation.size }] }
