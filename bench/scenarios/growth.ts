import { addSparseChunks } from "../cacheFiles.ts"
import { randomWords, RANGE_BYTES, WARM_PATH } from "../content.ts"
import { cacheOf, until } from "../health.ts"
import { load } from "../load.ts"
import { Samples } from "../Metric.ts"
import { temporaryDirectory } from "../processes.ts"
import { type Origin, startSpillway } from "../servers.ts"
import { randomRange, verify } from "../verify.ts"
import type { Scenario } from "./Scenario.ts"

/** Whether a cache of many chunks is slower than one of few. */

const CHUNK_BYTES = 64 * 1024

const CONNECTIONS = 32

const ROUND_SECONDS = 1.5

const ENOUGH = 0.99

const startWith = async (origin: Origin, name: string, resources: number) => {
  const directory = temporaryDirectory()
  const bytes = await addSparseChunks(directory, { resources, each: 1000, bytes: CHUNK_BYTES })
  const { port } = await startSpillway(origin, { directory, args: ["--max-size=100GiB"] })
  await until("the index", async () => (await cacheOf(port)).bytes >= bytes * ENOUGH, 100)
  await verify(port, WARM_PATH)
  return { name, port }
}

export const growth: Scenario = {
  name: "growth",
  about: "random ranges of 64 KiB from memory, with 200 000 chunks in the index beside 1 000, 32 connections",
  run: async ({ origin, rounds }) => {
    const servers = [await startWith(origin, "spillway", 200), await startWith(origin, "1 000 chunks", 1)]
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
    const targets = { "1 000 chunks": 0.9 }
    return [{ scenario: "growth", name: "requests", unit: "1/s", better: "higher", samples: rates.all(), targets }]
  }
}
