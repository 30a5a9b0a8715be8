import { addSparseChunks } from "../cacheFiles.ts"
import { cacheOf, until } from "../health.ts"
import { type Metric, Samples } from "../Metric.ts"
import { temporaryDirectory } from "../processes.ts"
import { residentBytes } from "../residentBytes.ts"
import { type Origin, type SpillwayOptions, startSpillway } from "../servers.ts"
import type { Context, Scenario } from "./Scenario.ts"

/** How long the index of many chunks takes to be complete, and how much memory. */

const CHUNK_BYTES = 64 * 1024

const ARGS = ["--chunk-size=64KiB", "--max-size=1000GiB"]

/** The scrubber drops one empty chunk after another, though slowly. */
const ENOUGH = 0.999

interface Filled {
  readonly directory: string
  readonly bytes: number
}

/** What is indexed: a part of it, and all. */
interface Kind {
  readonly one: string
  readonly all: string
  /** The most memory for each, in bytes. */
  readonly target: number
  readonly few: Filled
  readonly many: Filled
  /** How many more are in `many` than in `few`. */
  readonly difference: number
}

/** How long the index may take to be complete, in seconds. */
const TARGET_SECONDS = 10

const fill = async (resources: number, each: number): Promise<Filled> => {
  const directory = temporaryDirectory()
  return { directory, bytes: await addSparseChunks(directory, { resources, each, bytes: CHUNK_BYTES }) }
}

/** How long it takes from the `listening` line until the index is complete, in seconds, and the resident memory then, in bytes. */
const measure = async (origin: Origin, { bytes, directory }: Filled, profile?: SpillwayOptions["profile"]) => {
  const { pid, port, stop } = await startSpillway(origin, { directory, profile, args: ARGS })
  const began = performance.now()
  await until("the index", async () => (await cacheOf(port)).bytes >= bytes * ENOUGH, 20)
  const seconds = (performance.now() - began) / 1000
  const resident = residentBytes(pid)
  await stop()
  return { resident, seconds }
}

const measureKind = async (
  { origin, profile, rounds }: Context,
  { all, difference, few, many, one, target }: Kind
): Promise<ReadonlyArray<Metric>> => {
  const memory = new Samples()
  const duration = new Samples()
  // The round before the first one only warms up.
  for (let round = -1; round < rounds; round++) {
    const less = await measure(origin, few)
    const more = await measure(origin, many, profile)
    if (round < 0) continue
    memory.add("spillway", (more.resident - less.resident) / difference)
    memory.add("bound", target)
    duration.add("spillway", more.seconds)
    duration.add("bound", TARGET_SECONDS)
  }
  const common = { scenario: "index", better: "lower", targets: { bound: 1 } } as const
  return [
    { ...common, name: `resident memory for each ${one}`, unit: "B", samples: memory.all() },
    { ...common, name: `until the index of ${all} is complete`, unit: "s", samples: duration.all() }
  ]
}

export const index: Scenario = {
  name: "index",
  about: "the index of 1 000 000 chunks of long files, and of 150 000 files of one chunk",
  run: async (context) => {
    const long = { few: await fill(100, 1000), many: await fill(1000, 1000), difference: 900_000 }
    const ofLong = await measureKind(context, { one: "chunk", all: "1 000 000 chunks", target: 64, ...long })
    const short = { few: await fill(50_000, 1), many: await fill(150_000, 1), difference: 100_000 }
    const ofShort = await measureKind(context, {
      one: "file of one chunk",
      all: "150 000 files",
      target: 300,
      ...short
    })
    return [...ofLong, ...ofShort]
  }
}
