import type { Misbehaviour } from "../../../../src/testing/MemoryOrigin.ts"
import type { Random } from "../random.ts"
import { type FilePlan, type Leg, leg, type Schedule } from "../schedule.ts"

/** What a node of the fleet is at the start. */
export interface NodePlan {
  readonly name: string
  readonly weight: number
  /** In chunks. */
  readonly stretch: number
}

export type FleetAction =
  | { readonly _tag: "View"; readonly node: number; readonly file: number; readonly legs: ReadonlyArray<Leg> }
  | { readonly _tag: "Leave"; readonly which: number }
  /** A node ends: in order, killed, or without what its disk has not written. It starts again later, perhaps with another weight. */
  | {
    readonly _tag: "Restart"
    readonly node: number
    readonly how: "stop" | "kill" | "power"
    readonly down: number
    readonly weight: number | undefined
  }
  /** A node does nothing. */
  | { readonly _tag: "Hang"; readonly node: number; readonly millis: number }
  /** Nothing arrives from one node at another one, or in both directions. */
  | {
    readonly _tag: "Cut"
    readonly from: number
    readonly to: number
    readonly isBoth: boolean
    readonly millis: number
  }
  | { readonly _tag: "Engine"; readonly how: "refuses" | "hangs" | "empty"; readonly millis: number }
  /** The engine doesn't name some nodes to one. */
  | { readonly _tag: "Flap"; readonly node: number; readonly hidden: ReadonlyArray<number>; readonly millis: number }
  | { readonly _tag: "Latency"; readonly origin: number; readonly network: number }
  | {
    readonly _tag: "OriginFault"
    readonly fault: Misbehaviour
    readonly file: number
    readonly times: number
    readonly millis: number
  }
  | { readonly _tag: "Change"; readonly file: number; readonly how: "new" | "back" | "gone"; readonly size: number }
  | { readonly _tag: "Purge"; readonly node: number; readonly file: number }

export interface FleetStep {
  readonly after: number
  readonly action: FleetAction
}

export interface FleetSchedule extends Omit<Schedule, "steps"> {
  readonly engine: "list" | "redis"
  readonly settle: number
  readonly nodes: ReadonlyArray<NodePlan>
  readonly steps: ReadonlyArray<FleetStep>
}

const NODES = 3

/** How many chunks belong to one owner, so that a file has several. */
const STRETCH = 4

const MIB = 1024 ** 2

const pause = (random: Random): number =>
  random.weighted<() => number>([
    [() => 0, 4],
    [() => random.int(1, 60), 6],
    [() => random.int(60, 1500), 5],
    [() => random.int(1500, 6000), 1]
  ])()

const whole: Leg = { range: undefined, pace: 0, stall: undefined, leaveAfter: undefined }

const view = (random: Random, files: ReadonlyArray<FilePlan>, chunkSize: number): FleetAction => {
  const file = random.int(0, files.length - 1)
  const count = random.weighted([[1, 4], [2, 1]])
  const read = (_: unknown, i: number): Leg => {
    if (random.chance(0.4)) return { ...whole, pace: random.weighted([[0, 2], [random.int(1, 60), 2]]) }
    const one = leg(random, files[file]!, chunkSize, i === count - 1)
    return {
      ...one,
      pace: Math.min(one.pace, 150),
      stall: one.stall && { ...one.stall, millis: one.stall.millis % 5000 }
    }
  }
  return { _tag: "View", node: random.int(0, NODES - 1), file, legs: Array.from({ length: count }, read) }
}

const ofEngine = (random: Random): FleetAction => ({
  _tag: "Engine",
  how: random.pick(["refuses", "hangs", "empty"] as const),
  millis: random.int(500, 9000)
})

const trouble = (random: Random): FleetAction => {
  const node = random.int(0, NODES - 1)
  const other = (node + random.int(1, NODES - 1)) % NODES
  const millis = random.weighted([[random.int(50, 1500), 2], [random.int(1500, 9000), 3]])
  return random.weighted<() => FleetAction>([
    [() => ({
      _tag: "Restart",
      node,
      how: random.weighted<"stop" | "kill" | "power">([["stop", 1], ["kill", 2], ["power", 1]]),
      down: random.int(0, 6000),
      weight: random.chance(0.15) ? random.int(1, 3) : undefined
    }), 4],
    [() => ({ _tag: "Hang", node, millis }), 4],
    [() => ({ _tag: "Cut", from: node, to: other, isBoth: random.chance(0.5), millis }), 4],
    [() => ofEngine(random), 2],
    [() => ({
      _tag: "Flap",
      node,
      hidden: random.chance(0.7) ? [other] : [0, 1, 2].filter((one) => one !== node),
      millis: random.int(3000, 8000)
    }), 3]
  ])()
}

const ofOrigin = (random: Random, files: ReadonlyArray<FilePlan>): FleetAction => {
  const file = random.int(0, files.length - 1)
  const { size } = files[file]!
  const after = random.int(0, size)
  const fault = random.weighted<Misbehaviour>([
    [{ _tag: "Refuse" }, 2],
    [{ _tag: "Reset", after }, 3],
    [{ _tag: "Stall", after, millis: 30_000 }, 1],
    [{ _tag: "Status", status: random.pick([503, 500]) }, 2]
  ])
  const times = random.weighted([[1, 4], [random.int(2, 6), 1]])
  return random.weighted<() => FleetAction>([
    [() => ({ _tag: "OriginFault", fault, file, times, millis: random.int(10, 8000) }), 2],
    [() => ({
      _tag: "Change",
      file,
      how: random.weighted<"new" | "back" | "gone">([["new", 5], ["back", 1], ["gone", 1]]),
      size: random.chance(0.5) ? size : random.int(1, 2 * size)
    }), 1]
  ])()
}

const latency = (random: Random): FleetAction => ({
  _tag: "Latency",
  origin: random.weighted([[0, 1], [random.int(1, 60), 4], [random.int(60, 900), 1]]),
  network: random.weighted([[0, 1], [random.int(1, 30), 4]])
})

/** A file changes, and is purged while nodes read it from each other. Then viewers come to all of them. */
const makePurge = (random: Random, files: ReadonlyArray<FilePlan>): ReadonlyArray<FleetStep> => {
  const file = random.int(0, files.length - 1)
  const viewAt = (node: number, after: number): FleetStep => ({
    after,
    action: { _tag: "View", node, file, legs: [whole] }
  })
  const purge: FleetStep = {
    after: random.int(0, 40),
    action: { _tag: "Purge", node: random.int(0, NODES - 1), file }
  }
  if (random.chance(0.3)) return [purge]
  const nodes = Array.from({ length: NODES }, (_, i) => i)
  return [
    { after: pause(random), action: { _tag: "Latency", origin: random.int(0, 20), network: random.int(20, 90) } },
    ...nodes.map((node) => viewAt(node, random.int(0, 400))),
    {
      after: random.int(0, 1000),
      action: { _tag: "Change", file, how: "new", size: files[file]!.size }
    },
    purge,
    ...Array.from({ length: random.int(1, 5) }, () => viewAt(random.pick(nodes), random.int(0, 30))),
    ...nodes.map((node, i) => viewAt(node, i === 0 ? random.int(200, 2500) : 0))
  ]
}

/** Files and nodes without anything that happens. */
const makeStill = (random: Random): Omit<FleetSchedule, "steps"> => {
  const chunkSize = random.pick([1024, 4096])
  const engine = random.weighted<"list" | "redis">([["redis", 3], ["list", 1]])
  const isEven = random.chance(0.5)
  return {
    chunkSize,
    sliceBytes: Math.ceil(chunkSize * random.weighted([[0.2 + random.next(), 2], [1, 1], [1 + 2 * random.next(), 1]])),
    maxSize: 64 * MIB,
    minFree: 0,
    capacity: 256 * MIB,
    memory: random.weighted([[0, 1], [4 * MIB, 3]]),
    order: random.chance(0.5) ? "first" : "any",
    engine,
    settle: random.pick([1, 5000, 3_600_000]),
    nodes: Array.from({ length: NODES }, (_, i) => ({
      name: `n${i + 1}`,
      weight: isEven ? 1 : random.int(i === 0 ? 1 : 0, 3),
      stretch: random.chance(0.04) ? STRETCH * 2 : STRETCH
    })),
    files: Array.from({ length: random.int(1, 2) }, (_, i): FilePlan => ({
      name: `file${i}`,
      size: random.weighted([
        [random.int(1, 30 * chunkSize), 4],
        [random.int(1, 3) * STRETCH * chunkSize, 2],
        [random.int(1, chunkSize), 1]
      ]),
      validator: random.chance(0.8) ? "etag" : "last-modified",
      maxAge: random.weighted([[undefined, 1], [random.int(1, 20), 1], [3600, 4]]),
      acceptsRanges: random.chance(0.9)
    }))
  }
}

/** Only viewers, who stay, at an origin and nodes that work, with or without an engine: each byte comes from the origin once. */
const isCalm = (random: Random): boolean => random.chance(0.2)

const staying = (leg: Leg): Leg => {
  const { pace, range, stall } = leg
  return { pace, range, stall, leaveAfter: undefined }
}

const makeCalm = (random: Random, still: Omit<FleetSchedule, "steps">): FleetSchedule => {
  const files = still.files.map((file) => ({ ...file, maxAge: 3600, acceptsRanges: true }))
  const hasTrouble = random.chance(0.5)
  const steps = Array.from({ length: random.int(3, 12) }, (): FleetStep => {
    const action = hasTrouble && random.chance(0.3) ? ofEngine(random) : view(random, files, still.chunkSize)
    if (action._tag !== "View") return { after: pause(random), action }
    return {
      after: pause(random),
      action: { ...action, legs: action.legs.map(staying) }
    }
  })
  return {
    ...still,
    engine: "redis",
    memory: 4 * MIB,
    nodes: still.nodes.map((node) => ({ ...node, stretch: STRETCH })),
    files,
    steps: [{ after: 0, action: latency(random) }, ...steps]
  }
}

/** A schedule of a fleet. */
export const makeFleet = (random: Random): FleetSchedule => {
  const still = makeStill(random)
  if (isCalm(random)) return makeCalm(random, still)
  const { chunkSize, files } = still
  const steps = Array.from({ length: random.int(4, 15) }, (): ReadonlyArray<FleetStep> => {
    if (random.chance(0.08)) return makePurge(random, files)
    const action = random.weighted<() => FleetAction>([
      [() => view(random, files, chunkSize), 12],
      [() => ({ _tag: "Leave", which: random.int(0, 100) }), 1],
      [() => trouble(random), 5],
      [() => ofOrigin(random, files), 1.5],
      [() => latency(random), 1]
    ])()
    return [{ after: pause(random), action }]
  }).flat()
  return { ...still, steps: [{ after: 0, action: latency(random) }, ...steps] }
}
