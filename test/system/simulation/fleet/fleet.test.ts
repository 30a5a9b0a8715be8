import { assert, describe, it } from "@effect/vitest"
import { describeStep, simulateFleet } from "./simulate.ts"

const PER_TEST = 25

/** The first seeds of tests of 25 each. */
const firsts = Array.from({ length: 40 }, (_, i) => i * PER_TEST + 1)

describe("a simulated fleet", () => {
  it.each(firsts.map((first) => [first, first + PER_TEST - 1] as const))(
    "keeps the invariants with seeds %i to %i",
    (first, last) => {
      for (let seed = first; seed <= last; seed++) {
        const { schedule, violation } = simulateFleet(seed)
        if (violation !== undefined) {
          assert.fail([`seed ${seed}: ${violation}`, ...schedule.steps.map(describeStep)].join("\n"))
        }
      }
    }
  )

  it("is the same world for the same seed", () => {
    for (const seed of [1, 2, 3]) assert.strictEqual(simulateFleet(seed).hash, simulateFleet(seed).hash)
    assert.notStrictEqual(simulateFleet(1).hash, simulateFleet(2).hash)
  })
})
