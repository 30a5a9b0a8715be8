import type { Random } from "./random.ts"
import * as Schedule from "./schedule.ts"
import { plain } from "./site.ts"

/**
 * Schedules in which responses have no length, and many viewers want the same file while it arrives. Transfers break off, and files are
 * changed, replaced, deleted and purged meanwhile.
 */

const chunked = (random: Random) => (file: Schedule.FilePlan): Schedule.FilePlan => ({
  ...file,
  maxAge: random.weighted([[file.maxAge, 1], [random.int(1, 20), 1], [3600, 3]]),
  site: plain,
  ...(random.chance(0.8) && { isChunked: true })
})

/** Without a length, a body that ends too early is one that breaks off: that is all by which a client can tell. */
const broken = ({ action, after }: Schedule.Step): Schedule.Step =>
  action._tag === "OriginFault" && action.fault._tag === "Truncate"
    ? { after, action: { ...action, fault: { ...action.fault, _tag: "Reset" } } }
    : { after, action }

/** Others who want what the viewer of `action` wants, and what is done to it meanwhile. */
const meanwhile = (random: Random, action: Schedule.Action): ReadonlyArray<Schedule.Step> => {
  if (action._tag !== "View" || random.chance(0.3)) return []
  const { file } = action
  return Array.from({ length: random.int(1, 4) }, (): Schedule.Step => ({
    after: random.weighted([[0, 1], [random.int(1, 300), 3]]),
    action: random.weighted<() => Schedule.Action>([
      [() => ({ ...action, legs: action.legs.map((leg) => random.chance(0.5) ? whole : leg) }), 8],
      [() => ({ _tag: "Leave", which: random.int(0, 100) }), 1],
      [() => ({ _tag: "Put", file }), 0.7],
      [() => ({ _tag: "Delete", file }), 0.3],
      [() => ({ _tag: "Purge", file }), 0.7]
    ])()
  }))
}

const whole: Schedule.Leg = { range: undefined, pace: 0, stall: undefined, leaveAfter: undefined }

/** The schedule of `seed`. */
export const makeUnmeasured = (seed: number, random: Random): Schedule.Schedule => {
  const { files, steps, ...schedule } = Schedule.make(seed, random)
  const latency: Schedule.Step = { after: 0, action: { _tag: "OriginLatency", millis: random.int(1, 60) } }
  return {
    ...schedule,
    files: files.map(chunked(random)),
    steps: [latency, ...steps.flatMap((step) => [broken(step)].concat(meanwhile(random, step.action)))]
  }
}
