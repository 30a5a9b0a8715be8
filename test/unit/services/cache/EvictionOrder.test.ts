import { assert, describe, it } from "@effect/vitest"
import { EvictionOrder, type Line } from "../../../../src/services/cache/EvictionOrder.ts"
import { EvictionPolicy } from "../../../../src/services/cache/EvictionPolicy.ts"

const BYTES = 100

const make = (...lines: ReadonlyArray<Line>) => {
  const order = new EvictionOrder(EvictionPolicy.leastRecentlyUsed)
  for (const [i, line] of lines.entries()) order.add(i + 1, BYTES, line)
  /** The chunks in the order in which they are evicted. */
  const evicted = () => {
    const chunks: Array<number> = []
    for (let chunk = order.first(); chunk !== 0; chunk = order.first()) {
      assert.strictEqual(order.remove(chunk), BYTES)
      chunks.push(chunk)
    }
    return chunks
  }
  return { order, evicted }
}

describe("EvictionOrder", () => {
  it("evicts condemned, superseded, cold and warm chunks in this order, and pinned ones never", () => {
    const lines = ["pinned", "warm", "cold", "superseded", "condemned"] as const
    const { evicted, order } = make(...lines, ...lines)
    assert.deepStrictEqual(evicted(), [5, 10, 4, 9, 3, 8, 2, 7])
    assert.deepStrictEqual([1, 6].map((chunk) => order.lineOf(chunk)), ["pinned", "pinned"])
    assert.strictEqual(order.unevictableBytes, 2 * BYTES)
  })

  it("moves a chunk behind those that are in the line already", () => {
    const { evicted, order } = make("warm", "warm", "cold")
    order.move(1, "warm")
    order.move(3, "warm")
    assert.deepStrictEqual(evicted(), [2, 1, 3])
  })

  it("arranges cold chunks by their last use, except those that leave the line meanwhile", () => {
    const { evicted, order } = make("cold", "cold", "warm", "cold", "cold", "pinned")
    const used = [0, 50, 40, 1, 30, 20, 2]
    const turns = order.arrange(7, (chunk) => used[chunk]!)
    turns.next()
    order.move(4, "warm")
    order.remove(5)
    while (turns.next().done !== true);
    assert.deepStrictEqual(evicted(), [2, 1, 3, 4])
  })

  it("has a chunk in one line at a time", () => {
    const { evicted, order } = make("cold")
    for (const line of ["pinned", "superseded", "warm"] as const) order.move(1, line)
    assert.strictEqual(order.unevictableBytes, 0)
    assert.deepStrictEqual(evicted(), [1])
  })

  it("says which chunks are in use: those that are neither condemned, superseded nor set aside", () => {
    const { order } = make("warm", "cold", "pinned", "superseded", "condemned", "warm")
    order.setAside(6)
    assert.deepStrictEqual([1, 2, 3, 4, 5, 6].filter((chunk) => order.isInUse(chunk)), [1, 2, 3])
  })

  it("skips chunks that are set aside, until removals are retried, and evicts them first then", () => {
    const { evicted, order } = make("warm", "warm")
    assert.isTrue(order.setAside(1))
    assert.strictEqual(order.first(), 2)
    assert.strictEqual(order.unevictableBytes, BYTES)
    // It stays there, although it is condemned.
    order.condemn(1)
    assert.strictEqual(order.first(), 2)
    order.retryRemovals()
    assert.strictEqual(order.unevictableBytes, 0)
    assert.deepStrictEqual(evicted(), [1, 2])
  })

  it("sets at most 64 chunks aside", () => {
    const { order } = make(...Array.from({ length: 65 }, () => "cold" as const))
    const refused = Array.from({ length: 65 }, (_, i) => i + 1).find((chunk) => !order.setAside(chunk))
    assert.strictEqual(refused, 65)
    assert.strictEqual(order.first(), 65)
    order.remove(64)
    assert.isTrue(order.setAside(65))
  })
})
