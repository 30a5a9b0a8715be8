import type { Random } from "./random.ts"
import * as Schedule from "./schedule.ts"
import { type Identity, plain, planOf, type SitePlan } from "./site.ts"

/**
 * Schedules in which the origin is asked through a client, and treats its viewers differently: refusals, cookies, credentials,
 * redirects, HEAD, odd ranges. Files are deleted and taken back, the clock is set, and single files of the cache fail.
 */

/** Seeds beyond this one are such. */
export const LAST_WITHOUT_SITES = 30_000

/** How long a call to a disk takes that is busy and well, in milliseconds: less than a viewer has patience with one that hangs. */
const BUSY_MILLIS = 150

/** More files than these that fail look like a disk that does. */
const MAX_OBJECT_FAULTS = 2

const HOUR_MILLIS = 3_600_000

const identityOf = (random: Random, site: SitePlan): Identity => ({
  isMember: random.chance(0.55),
  isEvil: site.refuses && random.chance(0.3)
})

const diskActions = new Set(["Corrupt", "DiskFault", "DiskLatency", "Erase", "Foreign"])

const busy = (random: Random): Schedule.Action => ({ _tag: "DiskLatency", millis: random.int(0, BUSY_MILLIS) })

const objectFault = (random: Random): Schedule.Action => ({
  _tag: "ObjectFault",
  errno: random.pick(["EIO", "EISDIR", "EUCLEAN"]),
  operations: random.pick([["open"], ["read"], ["unlink"], ["open", "unlink"]] as const),
  which: random.int(0, 1000)
})

/** What happens in a wide schedule in place of `action`. */
const widened = (
  random: Random,
  action: Schedule.Action,
  files: ReadonlyArray<Schedule.FilePlan>,
  isDiskWell: boolean
) => {
  if (action._tag === "View") {
    const site = files[action.file]!.site!
    const legs = action.legs.map((leg) => random.chance(0.15) ? { ...leg, range: undefined, isHead: true } : leg)
    return { ...action, legs, identity: identityOf(random, site) }
  }
  // A client knows from the length when a body ends too early.
  if (action._tag === "OriginFault" && action.fault._tag === "Truncate") {
    return { ...action, fault: { ...action.fault, _tag: "Reset" as const } }
  }
  if (!isDiskWell) return action
  if (diskActions.has(action._tag)) return busy(random)
  return action._tag === "Restart" && action.how === "power" ? { ...action, how: "kill" as const } : action
}

/** What else happens. */
const extra = (random: Random, files: ReadonlyArray<Schedule.FilePlan>): Schedule.Action => {
  const file = random.int(0, files.length - 1)
  return random.weighted<() => Schedule.Action>([
    [() => ({ _tag: "Delete", file }), 2],
    [() => ({ _tag: "TakeBack", file }), 1],
    [() => ({
      _tag: "Clock",
      by: random.pick([-1, 1]) * random.pick([500, 5000, HOUR_MILLIS, 365 * 24 * HOUR_MILLIS])
    }), 1],
    [() => ({ _tag: "Change", file, how: "new", size: files[file]!.size }), 1],
    [() => ({ _tag: "Restart", how: "kill", down: random.int(0, 2000) }), 1]
  ])()
}

/** Slow readers of long files, and others who want them too, at an origin that takes two requests at a time. */
const makeCrowd = (random: Random, { files, ...schedule }: Schedule.Schedule): Schedule.Schedule => {
  const chunkSize = 160 * 1024
  const long = files.map((file): Schedule.FilePlan => ({
    ...file,
    size: random.int(12, 20) * chunkSize,
    acceptsRanges: true,
    site: plain
  }))
  const view = (isSlow: boolean): Schedule.Action => ({
    _tag: "View",
    file: random.int(0, long.length - 1),
    identity: { isMember: true, isEvil: false },
    legs: [{
      range: random.chance(0.5) ? undefined : { _tag: "From", start: random.int(0, 10 * chunkSize), last: undefined },
      pace: 0,
      stall: isSlow ? { after: random.int(0, chunkSize), millis: random.int(30_000, 120_000) } : undefined,
      leaveAfter: undefined
    }]
  })
  return {
    ...schedule,
    chunkSize,
    sliceBytes: 64 * 1024,
    maxSize: 64 * 1024 ** 2,
    capacity: 256 * 1024 ** 2,
    memory: random.pick([0, 10 * chunkSize]),
    places: 2,
    isDiskWell: true,
    files: long,
    steps: Array.from({ length: random.int(4, 10) }, () => ({
      after: random.int(0, 3000),
      action: view(random.chance(0.6))
    }))
  }
}

/** The schedule of `seed`. */
export const makeWide = (seed: number, random: Random): Schedule.Schedule => {
  const narrow = Schedule.make(seed, random)
  if (random.chance(0.06)) return makeCrowd(random, narrow)
  const isDiskWell = random.chance(0.6)
  const files = narrow.files.map((file): Schedule.FilePlan => ({ ...file, site: planOf(random) }))
  let objectFaults = isDiskWell ? MAX_OBJECT_FAULTS : 0
  const steps = narrow.steps.flatMap((step): ReadonlyArray<Schedule.Step> => {
    const steps = [{ ...step, action: widened(random, step.action, files, isDiskWell) }]
    if (step.action._tag === "View" && random.chance(0.4)) {
      const after = random.weighted([[0, 2], [random.int(1, 200), 1]])
      steps.push({ after, action: widened(random, step.action, files, isDiskWell) })
    }
    if (random.chance(0.15)) steps.push({ after: Schedule.pause(random), action: extra(random, files) })
    if (objectFaults > 0 && random.chance(0.08)) {
      objectFaults -= 1
      steps.push({ after: Schedule.pause(random), action: objectFault(random) })
    }
    return steps
  })
  return { ...narrow, files, steps, ...(isDiskWell && { isDiskWell }) }
}
