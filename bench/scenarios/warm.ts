import { setTimeout as sleep } from "node:timers/promises"
import { bytesOf, FILE_BYTES, LARGE_PATH, randomWords, RANGE_BYTES, SHORT_RANGE_BYTES, WARM_PATH } from "../content.ts"
import { cpuSeconds } from "../cpuTime.ts"
import { type Load, load, type Target } from "../load.ts"
import { nginxVersion } from "../machine.ts"
import { type Metric, Samples } from "../Metric.ts"
import { type Server, startBare, startBefore, startCaches, startNginx, startSpillway } from "../servers.ts"
import { median } from "../statistics.ts"
import { randomRange, verify } from "../verify.ts"
import type { Context, Scenario } from "./Scenario.ts"

/** Files that every cache has already. */

const ROUND_SECONDS = 1.5

const WARM_UP_SECONDS = 1

/** Caches may still write what the verification brought. */
const SETTLE_MILLIS = 1500

/** From this share of busy time on, the client rather than the server may be what is measured. */
const CLIENT_LIMIT = 0.9

interface Shape {
  /** The file, which is verified and warmed before. */
  readonly path: string
  readonly connections: number
  readonly next: () => Target
  readonly port: (server: Server) => number
  readonly metric: Pick<Metric, "name" | "unit" | "targets">
  readonly rate: (load: Load) => number
  /** The servers that are compared, Spillway among them. */
  readonly servers: (context: Context) => Promise<Array<Server>>
  /** How long each server is warmed up, if not `WARM_UP_SECONDS`. */
  readonly warmUp?: number
  /** Called behind each round of a server. */
  readonly onRound?: (server: Server) => Promise<void>
}

/** How much more processor time than nginx's the bytes may cost, as a ratio. */
const CPU_TARGET = 1.5

const all = async (context: Context): Promise<Array<Server>> => [
  ...context.against === undefined ? [await startBare()] : [],
  ...await startCaches(context.origin, context)
]

/** Caches of which Spillway keeps only so much in memory. */
export const fromDisk = async ({ against, origin, profile }: Context, memory: string): Promise<Array<Server>> => {
  const args = [`--memory=${memory}`]
  const servers = [await startSpillway(origin, { profile, args })]
  if (against !== undefined) servers.push(await startBefore(origin, against, args))
  else if (nginxVersion !== undefined) servers.push(await startNginx(origin))
  return servers
}

const besideBareDisk = async (context: Context): Promise<Array<Server>> => [
  ...context.against === undefined ? [await startBare("disk")] : [],
  ...await fromDisk(context, "16MiB")
]

export const measure = async (scenario: string, shape: Shape, context: Context): Promise<ReadonlyArray<Metric>> => {
  const servers = await shape.servers(context)
  const rates = new Samples()
  const cpu = new Samples()
  const clientBusy = new Samples()
  for (const server of servers) await verify(shape.port(server), shape.path)
  await sleep(SETTLE_MILLIS)
  for (const server of servers) {
    await load(shape.port(server), { ...shape, seconds: shape.warmUp ?? WARM_UP_SECONDS })
  }
  for (let round = 0; round < context.rounds; round++) {
    for (const server of servers) {
      const before = cpuSeconds(server.pid)
      const result = await load(shape.port(server), { ...shape, seconds: ROUND_SECONDS })
      const after = cpuSeconds(server.pid)
      rates.add(server.name, shape.rate(result))
      await shape.onRound?.(server)
      clientBusy.add(server.name, result.clientBusy)
      if (before !== undefined && after !== undefined) cpu.add(server.name, (after - before) / (result.bytes / 1e9))
    }
  }
  for (const { name } of servers) {
    const share = median(clientBusy.of(name))
    if (share > CLIENT_LIMIT) {
      process.stdout.write(`  the client was busy for ${(share * 100).toFixed(0)} % of the time: ${name} may do more\n`)
    }
  }
  return [
    { scenario, better: "higher", samples: rates.all(), ...shape.metric },
    {
      scenario,
      name: "server's processor time",
      unit: "s/GB",
      better: "lower",
      samples: cpu.all(),
      targets: { nginx: CPU_TARGET }
    }
  ]
}

const wholeFile = {
  path: WARM_PATH,
  connections: 4,
  next: () => ({ path: WARM_PATH, bytes: FILE_BYTES }),
  port: ({ port }: Server) => port,
  rate: ({ bytes, seconds }: Load) => bytes / 1e6 / seconds
}

export const warmFile: Scenario = {
  name: "warm-file",
  about: "a whole file of 64 MiB from memory, 4 connections",
  run: (context) =>
    measure("warm-file", {
      ...wholeFile,
      servers: all,
      metric: { name: "throughput", unit: "MB/s", targets: { nginx: 1.2, varnish: 1 } }
    }, context)
}

export const warmDisk: Scenario = {
  name: "warm-disk",
  about: "the same from the page cache: Spillway keeps no more than one chunk in memory",
  run: (context) =>
    measure("warm-disk", {
      ...wholeFile,
      servers: (context) => fromDisk(context, "1MiB"),
      metric: { name: "throughput", unit: "MB/s", targets: { nginx: 1 } }
    }, context)
}

/** Random ranges of `length` bytes of the file at `path`, 32 connections. */
const randomRanges = (path: string, length: number) => {
  const random = randomWords(3)
  const size = bytesOf(path)!
  return {
    path,
    connections: 32,
    next: () => ({ path, range: randomRange(random, length, size).field, bytes: length }),
    port: ({ rangePort }: Server) => rangePort,
    rate: ({ requests, seconds }: Load) => requests / seconds
  }
}

export const warmRanges: Scenario = {
  name: "warm-ranges",
  about: "random ranges of 64 KiB from the cache, 32 connections",
  run: (context) =>
    measure("warm-ranges", {
      ...randomRanges(WARM_PATH, RANGE_BYTES),
      servers: all,
      metric: { name: "requests", unit: "1/s", targets: { nginx: 0.8, varnish: 1 } }
    }, context)
}

const diskRangesOf = (name: string, length: number): Scenario => ({
  name,
  about: `random ranges of ${
    length / 1024
  } KiB from the page cache: the file is 16 times as large as Spillway's memory`,
  run: (context) =>
    measure(name, {
      ...randomRanges(LARGE_PATH, length),
      servers: besideBareDisk,
      metric: { name: "requests", unit: "1/s", targets: { bare: 0.8, nginx: 0.35 } }
    }, context)
})

export const diskRanges = diskRangesOf("disk-ranges", RANGE_BYTES)

export const diskShortRanges = diskRangesOf("disk-short-ranges", SHORT_RANGE_BYTES)
