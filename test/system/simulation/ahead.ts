import type { RoutePolicy } from "../../../src/domain/RoutePolicy.ts"
import { MiB } from "../../support/TestOrigin.ts"
import type { Random } from "./random.ts"
import * as Schedule from "./schedule.ts"

/**
 * Schedules in which the cache is filled ahead of viewers, and files are completed after them, while disk and origin fail.
 */

const policyOf = (random: Random): Partial<RoutePolicy> => ({
  readAhead: random.weighted([[Number.POSITIVE_INFINITY, 1], [random.int(MiB, 4 * MiB), 3]]),
  finish: random.chance(0.3),
  parallel: random.pick([1, 2, 8]),
  hedgeAfter: random.pick([0, 500, 3000])
})

/** The schedule of `seed`. */
export const makeAhead = (seed: number, random: Random): Schedule.Schedule => ({
  ...Schedule.make(seed, random),
  policy: policyOf(random)
})
