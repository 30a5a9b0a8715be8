import { Faults, type Rule } from "../../../src/testing/FaultyFileSystem.ts"
import type { MemoryDisk } from "../../../src/testing/MemoryFileSystem.ts"
import type { Random } from "./random.ts"
import type { Action, Schedule } from "./schedule.ts"
import { DIRECTORY, type Spillway } from "./spillway.ts"

/** What happens to the disk. */
export type DiskAction = Extract<
  Action,
  { readonly _tag: "Corrupt" | "DiskFault" | "DiskLatency" | "Erase" | "Foreign" | "ObjectFault" }
>

interface DiskFault {
  readonly rule: Rule
  readonly until: number
}

interface Parts {
  readonly schedule: Schedule
  readonly disk: MemoryDisk["Service"]
  readonly latencies: Random
  readonly now: () => number
  readonly at: (time: number, f: () => void) => void
  readonly spillway: () => Spillway | undefined
  /** The disk has lost something that it had. */
  readonly spoilt: () => void
}

/** The disk's part of a schedule. */
export const makeDiskTrouble = ({ at, disk, latencies, now, schedule, spillway, spoilt }: Parts) => {
  let latency = 0
  let faults: Array<DiskFault> = []
  disk.capacity = schedule.capacity
  disk.latency = () => latencies.int(0, latency)

  const stored = () => [...disk.files().keys()].filter((path) => !path.endsWith(".tmp")).toSorted()

  const addRule = (rule: Rule) => void spillway()!.fork(Faults.use((faults) => faults.add(rule)))

  const add = (rule: Rule, until: number) => {
    faults.push({ rule, until })
    addRule(rule)
    if (until === Infinity) return
    at(until, () => {
      const running = spillway()
      if (running?.services() !== undefined) running.fork(Faults.use((faults) => faults.lift(rule)))
    })
  }

  return {
    perform: (action: DiskAction): void => {
      switch (action._tag) {
        case "DiskFault":
          for (const operation of action.operations) {
            const rule: Rule = {
              operation,
              fault: action.fault,
              after: action.after,
              ...(action.times !== undefined && { times: action.times }),
              ...(action.onlyTemporaries && { path: (path: string) => path.endsWith(".tmp") })
            }
            add(rule, now() + action.millis)
          }
          return
        case "ObjectFault": {
          const paths = stored()
          const path = paths[action.which % Math.max(1, paths.length)]
          if (path === undefined) return
          for (const operation of action.operations) {
            add({ operation, fault: action.errno, path: (other) => other === path }, Infinity)
          }
          return
        }
        case "DiskLatency":
          latency = action.millis
          return
        case "Foreign":
          disk.foreign = Math.max(0, schedule.capacity - schedule.minFree - disk.occupied() - action.left)
          return
        case "Corrupt": {
          spoilt()
          const paths = stored()
          const path = paths[action.which % Math.max(1, paths.length)]
          if (path === undefined) return
          const bytes = disk.files().get(path)!.slice()
          const at = Math.floor(action.at * bytes.length)
          switch (action.how) {
            case "flip":
              if (bytes.length > 0) bytes[at]! ^= 1 << (action.which % 8)
              return disk.overwrite(path, bytes)
            case "cut":
              return disk.overwrite(path, bytes.subarray(0, at))
            case "empty":
              return disk.overwrite(path, new Uint8Array())
            case "swap":
              return disk.overwrite(path, disk.files().get(paths[at % paths.length]!)!.subarray(0, bytes.length))
          }
          return
        }
        case "Erase": {
          const directories = stored().map((path) => path.slice(0, path.lastIndexOf("/")))
          const one = directories[action.which % Math.max(1, directories.length)]
          if (action.what === "one" && one === undefined) return
          spoilt()
          return disk.erase({ all: DIRECTORY, root: `${DIRECTORY}/v1`, one: one! }[action.what])
        }
      }
    },
    /** A process that has just started has a file system that knows nothing of faults. */
    restarted: (): void => {
      for (const { rule, until } of faults) if (until > now()) addRule(rule)
    },
    end: (): void => {
      spillway()!.fork(Faults.use((faults) => faults.clear))
      faults = []
      latency = 0
      disk.foreign = 0
    }
  }
}
