import { assert, describe, it } from "@effect/vitest"
import { highest } from "../../../src/effects/highest.ts"

const rankOf = (row: number): number => (row * 7919) % 1000

describe("highest", () => {
  it.each([[0, 5], [3, 5], [10, 0], [10, 1], [1000, 24], [1000, 1000]])(
    "returns the first of %s rows, at most %s",
    (length, limit) => {
      const rows = Array.from({ length }, (_, i) => i)
      const expected = rows.toSorted((a, b) => rankOf(b) - rankOf(a)).slice(0, limit)
      assert.deepStrictEqual(highest(rows, limit, rankOf), expected)
    }
  )
})
