import { assert, describe, it } from "@effect/vitest"
import { describe as line } from "./schedule.ts"
import { simulate } from "./simulate.ts"

const SEEDS = 1500
const PER_TEST = 100

describe("a simulated world", () => {
  it.each(Array.from({ length: SEEDS / PER_TEST }, (_, i) => [i * PER_TEST + 1, (i + 1) * PER_TEST] as const))(
    "keeps the invariants with seeds %i to %i",
    (first, last) => {
      for (let seed = first; seed <= last; seed++) {
        const { schedule, violation } = simulate(seed)
        if (violation !== undefined) assert.fail([`seed ${seed}: ${violation}`, ...schedule.steps.map(line)].join("\n"))
      }
    },
    120_000
  )

  it("is the same world for the same seed", () => {
    for (const seed of [1, 2, 3, 4, 5]) assert.strictEqual(simulate(seed).hash, simulate(seed).hash)
    assert.notStrictEqual(simulate(1).hash, simulate(2).hash)
  })
})
