import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"
import { Intervals } from "../../../src/effects/Intervals.ts"

/** On both sides of the border between two blocks. */
const FIRST = 1014
const number = Schema.Int.check(Schema.isBetween({ minimum: FIRST, maximum: FIRST + 20 }))
const step = Schema.Struct({ adds: Schema.Boolean, number })

describe("Intervals", () => {
  it("joins neighbours in any order", () => {
    const set = new Intervals()
    for (const n of [5, 3, 4, 0, 2, 1]) set.add(n)
    assert.strictEqual(set.firstMissing(0), 6)
    assert.strictEqual(set.firstMissing(3), 6)
    assert.strictEqual(set.firstMissing(6), 6)
  })

  it("sees a long stretch as one, and where it ends", () => {
    const set = new Intervals()
    for (let n = 0; n < 10_000; n++) set.add(n)
    assert.strictEqual(set.firstMissing(3), 10_000)
    for (const hole of [9_999, 5_000, 1024, 1023, 0]) {
      set.delete(hole)
      assert.strictEqual(set.firstMissing(hole), hole)
      assert.strictEqual(set.firstMissing(0), hole)
    }
  })

  it("has numbers of 32 bits and more", () => {
    const set = new Intervals()
    for (const n of [2 ** 40, 2 ** 40 + 1, 7]) set.add(n)
    assert.strictEqual(set.firstMissing(2 ** 40), 2 ** 40 + 2)
  })

  it.prop("tells the first number missing as a plain set does", { steps: Schema.Array(step) }, ({ steps }) => {
    const set = new Intervals()
    const model = new Set<number>()
    for (const { adds, number } of steps) {
      if (adds) {
        set.add(number)
        model.add(number)
      } else {
        set.delete(number)
        model.delete(number)
      }
      for (let from = FIRST; from <= FIRST + 21; from++) {
        let missing = from
        while (model.has(missing)) missing += 1
        assert.strictEqual(set.firstMissing(from), missing)
      }
    }
  }, { arbitrary: { runs: 500 } })
})
