import { assert, describe, it } from "@effect/vitest"
import type { LinkedList } from "../../../../src/effects/LinkedList.ts"
import { type Evictable, EvictionOrder } from "../../../../src/services/cache/EvictionOrder.ts"

interface Item extends Evictable<Item> {
  readonly name: string
}

const make = () => {
  const order = new EvictionOrder<Item>()
  const add = (name: string, line: LinkedList<Item>): Item => {
    const item: Item = { name, line, before: undefined, behind: undefined }
    line.push(item)
    return item
  }
  /** The names in the order in which they are evicted. */
  const evicted = () => {
    const names: Array<string> = []
    for (let item = order.first(); item !== undefined; item = order.first()) {
      item.line.remove(item)
      names.push(item.name)
    }
    return names.join(" ")
  }
  return { order, add, evicted }
}

describe("EvictionOrder", () => {
  it("evicts condemned, superseded, cold and warm members in this order, and pinned ones never", () => {
    const { add, evicted, order } = make()
    const lines = ["pinned", "warm", "cold", "superseded", "condemned"] as const
    for (const line of lines) for (const i of [1, 2]) add(`${line}${i}`, order[line])
    assert.strictEqual(evicted(), "condemned1 condemned2 superseded1 superseded2 cold1 cold2 warm1 warm2")
    assert.deepStrictEqual(Array.from(order, ({ name }) => name), ["pinned1", "pinned2"])
  })

  it("moves a member behind those that are in the line already", () => {
    const { add, evicted, order } = make()
    const [a, , c] = [add("a", order.warm), add("b", order.warm), add("c", order.cold)]
    order.move(a, order.warm)
    order.move(c, order.warm)
    assert.strictEqual(evicted(), "b a c")
  })

  it("has as many members after a move as before", () => {
    const { add, order } = make()
    const a = add("a", order.cold)
    for (const line of [order.pinned, order.superseded, order.warm]) order.move(a, line)
    assert.deepStrictEqual([...order], [a])
  })

  it("says which members are in use: those that are neither condemned, superseded nor set aside", () => {
    const { add, order } = make()
    const inUse = (["warm", "cold", "pinned", "superseded", "condemned"] as const).filter((line) =>
      order.isInUse(add("a", order[line]))
    )
    assert.deepStrictEqual(inUse, ["warm", "cold", "pinned"])
    const aside = add("b", order.warm)
    order.setAside(aside)
    assert.isFalse(order.isInUse(aside))
  })

  it("skips members that are set aside, until removals are retried, and evicts them first then", () => {
    const { add, evicted, order } = make()
    const [a] = [add("a", order.warm), add("b", order.warm)]
    assert.isTrue(order.setAside(a))
    assert.strictEqual(order.first()?.name, "b")
    assert.deepStrictEqual(order.unevictable(), [a])
    // It stays there, although it is condemned.
    order.condemn(a)
    assert.strictEqual(order.first()?.name, "b")
    order.retryRemovals()
    assert.deepStrictEqual(order.unevictable(), [])
    assert.strictEqual(evicted(), "a b")
  })

  it("sets at most 64 members aside", () => {
    const { add, order } = make()
    const items = Array.from({ length: 65 }, (_, i) => add(String(i), order.cold))
    assert.strictEqual(items.findIndex((item) => !order.setAside(item)), 64)
    assert.strictEqual(order.first(), items[64])
  })

  it("has pinned members as unevictable", () => {
    const { add, order } = make()
    const pinned = add("a", order.pinned)
    add("b", order.condemned)
    assert.deepStrictEqual(order.unevictable(), [pinned])
  })
})
