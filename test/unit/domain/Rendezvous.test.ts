import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"
import { isAbove, rank, stretchAt } from "../../../src/domain/Rendezvous.ts"

const nodes = (count: number, weight = 1) => Array.from({ length: count }, (_, i) => ({ name: `n${i + 1}`, weight }))

/** How many files of how many stretches each are looked at. */
const FILES = 2000
const STRETCHES = 10

const keys = Array.from({ length: FILES * STRETCHES }, (_, i) => ({
  url: `http://origin.test/films/${Math.floor(i / STRETCHES)}.mp4`,
  stretch: i % STRETCHES
}))

const ownersOf = (members: ReturnType<typeof nodes>) =>
  keys.map(({ stretch, url }) => rank(members, url, stretch)[0]!.name)

const shareOf = (owners: ReadonlyArray<string>, name: string): number =>
  owners.filter((owner) => owner === name).length / owners.length

const names = Schema.Array(Schema.String.check(Schema.isMinLength(1)))
const weight = Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 1000 }))

describe("rank", () => {
  it.each([3, 10])("spreads stretches evenly over %d nodes", (count) => {
    const owners = ownersOf(nodes(count))
    for (const { name } of nodes(count)) assert.closeTo(shareOf(owners, name) * count, 1, 0.06, name)
  })

  it("spreads stretches by weight", () => {
    const owners = ownersOf([{ name: "small", weight: 1 }, { name: "large", weight: 3 }])
    assert.closeTo(shareOf(owners, "large"), 0.75, 0.015)
  })

  it.each([3, 10])("moves only what a node that joins %d others owns from then on", (count) => {
    const before = ownersOf(nodes(count))
    const after = ownersOf(nodes(count + 1))
    const moved = after.filter((owner, i) => owner !== before[i])
    assert.deepStrictEqual([...new Set(moved)], [`n${count + 1}`])
    assert.closeTo(moved.length / keys.length, 1 / (count + 1), 0.012)
  })

  it("spreads the stretches of one file", () => {
    const url = "http://origin.test/film.mp4"
    const owners = Array.from({ length: 3000 }, (_, stretch) => rank(nodes(3), url, stretch)[0]!.name)
    for (const { name } of nodes(3)) assert.closeTo(shareOf(owners, name), 1 / 3, 0.03, name)
  })

  it.prop("orders any two nodes alike, whoever else is there, in any order", {
    names,
    url: Schema.String,
    stretch: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 1e6 })),
    weights: Schema.Array(weight)
  }, ({ names, stretch, url, weights }) => {
    const all = [...new Set(names)].map((name, i) => ({ name, weight: weights[i] ?? 1 }))
    const order = rank(all, url, stretch)
    assert.deepStrictEqual(rank(all.toReversed(), url, stretch), order)
    for (const [i, upper] of order.entries()) {
      for (const lower of order.slice(i + 1)) {
        assert.deepStrictEqual(rank([lower, upper], url, stretch), [upper, lower])
        assert.isTrue(isAbove(upper, lower, url, stretch))
        assert.isFalse(isAbove(lower, upper, url, stretch))
      }
    }
  })

  it("leaves out nodes with weight 0, which rank below all others", () => {
    const [a, b] = [{ name: "a", weight: 0 }, { name: "b", weight: 1 }]
    for (let stretch = 0; stretch < 100; stretch++) {
      assert.deepStrictEqual(rank([a, b], "http://origin.test/f", stretch), [b])
      assert.isTrue(isAbove(b, a, "http://origin.test/f", stretch))
      assert.isFalse(isAbove(a, b, "http://origin.test/f", stretch))
    }
  })

  it("is the same in all versions", () => {
    const order = rank(nodes(5), "https://media.example.org/films/a.mp4?v=1", 7).map(({ name }) => name)
    assert.deepStrictEqual(order, ["n4", "n3", "n2", "n5", "n1"])
  })
})

describe("stretchAt", () => {
  it("changes after the last byte of a stretch", () => {
    assert.deepStrictEqual([0, 9, 10, 25].map((offset) => stretchAt(offset, 10)), [0, 0, 1, 2])
  })
})
