import { type Dirent, lstatSync, readdirSync } from "node:fs"
import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { freshPath, MEBIBYTE, randomWords } from "../content.ts"
import { type Load, load } from "../load.ts"
import { nginxVersion } from "../machine.ts"
import { Samples } from "../Metric.ts"
import { temporaryDirectory } from "../processes.ts"
import { residentBytes } from "../residentBytes.ts"
import { type Server, startBefore, startNginx, startSpillway } from "../servers.ts"
import type { Context, Scenario } from "./Scenario.ts"

/** Many small files: how fast they are fetched, served and written, and what each takes of the disk and of memory. */

const OBJECT_BYTES = 4096

/** How many files each server fetches in all rounds together. */
const OBJECTS = 100_000

const CONNECTIONS = 32

const HIT_SECONDS = 2

/** How long a server may write after the last miss of a round, in milliseconds. */
const SETTLE_MILLIS = 3000

/** Little memory, so that most hits are read from the page cache. */
const TIER_BYTES = 16 * MEBIBYTE

const ARGS = [`--memory=${TIER_BYTES}B`]

/** How much memory 100,000 files may take besides the tier, in MB. */
const MEMORY_TARGET = 250

const NODES_TARGET = 2

/** The file, and its share of the directory that it is in. */
const BYTES_TARGET = 8192 + 256

interface Cache {
  readonly server: Server
  readonly directory: string
  readonly paths: Array<string>
}

const startAll = async ({ against, origin, profile }: Context): Promise<Array<Cache>> => {
  const directories = [temporaryDirectory(), temporaryDirectory()] as const
  const servers = [await startSpillway(origin, { profile, directory: directories[0], args: ARGS })]
  if (against !== undefined) servers.push(await startBefore(origin, against, ARGS, directories[1]))
  else if (nginxVersion !== undefined) servers.push(await startNginx(origin, directories[1]))
  return servers.map((server, index) => ({ server, directory: directories[index]!, paths: [] }))
}

const entriesOf = (directory: string): Array<Dirent> => readdirSync(directory, { recursive: true, withFileTypes: true })

/** How many files of a cache hold a body, and are complete. */
const stored = (directory: string): number =>
  entriesOf(directory).filter((entry) =>
    entry.isFile() && /[0-9a-f]{32}/.test(entry.name) && !entry.name.endsWith(".tmp")
  ).length

/** What everything below `directory` takes of the disk. */
const taken = (directory: string) => {
  const entries = entriesOf(directory)
  const blocks = entries.map(({ name, parentPath }) => lstatSync(join(parentPath, name)).blocks)
  return { nodes: entries.length, bytes: blocks.reduce((sum, count) => sum + count * 512, 0) }
}

/** Requests `count` files that nobody has requested. */
const miss = async ({ paths, server }: Cache, count: number): Promise<Load> => {
  const fresh = Array.from({ length: count }, () => freshPath("cold", OBJECT_BYTES))
  let used = 0
  const next = () => ({ path: fresh[used++]!, bytes: OBJECT_BYTES })
  const result = await load(server.objectPort, { connections: CONNECTIONS, until: () => used >= count, next })
  paths.push(...fresh)
  return result
}

/** Requests files that were requested before, at random. */
const hit = ({ paths, server }: Cache): Promise<Load> => {
  const random = randomWords(5)
  const next = () => ({ path: paths[random() % paths.length]!, bytes: OBJECT_BYTES })
  return load(server.objectPort, { connections: CONNECTIONS, seconds: HIT_SECONDS, next })
}

export const smallObjects: Scenario = {
  name: "small-objects",
  about: `${OBJECTS} files of 4 KiB, 32 connections: fetched, then served from a tier of 16 MiB and the page cache`,
  run: async (context) => {
    const caches = await startAll(context)
    const each = Math.ceil(OBJECTS / context.rounds)
    const samples = { misses: new Samples(), written: new Samples(), share: new Samples(), hits: new Samples() }
    for (let round = 0; round < context.rounds; round++) {
      for (const cache of caches) {
        const { directory, server: { name } } = cache
        const before = stored(directory)
        const { seconds } = await miss(cache, each)
        samples.misses.add(name, each / seconds)
        samples.written.add(name, (stored(directory) - before) / seconds)
        await sleep(SETTLE_MILLIS)
        samples.share.add(name, (stored(directory) - before) / each)
        const { requests, seconds: spent } = await hit(cache)
        samples.hits.add(name, requests / spent)
      }
    }
    const disk = { nodes: new Samples(), bytes: new Samples(), memory: new Samples() }
    for (const { directory, paths, server: { name, pid } } of caches) {
      const { bytes, nodes } = taken(directory)
      const written = samples.share.of(name).reduce((sum, share) => sum + share, 0) / context.rounds * paths.length
      disk.nodes.add(name, nodes / written)
      disk.bytes.add(name, bytes / written)
      if (name !== "nginx") disk.memory.add(name, (residentBytes(pid) - TIER_BYTES) / 1e6)
    }
    disk.nodes.add("bound", NODES_TARGET)
    disk.bytes.add("bound", BYTES_TARGET)
    disk.memory.add("bound", MEMORY_TARGET)
    const more = { scenario: "small-objects", better: "higher" } as const
    const less = { scenario: "small-objects", better: "lower", targets: { bound: 1 } } as const
    return [
      { ...more, name: "misses", unit: "1/s", samples: samples.misses.all(), targets: { nginx: 0.8 } },
      { ...more, name: "files written while fetched", unit: "1/s", samples: samples.written.all() },
      { ...more, name: "share on disk 3 s later", unit: "", samples: samples.share.all(), targets: { nginx: 1 } },
      { ...more, name: "hits", unit: "1/s", samples: samples.hits.all(), targets: { nginx: 0.9 } },
      { ...less, name: "file nodes per file on disk", unit: "", samples: disk.nodes.all() },
      { ...less, name: "disk per file", unit: "bytes", samples: disk.bytes.all() },
      { ...less, name: "resident memory besides the tier", unit: "MB", samples: disk.memory.all() }
    ]
  }
}
