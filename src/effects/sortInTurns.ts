/** How many steps are taken between two turns. */
const STEPS = 4096

/**
 * Sorts `rows` by the rank of each, the lowest first and equal ones in the order that they have. Yields every few thousand steps, so that
 * the caller can let others have their turn. May overwrite `rows`.
 */
export function* sortInTurns(rows: Uint32Array, rankOf: (row: number) => number): Generator<void, Uint32Array> {
  const { length } = rows
  for (let start = 0; start < length; start += STEPS) {
    rows.subarray(start, start + STEPS).sort((a, b) => rankOf(a) - rankOf(b))
    yield
  }
  let [from, to]: [Uint32Array, Uint32Array] = [rows, new Uint32Array(length)]
  for (let width = STEPS; width < length; width *= 2) {
    for (let start = 0; start < length; start += 2 * width) {
      const [middle, end] = [Math.min(start + width, length), Math.min(start + 2 * width, length)]
      let [left, right] = [start, middle]
      for (let at = start; at < end; at++) {
        const isLeft = right === end || (left < middle && rankOf(from[left]!) <= rankOf(from[right]!))
        to[at] = isLeft ? from[left++]! : from[right++]!
        if (at % STEPS === 0) yield
      }
    }
    ;[from, to] = [to, from]
  }
  return from
}
