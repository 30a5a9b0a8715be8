import { Effect, type Scope } from "effect"
import { execFileSync, spawn } from "node:child_process"
import { createHash } from "node:crypto"
import { get, type IncomingHttpHeaders, request as httpRequest } from "node:http"
import { rank } from "../../src/domain/Rendezvous.ts"
import { temporaryDirectory } from "./disks.ts"
import { freePort } from "./freePort.ts"
import { eventually, type Program, type ProgramFailed, startProgram } from "./Program.ts"
import { MiB, type TestOrigin } from "./TestOrigin.ts"
import { withoutHedges } from "./withoutHedges.ts"

/** Fleets of real programs, and a real Redis. */

export const SECRET = "the-secret-of-a-fleet-that-only-tests-have"

const hasRedis = (): boolean => {
  try {
    execFileSync("redis-server", ["--version"])
    return true
  } catch {
    return false
  }
}

/** Why tests with Redis are skipped, if they are. */
export const noRedis: string | undefined = hasRedis() ? undefined : "no redis-server"

/** A Redis that a test can end, stop and start again, empty. */
export interface RedisServer {
  readonly port: number
  readonly url: string
  readonly start: Effect.Effect<void, ProgramFailed>
  /** Ends it at once, with all that it knows. */
  readonly kill: Effect.Effect<void>
  readonly signal: (name: NodeJS.Signals) => Effect.Effect<void>
  /** Runs a command, and returns what redis-cli prints. */
  readonly command: (...words: ReadonlyArray<string>) => Effect.Effect<string>
}

/** A Redis that isn't started yet. */
export const makeRedis: Effect.Effect<RedisServer, never, Scope.Scope> = Effect.gen(function*() {
  const directory = yield* temporaryDirectory
  const port = yield* freePort
  let child: ReturnType<typeof spawn> | undefined
  const kill = Effect.promise(async () => {
    const running = child
    child = undefined
    if (running === undefined || running.exitCode !== null || running.signalCode !== null) return
    const ended = new Promise((resolve) => running.once("close", resolve))
    running.kill("SIGKILL")
    await ended
  })
  yield* Effect.addFinalizer(() => kill)
  const command = (...words: ReadonlyArray<string>) =>
    Effect.sync(() => execFileSync("redis-cli", ["-p", String(port), ...words], { encoding: "utf8" }))
  const isUp = Effect.match(Effect.try(() => execFileSync("redis-cli", ["-p", String(port), "ping"])), {
    onFailure: () => false,
    onSuccess: (answer) => answer.toString().trim() === "PONG"
  })
  return {
    port,
    url: `redis://127.0.0.1:${port}`,
    start: Effect.gen(function*() {
      const options = ["--port", String(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
      child = spawn("redis-server", [...options, "--dir", directory], { stdio: "ignore" })
      yield* eventually("Redis", isUp)
    }),
    kill,
    signal: (name) => Effect.sync(() => void child?.kill(name)),
    command
  }
})

/** A node of a fleet, and how it is started. */
export interface Node {
  readonly name: string
  readonly directory: string
  readonly port: number
  readonly peerPort: number
  readonly url: string
  /** The token for its metrics, which are only for its own machine without one. */
  readonly token: string | undefined
  /** The program that runs now. */
  program: Program
  readonly start: Effect.Effect<void, ProgramFailed, Scope.Scope>
}

export interface FleetPrograms {
  readonly nodes: ReadonlyArray<Node>
  /** The names of the nodes in the order in which they are asked for a byte of a file. */
  readonly order: (path: string, offset?: number) => ReadonlyArray<string>
  /** A path whose first stretch is ranked like this: `n2,n3,n1`. */
  readonly pathWith: (order: string) => string
  /** Waits until all running nodes see so many others that they use. */
  readonly settled: (peers: number) => Effect.Effect<void>
}

export interface FleetSetup {
  readonly origin: TestOrigin
  readonly names?: ReadonlyArray<string>
  /** The engine; a list of all nodes by default. */
  readonly engine?: string
  readonly args?: ReadonlyArray<string>
  readonly stretch?: number
  /** The size of a stretch as one node sees it. */
  readonly stretchOf?: (name: string) => number
  readonly env?: Record<string, string>
  /** How the nodes of the list name this machine. */
  readonly host?: string
  /** Where a node runs: its address, and what goes before the command. */
  readonly placeOf?: (name: string) => Place
  /** The port for other nodes, if all have the same. */
  readonly peerPort?: number
  /** Nodes that aren't started yet. */
  readonly later?: ReadonlyArray<string>
}

interface Place {
  readonly address: string
  readonly prefix?: ReadonlyArray<string>
}

/** The value of a metric of a node; 0 if it has none. */
export const metric = (node: Node, name: string): Effect.Effect<number> =>
  Effect.promise(async () => {
    const headers: Record<string, string> = node.token === undefined ? {} : { authorization: `Bearer ${node.token}` }
    const text = await fetch(`${node.url}/_spillway/metrics`, { headers }).then((response) => response.text(), () => "")
    const line = text.split("\n").find((line) => line.startsWith(`${name} `))
    return Number(line?.split(" ")[1] ?? 0)
  })

/** Starts a fleet of programs, one by one, for an origin. */
export const startFleet = Effect.fnUntraced(function*(setup: FleetSetup) {
  const { args = [], env = {}, later = [], host = "127.0.0.1", names = ["n1", "n2", "n3"], origin, stretch = MiB } =
    setup
  const { placeOf = (): Place => ({ address: host }), stretchOf = () => stretch } = setup
  const ports = yield* Effect.forEach(
    names,
    () => Effect.all([freePort, setup.peerPort === undefined ? freePort : Effect.succeed(setup.peerPort)])
  )
  const list = `list:${names.map((name, i) => `${name}=${placeOf(name).address}:${ports[i]![1]}`).join(",")}`
  const engine = setup.engine ?? list
  const steady = yield* withoutHedges(origin.url)
  const nodes = yield* Effect.forEach(names, (name, i) =>
    Effect.gen(function*() {
      const directory = yield* temporaryDirectory
      const [port, peerPort] = ports[i]!
      const { address, prefix = [] } = placeOf(name)
      const listen = setup.placeOf === undefined ? [] : ["--host", address]
      const own = ["--cache-dir", directory, "--min-free", "0", "--port", String(port), "--peer-port", String(peerPort)]
      const fleet = ["--node", name, "--stretch", String(stretchOf(name)), "--fleet-weight", "1"]
      const node: Node = {
        name,
        directory,
        port,
        peerPort,
        url: `http://${setup.placeOf === undefined ? "127.0.0.1" : address}:${port}`,
        token: env["SPILLWAY_ADMIN_TOKEN"],
        program: undefined as unknown as Program,
        start: Effect.gen(function*() {
          node.program = yield* startProgram([...steady, ...own, ...listen, ...fleet, ...args], {
            prefix,
            env: { SPILLWAY_FLEET: engine, SPILLWAY_FLEET_SECRET: SECRET, SPILLWAY_PORT: String(port), ...env }
          })
        })
      }
      return node
    }))
  yield* Effect.forEach(nodes.filter(({ name }) => !later.includes(name)), ({ start }) => start, {
    concurrency: "unbounded"
  })
  const candidates = names.map((name) => ({ name, weight: 1 }))
  const order = (path: string, offset = 0) =>
    rank(candidates, origin.url + path, Math.floor(offset / stretch)).map(({ name }) => name)
  const settled = (peers: number) =>
    Effect.forEach(
      nodes.filter(({ program }) => program !== undefined && program.process.exitCode === null),
      (node) =>
        eventually(
          `${peers} peers at ${node.name}`,
          Effect.map(metric(node, "spillway_fleet_peers{state=\"here\"}"), (here) => here === peers)
        ),
      { discard: true }
    )
  return {
    nodes,
    order,
    pathWith: (wanted) => {
      for (let i = 0;; i++) if (order(`/film${i}`).join() === wanted) return `/film${i}`
    },
    settled
  } satisfies FleetPrograms as FleetPrograms
})

/** What came of a request: all of it, and the longest time without a byte, in milliseconds. */
export interface Watched {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly sha256: string
  readonly size: number
  readonly isWhole: boolean
  /** Until the first byte of the body. */
  readonly firstByte: number
  readonly longestGap: number
}

/** Reads a response as it comes. `onBytes` is called with how much has come. */
export const watch = (
  url: string,
  { headers = {}, onBytes = () => {} }: {
    readonly headers?: Record<string, string>
    readonly onBytes?: (bytes: number) => void
  } = {}
): Effect.Effect<Watched> =>
  Effect.callback<Watched>((resume) => {
    const hash = createHash("sha256")
    const began = performance.now()
    let size = 0
    let firstByte = Number.POSITIVE_INFINITY
    let last: number | undefined
    let longestGap = 0
    const request = get(url, { agent: false, headers }, (response) => {
      const end = (isWhole: boolean) =>
        resume(Effect.succeed({
          status: response.statusCode!,
          headers: response.headers,
          sha256: hash.digest("hex"),
          size,
          isWhole,
          firstByte,
          longestGap: Math.round(longestGap)
        }))
      response.on("data", (data: Buffer) => {
        const now = performance.now()
        if (last === undefined) firstByte = now - began
        else longestGap = Math.max(longestGap, now - last)
        last = now
        hash.update(data)
        size += data.length
        onBytes(size)
      })
      response.on("error", () => {})
      response.on("close", () => end(response.complete))
    })
    request.on("error", () =>
      resume(Effect.succeed({
        status: 0,
        headers: {},
        sha256: "",
        size,
        isWhole: false,
        firstByte,
        longestGap: Math.round(longestGap)
      })))
    return Effect.sync(() => request.destroy())
  })

/** Sends a request to the port for other nodes as anybody could. Returns the status. */
export const asStranger = (
  node: Node,
  { headers = {}, method = "GET", path }: {
    readonly path: string
    readonly method?: string
    readonly headers?: Record<string, string>
  }
): Effect.Effect<{ readonly status: number; readonly headers: IncomingHttpHeaders }> =>
  Effect.callback((resume) => {
    const options = { host: "127.0.0.1", port: node.peerPort, path, method, headers, agent: false }
    const request = httpRequest(options, (response) => {
      response.resume()
      response.on("close", () => resume(Effect.succeed({ status: response.statusCode!, headers: response.headers })))
    })
    request.on("error", () => resume(Effect.succeed({ status: 0, headers: {} })))
    request.end()
  })
