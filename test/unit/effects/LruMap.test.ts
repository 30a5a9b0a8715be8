import { assert, describe, it } from "@effect/vitest"
import { LruMap } from "../../../src/effects/LruMap.ts"

describe("LruMap", () => {
  it("evicts the least recently used entry when it is too heavy", () => {
    const map = new LruMap<string, number>(10)
    map.set("a", 1, 4)
    map.set("b", 2, 4)
    assert.strictEqual(map.get("a"), 1)
    map.set("c", 3, 4)
    assert.deepStrictEqual([map.peek("a"), map.peek("b"), map.peek("c"), map.weight], [1, undefined, 3, 8])
  })

  it("doesn't count peek and has as uses", () => {
    const map = new LruMap<string, number>(2)
    map.set("a", 1)
    map.set("b", 2)
    assert.deepStrictEqual([map.peek("a"), map.has("a")], [1, true])
    map.set("c", 3)
    assert.deepStrictEqual([...map.keys()], ["b", "c"])
  })

  it("bounds the number of entries when they have no weight of their own", () => {
    const map = new LruMap<number, string>(3)
    for (let i = 0; i < 10; i++) map.set(i, "x")
    map.set(7, "y")
    assert.deepStrictEqual([...map.keys()], [8, 9, 7])
    assert.strictEqual(map.size, 3)
  })

  it("evicts as many entries as a heavy one needs", () => {
    const map = new LruMap<number, string>(10)
    for (let i = 0; i < 10; i++) map.set(i, "x")
    map.set(10, "y", 8)
    assert.deepStrictEqual([...map.keys()], [8, 9, 10])
  })

  it("counts the weight of a replaced entry once, and that of a deleted one no more", () => {
    const map = new LruMap<string, number>(10)
    map.set("a", 1, 8)
    map.set("a", 2, 3)
    map.set("b", 3, 7)
    assert.deepStrictEqual([map.peek("a"), map.peek("b"), map.size, map.weight], [2, 3, 2, 10])
    map.delete("a")
    map.delete("a")
    assert.strictEqual(map.weight, 7)
    map.clear()
    assert.deepStrictEqual([map.weight, map.size], [0, 0])
  })

  it("doesn't keep an entry heavier than its capacity, and evicts no other for it", () => {
    const map = new LruMap<string, number>(10)
    map.set("a", 1, 4)
    map.set("b", 2, 4)
    map.set("b", 3, 11)
    assert.deepStrictEqual([...map.keys()], ["a"])
    assert.strictEqual(map.weight, 4)
  })
})
