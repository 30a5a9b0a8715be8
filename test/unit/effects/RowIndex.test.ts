import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"
import { RowIndex } from "../../../src/effects/RowIndex.ts"

const row = Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 40 }))
const step = Schema.Struct({ adds: Schema.Boolean, row })

describe("RowIndex", () => {
  // Few hashes, the last of which are at the end of their table, so that rows are placed far from where they belong.
  it.prop("finds the rows that are there, and no others, whatever was added and removed before", {
    steps: Schema.Array(step)
  }, ({ steps }) => {
    const hashOf = (row: number): number => (row % 3 === 0 ? 0x1fffff : row % 5)
    const index = new RowIndex(hashOf)
    const model = new Set<number>()
    for (const { adds, row } of steps) {
      if (adds === model.has(row)) continue
      if (adds) {
        index.add(row)
        model.add(row)
      } else {
        index.remove(row)
        model.delete(row)
      }
      for (let other = 1; other <= 40; other++) {
        assert.strictEqual(index.find(hashOf(other), (found) => found === other), model.has(other) ? other : 0)
      }
    }
  }, { arbitrary: { runs: 300 } })

  it("has many rows", () => {
    const index = new RowIndex((row) => Math.imul(row, 0x9e3779b1) >>> 0)
    for (let row = 1; row <= 50_000; row++) index.add(row)
    for (let row = 1; row <= 50_000; row += 7) index.remove(row)
    let found = 0
    for (let row = 1; row <= 50_000; row++) {
      if (index.find(Math.imul(row, 0x9e3779b1) >>> 0, (other) => other === row) === row) found += 1
    }
    assert.strictEqual(found, 50_000 - Math.ceil(50_000 / 7))
  })
})
