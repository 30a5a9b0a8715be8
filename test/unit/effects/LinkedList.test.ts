import { assert, describe, it } from "@effect/vitest"
import { LinkedList, type Member } from "../../../src/effects/LinkedList.ts"

interface Item extends Member<Item> {
  readonly name: string
}

const make = (names: string) => {
  const list = new LinkedList<Item>()
  const items = Array.from(names, (name): Item => ({ name, before: undefined, behind: undefined }))
  for (const item of items) list.push(item)
  return { items, list, names: () => Array.from(list, ({ name }) => name).join("") }
}

describe("LinkedList", () => {
  it("keeps the order of those that stay", () => {
    const { items, list, names } = make("abcd")
    for (const index of [1, 0, 3]) list.remove(items[index]!)
    assert.strictEqual(names(), "c")
    list.push(items[0]!)
    assert.strictEqual(names(), "ca")
  })

  it("lets what was removed go of its neighbours", () => {
    const { items, list } = make("abc")
    list.remove(items[1]!)
    assert.deepStrictEqual([items[1]!.before, items[1]!.behind], [undefined, undefined])
  })

  it("can be emptied while it is walked", () => {
    const { list, names } = make("abc")
    const walked: Array<string> = []
    for (const item of list) {
      walked.push(item.name)
      list.remove(item)
    }
    assert.deepStrictEqual([walked.join(""), names()], ["abc", ""])
  })
})
