import { addSparseChunks, chunkFiles } from "../cacheFiles.ts"
import { Connection } from "../Connection.ts"
import { freshPath, MEBIBYTE } from "../content.ts"
import { cacheOf, until } from "../health.ts"
import { get } from "../load.ts"
import { Samples } from "../Metric.ts"
import { temporaryDirectory } from "../processes.ts"
import { type Origin, type Server, type SpillwayOptions, startSpillway } from "../servers.ts"
import type { Scenario } from "./Scenario.ts"

/** A restart on a cache of many chunks. */

const CHUNK_BYTES = 64 * 1024

const CHUNKS = { resources: 200, each: 1000, bytes: CHUNK_BYTES }

const ARGS = ["--chunk-size=64KiB", "--max-size=100GiB"]

/** How long it may take from the spawn to the `listening` line, in milliseconds. */
const LISTENING_MILLIS = 500

/** How long after the `listening` line the first byte of a hit may come, in milliseconds. */
const TARGET_MILLIS = 100

/** The scrubber drops one empty chunk after another, though slowly. */
const ENOUGH = 0.99

interface Started {
  readonly server: Server
  /** From the spawn to the `listening` line, in milliseconds. */
  readonly millis: number
}

const startOn = async (
  origin: Origin,
  directory: string,
  profile?: SpillwayOptions["profile"]
): Promise<Started> => {
  const started = performance.now()
  const server = await startSpillway(origin, { directory, profile, args: ARGS })
  return { server, millis: performance.now() - started }
}

/** Has Spillway cache one file. */
const keep = async (origin: Origin, directory: string, path: string, bytes: number): Promise<void> => {
  const { server } = await startOn(origin, directory)
  const connection = new Connection(server.port)
  await get(connection, { path, bytes })
  connection.close()
  await until("the file on disk", () => chunkFiles(directory).length === bytes / CHUNK_BYTES)
  await server.stop()
}

/** The first byte of what is cached, on a connection of its own: the first time, the origin is asked whether it is current. */
const hit = async (origin: Origin, port: number, path: string, bytes: number): Promise<number> => {
  const connection = new Connection(port)
  const before = await origin.sent()
  const { firstByte } = await get(connection, { path, bytes })
  connection.close()
  if (await origin.sent() > before) throw new Error("the cached file came from the origin")
  return firstByte
}

export const start: Scenario = {
  name: "start",
  about: "a restart on a cache of 200 000 chunks, beside one on an empty cache",
  run: async ({ origin, profile, rounds }) => {
    const [directory, path] = [temporaryDirectory(), freshPath("cold", MEBIBYTE)]
    await keep(origin, directory, path, MEBIBYTE)
    const bytes = await addSparseChunks(directory, CHUNKS)
    const listening = new Samples()
    const firstByte = new Samples()
    const complete = new Samples()
    // The round before the first one only warms up.
    for (let round = -1; round < rounds; round++) {
      const empty = await startOn(origin, temporaryDirectory())
      await empty.server.stop()
      const full = await startOn(origin, directory, profile)
      const began = performance.now()
      const { port } = full.server
      const first = await hit(origin, port, path, MEBIBYTE)
      await until("the index", async () => (await cacheOf(port)).bytes >= bytes * ENOUGH, 100)
      const indexed = (performance.now() - began) / 1000
      const later = await hit(origin, port, path, MEBIBYTE)
      await full.server.stop()
      if (round < 0) continue
      listening.add("spillway", full.millis)
      listening.add("empty cache", empty.millis)
      firstByte.add("spillway", first)
      firstByte.add("once indexed", later)
      complete.add("spillway", indexed)
    }
    const common = { scenario: "start", better: "lower" } as const
    return [
      {
        ...common,
        name: "from spawn to \"listening\"",
        unit: "ms",
        samples: { ...listening.all(), bound: listening.of("spillway").map(() => LISTENING_MILLIS) },
        targets: { bound: 1 }
      },
      {
        ...common,
        name: "first byte of a hit, then",
        unit: "ms",
        samples: firstByte.all(),
        within: { "once indexed": TARGET_MILLIS }
      },
      { ...common, name: "until the index is complete, from then", unit: "s", samples: complete.all() }
    ]
  }
}
