import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import { type Kept, Sieve } from "../../../src/effects/Sieve.ts"

const make = (capacity: number) => {
  const sieve = new Sieve<string>(capacity)
  const kept = new Map<string, Kept<string>>()
  return {
    sieve,
    kept,
    add: (name: string, weight = 1) => void kept.set(name, sieve.add(name, weight, (gone) => void kept.delete(gone))),
    use: (name: string) => {
      const found = kept.get(name)
      if (found !== undefined) found.visited = true
      return found !== undefined
    },
    remove: (name: string) => {
      const found = kept.get(name)
      if (found === undefined) return
      sieve.remove(found)
      kept.delete(name)
    }
  }
}

describe("Sieve", () => {
  it("takes the oldest of those that were not used", () => {
    const { add, kept, use } = make(3)
    for (const name of ["a", "b", "c"]) add(name)
    use("a")
    add("d")
    assert.deepStrictEqual([...kept.keys()], ["a", "c", "d"])
    add("e")
    assert.deepStrictEqual([...kept.keys()], ["a", "d", "e"])
  })

  it("takes the oldest where all were used", () => {
    const { add, kept, use } = make(2)
    for (const name of ["a", "b"]) add(name)
    for (const name of ["a", "b"]) use(name)
    add("c")
    assert.deepStrictEqual([...kept.keys()], ["b", "c"])
  })

  it("keeps what is used again and again through a file that is watched once", () => {
    const { add, kept, use } = make(100)
    const popular = Array.from({ length: 20 }, (_, i) => `popular ${i}`)
    for (const name of popular) add(name)
    for (let chunk = 0; chunk < 1000; chunk++) {
      add(`film ${chunk}`)
      if (chunk % 10 === 0) { for (const name of popular) use(name) }
    }
    assert.deepStrictEqual(popular.filter((name) => kept.has(name)), popular)
    assert.strictEqual(kept.size, 100)
  })

  it.effect.prop(
    "is never heavier than its capacity, and knows what it keeps",
    {
      steps: Schema.Array(Schema.Struct({
        what: Schema.Literals(["add", "use", "remove"]),
        name: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 12 })),
        weight: Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 20 }))
      }))
    },
    ({ steps }) =>
      Effect.sync(() => {
        const { add, kept, remove, sieve, use } = make(20)
        for (const { name, weight, what } of steps) {
          if (what === "use") use(`${name}`)
          else {
            remove(`${name}`)
            if (what === "add") add(`${name}`, weight)
          }
          const weights = [...kept.values()].reduce((sum, { weight }) => sum + weight, 0)
          assert.strictEqual(sieve.weight, weights)
          assert.strictEqual(sieve.count, kept.size)
          assert.isAtMost(weights, 20)
        }
      }),
    { arbitrary: { runs: 300 } }
  )
})
