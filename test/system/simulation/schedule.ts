import type { RangeSpec } from "../../../src/domain/rfc/ByteRange.ts"
import type { RoutePolicy } from "../../../src/domain/RoutePolicy.ts"
import { bytesOnDisk, MANIFEST_BYTES } from "../../../src/services/disk/ChunkStore.ts"
import type { Operation } from "../../../src/testing/FaultyFileSystem.ts"
import type { Misbehaviour } from "../../../src/testing/MemoryOrigin.ts"
import type { Random } from "./random.ts"
import type { Identity, SitePlan } from "./site.ts"

/** A file of the origin's, as it is at the start. */
export interface FilePlan {
  readonly name: string
  readonly size: number
  /** `weak`: a weak `ETag`. `none`: no validator; a field of no meaning names the version to the judge. */
  readonly validator: "etag" | "last-modified" | "weak" | "none"
  /** Seconds, or `undefined`: every use asks the origin. */
  readonly maxAge: number | undefined
  readonly acceptsRanges: boolean
  /** Its responses have no `Content-Length`. */
  readonly isChunked?: boolean
  /** How the origin codes it, the best first, and whether it says in `Vary` that it does. */
  readonly codings?: { readonly names: ReadonlyArray<string>; readonly vary: boolean }
  /** Without it, the origin sends the bytes to everybody, and is asked without a client. */
  readonly site?: SitePlan
}

/** The content codings that a viewer can decode, and how its `Accept-Encoding` says that. */
interface Accepts {
  readonly field: string
  readonly codings: ReadonlyArray<string>
}

/** One request of a viewer, and how it goes about reading the answer. */
export interface Leg {
  readonly range: RangeSpec | undefined
  /** Milliseconds between two pieces. */
  readonly pace: number
  /** The viewer stops reading here for a while. */
  readonly stall: { readonly after: number; readonly millis: number } | undefined
  /** The viewer goes away after this many bytes. */
  readonly leaveAfter: number | undefined
  /** The request is a HEAD. */
  readonly isHead?: boolean
  /** The content codings that the viewer can decode: none without it. */
  readonly accepts?: Accepts
}

export type Action =
  | { readonly _tag: "View"; readonly file: number; readonly legs: ReadonlyArray<Leg>; readonly identity?: Identity }
  /** Somebody who is watching is cut off. */
  | { readonly _tag: "Leave"; readonly which: number }
  | {
    readonly _tag: "DiskFault"
    readonly operations: ReadonlyArray<Operation>
    readonly fault: string
    readonly after: number
    readonly times: number | undefined
    readonly onlyTemporaries: boolean
    readonly millis: number
  }
  /** Calls about one file of the cache fail from now on. */
  | {
    readonly _tag: "ObjectFault"
    readonly operations: ReadonlyArray<Operation>
    readonly errno: string
    readonly which: number
  }
  | { readonly _tag: "DiskLatency"; readonly millis: number }
  /** Others use the disk, so that this much more than `minFree` is left, without what the cache has now. */
  | { readonly _tag: "Foreign"; readonly left: number }
  | {
    readonly _tag: "Corrupt"
    readonly how: "flip" | "cut" | "swap" | "empty"
    readonly which: number
    readonly at: number
  }
  | { readonly _tag: "Erase"; readonly what: "all" | "root" | "one"; readonly which: number }
  | {
    readonly _tag: "OriginFault"
    readonly fault: Misbehaviour
    /** Of one file, or of all. */
    readonly file: number | undefined
    /** At one origin, 0 for the first, or at all. */
    readonly host?: number
    readonly times: number
    readonly millis: number
  }
  | { readonly _tag: "OriginLatency"; readonly millis: number }
  | {
    readonly _tag: "Change"
    readonly file: number
    readonly how: "new" | "back" | "gone"
    readonly size: number /** How long mirrors lag behind, in milliseconds. */
    readonly lag?: number
  }
  /** A viewer has the origin delete a file. */
  | { readonly _tag: "Delete"; readonly file: number }
  /** A viewer replaces a file by another one of its planned size. */
  | { readonly _tag: "Put"; readonly file: number }
  /** From now on, the origin says that a file is not for caches. */
  | { readonly _tag: "TakeBack"; readonly file: number }
  /** The clock is set. */
  | { readonly _tag: "Clock"; readonly by: number }
  /** Somebody purges a file, or all, by URL or by tag. */
  | { readonly _tag: "Purge"; readonly file: number | undefined; readonly by?: "tag"; readonly isSoft?: true }
  | { readonly _tag: "Pin"; readonly file: number; readonly pinned: boolean }
  | { readonly _tag: "Restart"; readonly how: "stop" | "kill" | "power"; readonly down: number }

/** Something that happens `after` milliseconds from the step before. */
export interface Step {
  readonly after: number
  readonly action: Action
}

/** All that a run is made of, besides the seed for what is decided while it runs. */
export interface Schedule {
  readonly chunkSize: number
  readonly sliceBytes: number
  readonly maxSize: number
  readonly minFree: number
  readonly capacity: number
  readonly memory: number
  readonly order: "first" | "any"
  /** How many mirrors the origin has. */
  readonly mirrors?: number
  /** How many requests the origin gets at a time; as many as there are without it. */
  readonly places?: number
  /** Whether nothing happens to the disk for which it may go out of use. */
  readonly isDiskWell?: boolean
  /** What the policy of the route says besides the defaults. */
  readonly policy?: Partial<RoutePolicy>
  readonly files: ReadonlyArray<FilePlan>
  readonly steps: ReadonlyArray<Step>
}

const errnos = ["ENOSPC", "EDQUOT", "EACCES", "EPERM", "EROFS", "EIO", "EMFILE", "ENOENT"]
const writing: ReadonlyArray<Operation> = ["mkdir", "open", "write", "sync", "rename"]
const all: ReadonlyArray<Operation> = [...writing, "read", "stat", "readdir", "unlink"]

export const pause = (random: Random): number =>
  random.weighted<() => number>([
    [() => 0, 3],
    [() => random.int(1, 60), 6],
    [() => random.int(60, 1500), 5],
    [() => random.int(1500, 12_000), 2],
    [() => random.int(12_000, 90_000), 0.3]
  ])()

const rangeOf = (random: Random, size: number, chunkSize: number): RangeSpec | undefined => {
  const edge = () => {
    const around = random.int(0, Math.ceil(size / chunkSize)) * chunkSize
    return Math.max(0, random.chance(0.4) ? around + random.int(-1, 1) : random.int(0, size))
  }
  switch (random.weighted([["whole", 5], ["open", 2], ["range", 5], ["suffix", 1]])) {
    case "whole":
      return undefined
    case "open":
      return { _tag: "From", start: edge(), last: undefined }
    case "suffix":
      return { _tag: "Suffix", length: random.int(1, size + 10) }
    default: {
      const start = edge()
      const length = random.chance(0.3) ? random.int(1, 100) : random.int(1, Math.max(1, size))
      return { _tag: "From", start, last: start + length - 1 }
    }
  }
}

export const leg = (random: Random, { size }: FilePlan, chunkSize: number, isLast: boolean): Leg => ({
  range: rangeOf(random, size, chunkSize),
  pace: random.weighted([[0, 5], [random.int(1, 20), 3], [random.int(20, 600), 2]]),
  stall: random.chance(0.15)
    ? {
      after: random.int(0, size),
      millis: random.weighted([[random.int(10, 3000), 3], [random.int(3000, 70_000), 1]])
    }
    : undefined,
  leaveAfter: random.chance(isLast ? 0.2 : 0.8) ? random.int(0, size) : undefined
})

const originFault = (random: Random, size: number, chunkSize: number): Misbehaviour => {
  const after = random.chance(0.3) ? random.int(0, 2) * chunkSize : random.int(0, size)
  switch (
    random.weighted([["Refuse", 3], ["Reset", 5], ["Truncate", 3], ["Stall", 2], ["Silent", 1], ["Status", 3], [
      "Displace",
      1
    ]])
  ) {
    case "Refuse":
      return { _tag: "Refuse" }
    case "Truncate":
      return { _tag: "Truncate", after }
    case "Stall":
      return { _tag: "Stall", after, millis: 30_000 }
    case "Silent":
      return { _tag: "Silent", millis: 30_000 }
    case "Status":
      return { _tag: "Status", status: random.pick([503, 503, 500, 502, 429]) }
    case "Displace":
      return { _tag: "Displace", by: random.int(1, chunkSize) }
    default:
      return { _tag: "Reset", after }
  }
}

const sizeOf = (random: Random, chunkSize: number): number => {
  const chunks = chunkSize > 1024 ** 2 ? 3 : 20
  return random.weighted([
    [random.int(1, chunks) * chunkSize, 2],
    [random.int(1, chunks * chunkSize), 5],
    [random.int(1, 3 * chunkSize), 2],
    [0, 0.2]
  ])
}

const operationsOf = (random: Random): ReadonlyArray<Operation> =>
  random.weighted<ReadonlyArray<Operation>>([[[random.pick(all)], 4], [writing, 2], [[
    "read",
    "open",
    "stat",
    "readdir"
  ], 1], [all, 1]])

const diskFault = (random: Random): Action => {
  const fault = random.weighted([[random.pick(errnos), 8], ["short", 2], ["hang", 2]])
  return {
    _tag: "DiskFault",
    // No system says that a directory or file is missing which is there, unless it is about to be used.
    operations: operationsOf(random).filter((operation) =>
      fault !== "ENOENT" || (operation !== "readdir" && operation !== "stat")
    ),
    fault,
    after: random.weighted([[0, 3], [random.int(1, 20), 2]]),
    times: random.weighted([[undefined, 2], [random.int(1, 4), 2]]),
    onlyTemporaries: random.chance(0.3),
    millis: random.weighted([[random.int(1, 500), 2], [random.int(500, 20_000), 3]])
  }
}

export const actionOf = (random: Random, files: ReadonlyArray<FilePlan>, chunkSize: number): Action => {
  const file = random.int(0, files.length - 1)
  const plan = files[file]!
  return random.weighted<() => Action>([
    [() => {
      const legs = random.weighted([[1, 5], [2, 2], [4, 1]])
      return {
        _tag: "View",
        file,
        legs: Array.from({ length: legs }, (_, i) => leg(random, plan, chunkSize, i === legs - 1))
      }
    }, 12],
    [() => ({ _tag: "Leave", which: random.int(0, 100) }), 1.5],
    [() => diskFault(random), 3.5],
    [
      () => ({
        _tag: "DiskLatency",
        millis: random.weighted([[0, 2], [random.int(1, 20), 3], [random.int(20, 900), 1]])
      }),
      1
    ],
    [() => ({
      _tag: "Foreign",
      left: random.weighted([[2 ** 40, 2], [random.int(-20, 60) * 4096, 3]])
    }), 1.5],
    [() => ({
      _tag: "Corrupt",
      how: random.pick(["flip", "cut", "swap", "empty"] as const),
      which: random.int(0, 1000),
      at: random.next()
    }), 1.5],
    [() => ({ _tag: "Erase", what: random.pick(["all", "root", "one"] as const), which: random.int(0, 100) }), 0.5],
    [() => ({
      _tag: "OriginFault",
      fault: originFault(random, plan.size, chunkSize),
      file: random.chance(0.6) ? file : undefined,
      times: random.weighted([[1, 4], [random.int(2, 6), 2], [1000, 1]]),
      millis: random.int(10, 10_000)
    }), 2.5],
    [() => ({ _tag: "OriginLatency", millis: random.weighted([[0, 2], [random.int(1, 60), 3]]) }), 0.7],
    [() => ({
      _tag: "Change",
      file,
      how: random.weighted<"new" | "back" | "gone">([["new", 5], ["back", 2], ["gone", 1]]),
      size: random.chance(0.3) ? plan.size : sizeOf(random, chunkSize)
    }), 1.2],
    [() => ({
      _tag: "Restart",
      how: random.weighted<"stop" | "kill" | "power">([["stop", 1], ["kill", 2], ["power", 2]]),
      down: random.int(0, 2000)
    }), 1]
  ])()
}

export const keepingOf = (random: Random, files: ReadonlyArray<FilePlan>): Step => {
  const file = random.int(0, files.length - 1)
  return {
    after: pause(random),
    action: random.weighted<() => Action>([
      [() => ({
        _tag: "Purge",
        file: random.chance(0.8) ? file : undefined,
        ...(random.chance(0.3) && { by: "tag" }),
        ...(random.chance(0.3) && { isSoft: true })
      }), 3],
      [() => ({ _tag: "Pin", file, pinned: random.chance(0.7) }), 2]
    ])()
  }
}

/** Seeds beyond this one have people who purge and pin, besides. */
export const LAST_WITHOUT_KEEPING = 10_000

/** Seeds beyond this one have files without a strong validator, besides. */
export const LAST_WITH_VALIDATORS = 60_000

/** Seeds beyond this one have origins that code, and viewers who can decode that or not, besides. */
export const LAST_UNCODED = 90_000

/** Seeds beyond this one have responses without a length, besides, and so their files are longer. */
export const LAST_WITH_LENGTHS = 120_000

/** Seeds beyond this one have routes that say how far to read ahead, and so their files are longer; their responses have a length. */
export const LAST_WITHOUT_POLICIES = 150_000

/** Seeds beyond this one have an origin with mirrors. */
export const LAST_WITHOUT_MIRRORS = 180_000

const withCodings = (random: Random) => (plan: FilePlan): FilePlan => ({
  ...plan,
  codings: {
    names: random.pick([[], ["gzip"], ["br", "gzip"], ["gzip", "br"]]),
    vary: random.chance(0.7)
  }
})

const decoders: ReadonlyArray<Accepts | undefined> = [
  undefined,
  { field: "identity", codings: [] },
  { field: "gzip", codings: ["gzip"] },
  { field: "br", codings: ["br"] },
  { field: "gzip, br", codings: ["gzip", "br"] },
  { field: "br, x-gzip;q=0.5", codings: ["gzip", "br"] },
  { field: "gzip;q=0, *", codings: ["br"] }
]

const withDecoders = (random: Random) => (step: Step): Step => {
  if (step.action._tag !== "View") return step
  const legs = step.action.legs.map((leg): Leg => {
    const accepts = random.pick(decoders)
    return accepts === undefined ? leg : { ...leg, accepts }
  })
  return { ...step, action: { ...step.action, legs } }
}

/** The field of a response that names the version of a file. */
export const versionField = ({ validator }: FilePlan): string => {
  switch (validator) {
    case "last-modified":
      return "last-modified"
    case "none":
      return "x-version"
    default:
      return "etag"
  }
}

/** The schedule of `seed`. */
export const make = (seed: number, random: Random): Schedule => {
  // Only large chunks make a run go as far ahead as it may, or further ahead than a chunk is long.
  const chunkSize = random.weighted(
    seed > LAST_WITHOUT_POLICIES
      ? [[100 * 1024, 3], [160 * 1024, 2], [320 * 1024, 1]]
      : seed > LAST_WITH_LENGTHS
      ? [[5000, 1], [16 * 1024, 4], [50_000, 2], [160 * 1024, 1]]
      : [[1024, 6], [4096, 2], [5000, 1], [160 * 1024, 0.2], [1536 * 1024, 0.15]]
  )
  const files = Array.from({ length: random.int(1, 3) }, (_, i): FilePlan => ({
    name: `file${i}`,
    size: sizeOf(random, chunkSize),
    validator: random.chance(0.8) ? "etag" : "last-modified",
    maxAge: random.weighted([[undefined, 2], [random.int(1, 20), 2], [3600, 2]]),
    acceptsRanges: random.chance(0.85)
  }))
  const perFile = MANIFEST_BYTES + 20 * bytesOnDisk(chunkSize)
  const minFree = random.weighted([[0, 1], [random.int(1, 40) * 4096, 2]])
  const schedule: Schedule = {
    chunkSize,
    sliceBytes: Math.ceil(chunkSize * random.weighted([[0.1 + random.next(), 2], [1, 1], [1 + 3 * random.next(), 2]])),
    maxSize: MANIFEST_BYTES * 2 + bytesOnDisk(chunkSize) * random.int(4, 70),
    minFree,
    capacity: minFree + 4096 * 8 + perFile * random.int(1, 4),
    memory: random.weighted([[0, 3], [chunkSize * random.int(1, 10), 1], [chunkSize * 100, 1]]),
    order: random.chance(0.5) ? "first" : "any",
    files,
    steps: Array.from({ length: random.int(4, 30) }, () => ({
      after: pause(random),
      action: actionOf(random, files, chunkSize)
    }))
  }
  if (seed <= LAST_WITHOUT_KEEPING) return schedule
  const withSingles = (plan: FilePlan): FilePlan => ({
    ...plan,
    validator: random.weighted([["weak", 4], ["none", 4], [plan.validator, 1]])
  })
  const kept = {
    ...schedule,
    files: seed <= LAST_WITH_VALIDATORS ? files : files.map(withSingles),
    steps: schedule.steps.flatMap((step) => random.chance(0.3) ? [keepingOf(random, files), step] : [step])
  }
  if (seed <= LAST_UNCODED) return kept
  const uncoded = random.chance(0.5) ? files : kept.files
  return { ...kept, files: uncoded.map(withCodings(random)), steps: kept.steps.map(withDecoders(random)) }
}

/** A line for people. */
export const describe = ({ after, action: { _tag, ...rest } }: Step): string =>
  `+${after} ms ${_tag} ${JSON.stringify(rest)}`
