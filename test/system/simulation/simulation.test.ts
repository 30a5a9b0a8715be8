import { assert, describe, it } from "@effect/vitest"
import {
  describe as line,
  LAST_UNCODED,
  LAST_WITH_LENGTHS,
  LAST_WITH_VALIDATORS,
  LAST_WITHOUT_KEEPING,
  LAST_WITHOUT_MIRRORS,
  LAST_WITHOUT_POLICIES
} from "./schedule.ts"
import { simulate } from "./simulate.ts"
import { LAST_WITHOUT_SITES } from "./wide.ts"

const PER_TEST = 100

/** Beyond `LAST_WITHOUT_KEEPING` people purge and pin; beyond `LAST_WITHOUT_SITES` the origin tells viewers apart, besides. Beyond
 * `LAST_WITH_VALIDATORS` files have no strong validator, beyond `LAST_UNCODED` origins code, and
 * beyond `LAST_WITH_LENGTHS` responses have no length, and beyond `LAST_WITHOUT_POLICIES` the cache is filled ahead of viewers.
 * Beyond `LAST_WITHOUT_MIRRORS`, the origin has mirrors. */
const seeds = [
  ...Array.from({ length: 12 }, (_, i) => i * PER_TEST + 1),
  ...Array.from({ length: 3 }, (_, i) => LAST_WITHOUT_KEEPING + i * PER_TEST + 1),
  ...Array.from({ length: 5 }, (_, i) => LAST_WITHOUT_SITES + i * PER_TEST + 1),
  ...Array.from({ length: 5 }, (_, i) => LAST_WITH_VALIDATORS + i * PER_TEST + 1),
  ...Array.from({ length: 5 }, (_, i) => LAST_UNCODED + i * PER_TEST + 1),
  ...Array.from({ length: 3 }, (_, i) => LAST_WITH_LENGTHS + i * PER_TEST + 1),
  ...Array.from({ length: 3 }, (_, i) => LAST_WITHOUT_POLICIES + i * PER_TEST + 1),
  ...Array.from({ length: 4 }, (_, i) => LAST_WITHOUT_MIRRORS + i * PER_TEST + 1)
]

describe("a simulated world", () => {
  it.each(seeds.map((first) => [first, first + PER_TEST - 1] as const))(
    "keeps the invariants with seeds %i to %i",
    (first, last) => {
      for (let seed = first; seed <= last; seed++) {
        const { schedule, violation } = simulate(seed)
        if (violation !== undefined) assert.fail([`seed ${seed}: ${violation}`, ...schedule.steps.map(line)].join("\n"))
      }
    }
  )

  it("is the same world for the same seed", () => {
    for (const seed of [1, 2, 3, 4, 5]) assert.strictEqual(simulate(seed).hash, simulate(seed).hash)
    assert.notStrictEqual(simulate(1).hash, simulate(2).hash)
  })
})
