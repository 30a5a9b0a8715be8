import { addSparseChunks } from "../cacheFiles.ts"
import { FILE_BYTES, freshPath, LARGE_FILE_BYTES, randomWords, RANGE_BYTES, WARM_PATH } from "../content.ts"
import { cacheOf, until } from "../health.ts"
import { load } from "../load.ts"
import { type Metric, Samples } from "../Metric.ts"
import { temporaryDirectory } from "../processes.ts"
import { type Origin, type SpillwayOptions, startSpillway } from "../servers.ts"
import { randomRange, verify } from "../verify.ts"
import type { Context, Scenario } from "./Scenario.ts"

/** Whether a cache of many chunks is slower than one of few. */

const CHUNK_BYTES = 64 * 1024

const CONNECTIONS = 32

const ROUND_SECONDS = 1.5

const ENOUGH = 0.99

const startWith = async (origin: Origin, name: string, resources: number, profile?: SpillwayOptions["profile"]) => {
  const directory = temporaryDirectory()
  const bytes = await addSparseChunks(directory, { resources, each: 1000, bytes: CHUNK_BYTES })
  const { port, stop } = await startSpillway(origin, { directory, profile, args: ["--max-size=100GiB"] })
  await until("the index", async () => (await cacheOf(port)).bytes >= bytes * ENOUGH, 100)
  await verify(port, WARM_PATH)
  return { name, port, stop }
}

/** How much of its speed may be lost, as a ratio. */
const TARGET = 0.9

/** Whole files from memory, a large one beside one of the usual size: each connection goes on with a file of its kind. */
const bySize = async ({ origin, profile, rounds }: Context): Promise<Metric> => {
  const { port, stop } = await startSpillway(origin, { profile, args: ["--memory=1536MiB", "--min-free=0"] })
  const files = [
    { name: "spillway", path: freshPath("cold", LARGE_FILE_BYTES), bytes: LARGE_FILE_BYTES, seconds: 0 },
    { name: "64 MiB", path: freshPath("cold", FILE_BYTES), bytes: FILE_BYTES, seconds: ROUND_SECONDS }
  ]
  const rates = new Samples()
  // The round before the first one fetches them.
  for (let round = -1; round < rounds; round++) {
    for (const { name, seconds, ...file } of round % 2 === 0 ? files : files.toReversed()) {
      const result = await load(port, { connections: 1, seconds, next: () => file })
      if (round >= 0) rates.add(name, result.bytes / 1e6 / result.seconds)
    }
  }
  await stop()
  return {
    scenario: "growth",
    name: "a file of 1 GiB, throughput",
    unit: "MB/s",
    better: "higher",
    samples: rates.all(),
    targets: { "64 MiB": TARGET }
  }
}

export const growth: Scenario = {
  name: "growth",
  about: "random ranges of 64 KiB from memory, with 200 000 chunks in the index beside 1 000; large files beside small",
  run: async (context) => {
    const { origin, profile, rounds } = context
    const servers = [
      await startWith(origin, "spillway", 200, profile),
      await startWith(origin, "1 000 chunks", 1)
    ]
    const random = randomWords(4)
    const next = () => ({ path: WARM_PATH, range: randomRange(random).field, bytes: RANGE_BYTES })
    const rates = new Samples()
    // The round before the first one only warms up.
    for (let round = -1; round < rounds; round++) {
      for (const { name, port } of round % 2 === 0 ? servers : servers.toReversed()) {
        const { requests, seconds } = await load(port, { connections: CONNECTIONS, seconds: ROUND_SECONDS, next })
        if (round >= 0) rates.add(name, requests / seconds)
      }
    }
    for (const { stop } of servers) await stop()
    const targets = { "1 000 chunks": TARGET }
    return [
      { scenario: "growth", name: "requests", unit: "1/s", better: "higher", samples: rates.all(), targets },
      await bySize(context)
    ]
  }
}
