import type { Random } from "./random.ts"
import * as Schedule from "./schedule.ts"

/** Schedules in which the origin has mirrors. Some faults are of one of them, and mirrors lag behind when a file changes. */

/** The same for `seed`s with strong validators, and for those without. */
const baseOf = (seed: number): number => seed % 2 === 0 ? 1 : Schedule.LAST_WITH_VALIDATORS + 1

/** The schedule of `seed`. */
export const makeMirrored = (seed: number, random: Random): Schedule.Schedule => {
  const schedule = Schedule.make(baseOf(seed), random)
  const mirrors = random.int(1, 2)
  const steps = schedule.steps.map(({ action, after }): Schedule.Step => {
    switch (action._tag) {
      case "OriginFault":
        return { after, action: random.chance(0.7) ? { ...action, host: random.int(0, mirrors) } : action }
      case "Change": {
        const lag = random.weighted([[0, 1], [random.int(1, 500), 1], [random.int(500, 20_000), 1]])
        return { after, action: { ...action, lag } }
      }
      default:
        return { after, action }
    }
  })
  return { ...schedule, steps, mirrors, policy: { choice: random.pick(["in-order", "weighted"] as const) } }
}
