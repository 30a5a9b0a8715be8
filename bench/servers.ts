import { readFileSync, writeFileSync } from "node:fs"
import { createServer } from "node:net"
import type { AddressInfo } from "node:net"
import { join, resolve } from "node:path"
import { fileURLToPath } from "node:url"
import { nginxVersion, onBothCpus, onServerCpu, varnishVersion } from "./machine.ts"
import { run, type Running, temporaryDirectory } from "./processes.ts"

/** A server that is measured. */
export interface Server {
  readonly name: "spillway" | "before" | "bare" | "nginx" | "varnish"
  readonly pid: number
  /** Where whole files are asked for. */
  readonly port: number
  /** Where small ranges are, which a server may be tuned for. */
  readonly rangePort: number
  /** Where small files are. */
  readonly objectPort: number
  readonly stop: () => Promise<void>
}

export interface Origin {
  readonly port: number
  /** How many bytes of bodies it has sent at a limited rate so far. */
  readonly sent: () => Promise<number>
}

/** The options of Node that Spillway is started with in `deploy`. */
const NODE_OPTIONS = ["--max-semi-space-size=8"]

const LISTENING = /listening on http:\/\/127\.0\.0\.1:(\d+)/

const pathOf = (file: string): string => fileURLToPath(new URL(file, import.meta.url))

const onePort = (port: number) => ({ port, rangePort: port, objectPort: port })

const portOf = ({ ready }: Running): number => Number(ready[1])

export const freePort = (): Promise<number> =>
  new Promise((resolve, reject) => {
    const server = createServer().once("error", reject)
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address() as AddressInfo
      server.close(() => resolve(port))
    })
  })

/** Whether something listens on `port`. */
const answers = (port: number) => (): Promise<boolean> =>
  fetch(`http://127.0.0.1:${port}/`, { method: "HEAD" }).then(() => true, () => false)

const fill = (template: string, values: Record<string, string | number>): string =>
  readFileSync(pathOf(template), "utf8").replaceAll(/@([A-Z_]+)@/g, (_, name: string) => String(values[name]))

/** Runs beside the client: it is no part of what is measured. */
export const startOrigin = async (): Promise<Origin> => {
  const port = portOf(await run([process.execPath, pathOf("origin.ts")], LISTENING))
  return { port, sent: async () => Number(await (await fetch(`http://127.0.0.1:${port}/sent`)).text()) }
}

export interface SpillwayOptions {
  /** The file that a CPU profile is written to when the server ends. */
  readonly profile?: { readonly directory: string; readonly name: string } | undefined
  /** Where it caches, if not in a directory of its own. */
  readonly directory?: string
  readonly args?: ReadonlyArray<string>
  /** Whether it has both processors, rather than the one of measured servers. */
  readonly onBoth?: boolean
  /** What goes before its command line. */
  readonly prefix?: ReadonlyArray<string>
  /** The checkout whose program is started, if not this one. */
  readonly checkout?: string | undefined
}

/** Numbers the profiles: a scenario may start several. */
let profiles = 1

export const startSpillway = async (
  origin: Origin,
  { args = [], checkout, directory = temporaryDirectory(), onBoth = false, prefix = [], profile }: SpillwayOptions = {}
): Promise<Server> => {
  const flags = profile === undefined
    ? []
    : ["--cpu-prof", `--cpu-prof-dir=${profile.directory}`, `--cpu-prof-name=${profile.name}-${profiles++}.cpuprofile`]
  const command = [
    ...prefix,
    process.execPath,
    ...NODE_OPTIONS,
    ...flags,
    checkout === undefined ? pathOf("../dist/bin/spillway.js") : join(checkout, "dist/bin/spillway.js"),
    "serve",
    `http://127.0.0.1:${origin.port}`,
    "--port=0",
    `--cache-dir=${directory}`,
    // As nginx has no access log here.
    "--log-level=warn",
    ...args
  ]
  const running = await run((onBoth ? onBothCpus : onServerCpu)(command), LISTENING)
  return { name: "spillway", ...running, ...onePort(portOf(running)) }
}

/** Somebody who harms a cache's directory as soon as SIGUSR2 comes, see `peers/saboteur.ts`. */
export const startSaboteur = (how: "fill" | "delete" | "corrupt", directory: string): Promise<Running> =>
  run([process.execPath, pathOf("peers/saboteur.ts"), how, directory], /ready/)

/** A server that does the least that Node can do: from memory, or from disk. */
export const startBare = async (from: "memory" | "disk" = "memory"): Promise<Server> => {
  const command = from === "memory" ? [pathOf("peers/bare.ts")] : [pathOf("peers/bareDisk.ts"), temporaryDirectory()]
  const running = await run(onServerCpu([process.execPath, ...command]), LISTENING)
  return { name: "bare", ...running, ...onePort(portOf(running)) }
}

export const startNginx = async (origin: Origin, directory = temporaryDirectory()): Promise<Server> => {
  const [port, rangePort, objectPort] = [await freePort(), await freePort(), await freePort()]
  const file = join(directory, "nginx.conf")
  // Workers of another user could not write to the directory.
  const user = process.getuid?.() === 0 ? "user root;" : ""
  const values = {
    USER: user,
    DIRECTORY: directory,
    ORIGIN_PORT: origin.port,
    BULK_PORT: port,
    RANGE_PORT: rangePort,
    OBJECT_PORT: objectPort
  }
  writeFileSync(file, fill("peers/nginx.conf", values))
  const running = await run(onServerCpu(["nginx", "-p", directory, "-c", file]), answers(port))
  return { name: "nginx", ...running, port, rangePort, objectPort }
}

const startVarnish = async (origin: Origin): Promise<Server> => {
  const port = await freePort()
  const command = [
    "varnishd",
    "-F",
    "-j",
    "none",
    "-n",
    temporaryDirectory(),
    "-a",
    `127.0.0.1:${port}`,
    "-b",
    `127.0.0.1:${origin.port}`,
    "-s",
    "malloc,2g"
  ]
  const running = await run(onServerCpu(command), answers(port))
  return { name: "varnish", ...running, ...onePort(port) }
}

/** Starts the other version of Spillway that `checkout` is built of. */
export const startBefore = async (
  origin: Origin,
  checkout: string,
  args: ReadonlyArray<string> = [],
  directory = temporaryDirectory()
): Promise<Server> => ({
  ...await startSpillway(origin, { checkout: resolve(checkout), args, directory }),
  name: "before"
})

/** The caches that are compared, Spillway first: the other version that is asked for, or else what is installed. */
export const startCaches = async (
  origin: Origin,
  { against, profile }: { readonly against: string | undefined; readonly profile: SpillwayOptions["profile"] }
): Promise<Array<Server>> => {
  const servers = [await startSpillway(origin, { profile })]
  if (against !== undefined) return [...servers, await startBefore(origin, against)]
  if (nginxVersion !== undefined) servers.push(await startNginx(origin))
  if (varnishVersion !== undefined) {
    try {
      servers.push(await startVarnish(origin))
    } catch (error) {
      process.stderr.write(`varnish is left out: ${error instanceof Error ? error.message : String(error)}\n`)
    }
  }
  return servers
}
