import { assert, describe, it } from "@effect/vitest"
import { BoundedMap } from "../../../src/effects/BoundedMap.ts"

describe("a bounded map", () => {
  it("lets what came first go when it is too heavy", () => {
    const map = new BoundedMap<string, number>(10)
    map.set("a", 1, 4)
    map.set("b", 2, 4)
    map.renew("a")
    map.set("c", 3, 4)
    assert.deepStrictEqual([map.get("a"), map.get("b"), map.get("c"), map.weight], [1, undefined, 3, 8])
  })

  it("weighs what a key has now", () => {
    const map = new BoundedMap<string, number>(10)
    map.set("a", 1, 8)
    map.set("a", 2, 3)
    map.set("b", 3, 7)
    assert.deepStrictEqual([map.get("a"), map.get("b"), map.size, map.weight], [2, 3, 2, 10])
    map.delete("a")
    map.delete("a")
    assert.strictEqual(map.weight, 7)
    map.clear()
    assert.strictEqual(map.weight, 0)
  })

  it("does not keep what is heavier than all that it may have, and lets nothing go for it", () => {
    const map = new BoundedMap<string, number>(10)
    map.set("a", 1, 4)
    map.set("b", 2, 11)
    assert.deepStrictEqual([...map.keys()], ["a"])
  })
})
