import { assert, describe, it } from "@effect/vitest"
import { sortInTurns } from "../../../src/effects/sortInTurns.ts"

/** Runs to the end. Returns the result, and how many turns others had. */
const run = (rows: Uint32Array, rankOf: (row: number) => number) => {
  const turns = sortInTurns(rows, rankOf)
  let count = 0
  for (let next = turns.next();; next = turns.next()) {
    if (next.done === true) return { count, sorted: next.value }
    count += 1
  }
}

const rankOf = (row: number): number => Math.imul(row, 0x9e3779b1) % 1000

describe("sortInTurns", () => {
  it.each([0, 1, 2, 4095, 4096, 4097, 8192, 12_289, 100_000])(
    "sorts %s rows by rank, and equal ones as they were",
    (length) => {
      const rows = Uint32Array.from({ length }, (_, i) => (i * 7919) % 1_000_003)
      const expected = Array.from(rows).toSorted((a, b) => rankOf(a) - rankOf(b))
      assert.deepStrictEqual(Array.from(run(rows, rankOf).sorted), expected)
    }
  )

  it("lets others have their turn every few thousand steps", () => {
    const rows = Uint32Array.from({ length: 100_000 }, (_, i) => i)
    let steps = 0
    let longest = 0
    const turns = sortInTurns(rows, (row) => {
      steps += 1
      return rankOf(row)
    })
    while (turns.next().done !== true) {
      longest = Math.max(longest, steps)
      steps = 0
    }
    assert.isBelow(longest, 4096 * 2 * Math.log2(4096))
  })
})
