import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"
import { ChunkTable } from "../../../src/domain/ChunkTable.ts"
import { ResourceTable } from "../../../src/domain/ResourceTable.ts"

const keyAt = (index: number) => ({ resource: "a", representation: "r", index })

/** On both sides of the borders of a thousand chunks. */
const place = Schema.Int.check(Schema.isBetween({ minimum: 960, maximum: 4200 }))
const length = Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 2500 }))
const step = Schema.Struct({ does: Schema.Literals(["add", "add", "remove", "hide"]), place, length })

/** Stretches of neighbours in a set. */
const stretchesOf = (set: ReadonlySet<number>): ReadonlyArray<readonly [number, number]> => {
  const all: Array<[number, number]> = []
  for (const n of [...set].toSorted((a, b) => a - b)) {
    if (all.at(-1)?.[1] === n) all.at(-1)![1] = n + 1
    else all.push([n, n + 1])
  }
  return all
}

describe("ChunkTable", () => {
  it.prop("tells where stretches end, whatever was added, hidden and removed", {
    steps: Schema.Array(step).check(Schema.isMinLength(2))
  }, ({ steps }) => {
    const table = new ChunkTable(new ResourceTable())
    const visible = new Set<number>()
    for (const { does, length, place } of steps) {
      // A few chunks are hidden or removed, and long stretches added.
      const end = place + (does === "add" ? length : 1 + (length % 3))
      for (let index = place; index < end; index++) {
        const chunk = table.find(keyAt(index))
        if (does === "add" && chunk === 0) {
          table.add(keyAt(index))
          visible.add(index)
        } else if (does !== "add" && chunk !== 0) {
          if (does === "remove") table.remove(chunk)
          else table.hide(chunk)
          visible.delete(index)
        }
      }
      const stretches = stretchesOf(visible)
      assert.deepStrictEqual(table.stretches("a", "r"), stretches)
      for (const start of [0, 960, 992, 1023, 1024, 1055, 2047, 2048, 4096, place, end - 1, end]) {
        const missing = stretches.find(([first, end]) => first <= start && start < end)?.[1] ?? start
        assert.strictEqual(table.firstMissing(keyAt(start), Infinity), missing)
        assert.strictEqual(table.firstMissing(keyAt(start), start + 100), Math.min(missing, start + 100))
      }
    }
    for (const chunk of table.of("a")) table.remove(chunk)
    assert.deepStrictEqual([table.count, table.has("a"), table.firstMissing(keyAt(1024), Infinity)], [0, false, 1024])
  }, { arbitrary: { runs: 100 } })

  it("passes over long stretches in few steps", () => {
    const table = new ChunkTable(new ResourceTable())
    for (let index = 0; index < 200_000; index++) table.add(keyAt(index))
    assert.strictEqual(table.firstMissing(keyAt(5), Infinity), 200_000)
    table.hide(table.find(keyAt(199_999)))
    assert.strictEqual(table.firstMissing(keyAt(5), Infinity), 199_999)
    table.remove(table.find(keyAt(123_456)))
    assert.strictEqual(table.firstMissing(keyAt(5), Infinity), 123_456)
  })

  it("gives what was removed no memory of what it was", () => {
    const table = new ChunkTable(new ResourceTable())
    table.hide(table.add(keyAt(7)))
    table.remove(table.find(keyAt(7)))
    assert.isUndefined(table.keyOf(1))
    table.add({ ...keyAt(7), resource: "b" })
    assert.deepStrictEqual(table.stretches("b", "r"), [[7, 8]])
    assert.deepStrictEqual([table.has("a"), table.keyOf(1)], [false, { ...keyAt(7), resource: "b" }])
  })
})
