import { Stream } from "effect"
import { carriedRange } from "../../domain/Representation.ts"
import { formatContentRange, type RangeSpec, resolve } from "../../domain/rfc/ByteRange.ts"
import type { OriginResponse } from "../origin/Origin.ts"

/** The part of a body from `skip` on, `length` bytes of it or all: for an origin that sends more than it was requested. */
export const cut = <E>(
  body: Stream.Stream<Uint8Array, E>,
  skip: number,
  length: number
): Stream.Stream<Uint8Array, E> =>
  Stream.suspend(() => {
    let before = skip
    let left = length
    return body.pipe(
      Stream.map((bytes) => {
        const start = Math.min(before, bytes.length)
        const piece = bytes.subarray(start, Math.min(bytes.length, start + left))
        before -= start
        left -= piece.length
        return piece
      }),
      Stream.filter((piece) => piece.length > 0),
      Stream.takeUntil(() => left === 0)
    )
  })

/** A 206 to a range that was widened to whole chunks, as the answer to `wanted`, the viewer's own. Other answers are left as they are. */
export const trimmed = (response: OriginResponse, wanted: RangeSpec | undefined): OriginResponse => {
  const carried = response.status === 206 ? carriedRange(response) : undefined
  if (carried === undefined || wanted === undefined) return response
  const { range, size } = carried
  const own = size === undefined
    ? wanted._tag === "From" && wanted.last !== undefined ? { start: wanted.start, end: wanted.last + 1 } : range
    : resolve(wanted, size)
  if (own === undefined || own.start !== range.start || own.end >= range.end) return response
  const length = own.end - own.start
  return {
    ...response,
    headers: {
      ...response.headers,
      "content-length": String(length),
      "content-range": formatContentRange(own, size)
    },
    body: cut(response.body, 0, length)
  }
}
