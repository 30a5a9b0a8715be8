import { Effect } from "effect"
import assert from "node:assert/strict"
import { RowLists } from "../effects/RowLists.ts"
import { type EvictionChoice, EvictionPolicy } from "../services/cache/EvictionPolicy.ts"

/**
 * What every `EvictionPolicy` has to do, for tests of your own. Each case takes the policy from the context, and dies with an `AssertionError` if
 * the policy does something else. In Spillway, a policy that breaks a promise only chooses badly.
 */

/**
 * One promise of a policy.
 *
 * @since 0.1.0
 * @category testing
 */
export interface ContractCase {
  readonly title: string
  readonly check: Effect.Effect<void>
}

/** A line of chunks, and a choice of the policy in the context that is watched. */
const makeLine = Effect.map(EvictionPolicy, (policy) => {
  const lists = new RowLists()
  const members = new Set<number>()
  const isIn = (chunk: number) => assert.ok(members.has(chunk), `chunk ${chunk} isn't in the line`)
  const choice: EvictionChoice = policy({
    first: () => lists.first(0),
    behind: (chunk) => {
      isIn(chunk)
      return lists.behind(chunk)
    },
    moveToEnd: (chunk) => {
      isIn(chunk)
      lists.remove(0, chunk)
      lists.push(0, chunk)
    }
  })
  const add = (...chunks: ReadonlyArray<number>): void => {
    for (const chunk of chunks) {
      members.add(chunk)
      lists.push(0, chunk)
    }
  }
  const leave = (chunk: number): void => {
    choice.leaves?.(chunk)
    lists.remove(0, chunk)
    members.delete(chunk)
  }
  const next = (): number => {
    const chunk = choice.next()
    isIn(chunk)
    return chunk
  }
  /** Evicts all chunks. */
  const drain = (): void => {
    while (members.size > 0) leave(next())
  }
  return { add, drain, leave, members, next, use: choice.used }
})

type Line = Effect.Success<typeof makeLine>

const make = (title: string, check: (line: Line) => void): ContractCase => ({
  title,
  check: Effect.map(makeLine, check)
})

const RANDOM_STEPS = 20_000

/**
 * All cases. A policy that passes them never chooses a chunk that isn't there.
 *
 * @example
 * ```ts
 * import { Effect } from "effect"
 * import { EvictionPolicy } from "spillway"
 * import { EvictionPolicyContract } from "spillway/testing"
 *
 * const checked = Effect.forEach(
 *   EvictionPolicyContract.cases,
 *   ({ check }) => Effect.provideService(check, EvictionPolicy, EvictionPolicy.sieve)
 * )
 * ```
 *
 * @since 0.1.0
 * @category testing
 */
export const cases: ReadonlyArray<ContractCase> = [
  make("chooses one chunk after the other, until none is left", ({ add, drain, use }) => {
    add(1, 2, 3, 4, 5)
    use(2)
    use(5)
    use(2)
    drain()
    add(6)
    drain()
  }),
  make("chooses a chunk although all are used, as often as it is asked", ({ add, drain, members, next, use }) => {
    add(1, 2, 3)
    for (let round = 0; round < 3; round++) {
      for (const chunk of members) use(chunk)
      next()
      next()
    }
    drain()
  }),
  make("chooses none that has left without having been evicted", ({ add, leave, members, next, use }) => {
    add(1, 2, 3, 4)
    for (let left = 4; left > 1; left--) {
      const chosen = next()
      use(chosen)
      leave(chosen)
      assert.notStrictEqual(next(), chosen)
    }
    assert.deepStrictEqual([next()], [...members])
  }),
  make("takes the number of a chunk that has left for another chunk", ({ add, drain, leave, next, use }) => {
    add(1, 2)
    use(1)
    leave(1)
    next()
    add(1)
    use(1)
    leave(2)
    assert.strictEqual(next(), 1)
    drain()
  }),
  make(`never leaves the line in ${RANDOM_STEPS} random steps`, ({ add, drain, leave, members, next, use }) => {
    let state = 1
    const random = (below: number): number => {
      state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0
      return (state >>> 8) % below
    }
    for (let step = 0; step < RANDOM_STEPS; step++) {
      const chunk = 1 + random(300)
      const isThere = members.has(chunk)
      const what = random(10)
      if (!isThere) add(chunk)
      else if (what < 6) use(chunk)
      else if (what < 7) leave(chunk)
      if (what === 9) leave(next())
    }
    drain()
  })
]
