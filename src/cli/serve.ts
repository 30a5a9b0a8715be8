import { Console, Effect, type FileSystem, Layer, Option, type Path, type PlatformError, Struct } from "effect"
import { Argument, Command } from "effect/cli"
import { HttpServer, type HttpServerError } from "effect/http"
import cluster from "node:cluster"
import { tmpdir } from "node:os"
import { errnoOf } from "../domain/CacheError.ts"
import { annotationsOf } from "../domain/OriginError.ts"
import { makeRoute, parseRoute, type Route } from "../domain/Route.ts"
import type { FleetReport } from "../http/admin/FleetReport.ts"
import type { Proxy } from "../http/proxy/Proxy.ts"
import * as Server from "../http/server/Server.ts"
import * as SampleOrigin from "../sample/SampleOrigin.ts"
import { ChunkWriter } from "../services/cache/ChunkWriter.ts"
import * as Cache from "../services/config/CacheConfig.ts"
import * as Origins from "../services/config/OriginConfig.ts"
import * as Clients from "../services/config/ServerConfig.ts"
import { serveConfig, serveFlags, type SettingValues } from "../services/config/settings.ts"
import { DiskBreaker } from "../services/disk/DiskBreaker.ts"
import { WriterThread } from "../services/disk/WriterThread.ts"
import { FleetConfig } from "../services/fleet/FleetConfig.ts"
import { ActiveStreams } from "../services/observe/ActiveStreams.ts"
import type { FleetPurger } from "../services/operate/FleetPurger.ts"
import { Origin } from "../services/origin/Origin.ts"
import { OriginResolver } from "../services/origin/OriginResolver.ts"
import { layerNoResolver, Spillway } from "../spillway.ts"
import { ORDERS, type Orders } from "../workers/messages.ts"
import { tell } from "../workers/mirror.ts"
import * as OwnerServer from "../workers/ownerServer.ts"
import * as Pool from "../workers/pool.ts"
import * as Worker from "../workers/worker.ts"
import * as AccessLog from "./accessLog.ts"
import { type FleetNode, fleetNode } from "./fleetSettings.ts"
import type { LogWriter } from "./LogWriter.ts"
import { layer as processMetrics } from "./processMetrics.ts"
import * as ServiceManager from "./serviceManager.ts"
import { fromConfigError, StartupError } from "./StartupError.ts"
import { layer as telemetry } from "./telemetry.ts"
import { counted, size } from "./text.ts"

/** The options of a run: those of the flags or the environment, and the admin token. */
type Settings = SettingValues & { readonly origin: Option.Option<string> }

/** The origins of a run, and the URL of the sample origin if it is the only one. */
interface Targets {
  readonly routes: ReadonlyArray<Route>
  readonly sample: URL | undefined
}

const parseOrigin = (text: string): Effect.Effect<Route, StartupError> => {
  const route = parseRoute(text)
  return typeof route === "string" ? Effect.fail(new StartupError({ message: route })) : Effect.succeed(route)
}

const cannotListen = (
  { host, port }: Server.Address,
  error: HttpServerError.ServeError,
  prefix = ""
): StartupError => {
  const errno = errnoOf(error.cause)
  const reasons: Record<string, string> = {
    EADDRINUSE: `the port is in use; choose another one with --${prefix}port`,
    EACCES: `permission denied; choose a port above 1023 with --${prefix}port`,
    EADDRNOTAVAIL: `this machine has no such address; choose one of its addresses with --${prefix}host`,
    ENOTFOUND: `the host name does not resolve; choose an address of this machine with --${prefix}host`
  }
  return new StartupError({ message: `cannot listen on ${host}:${port}: ${reasons[errno] ?? errno}` })
}

const noTemporaryDirectory = ({ reason }: PlatformError.PlatformError): StartupError =>
  new StartupError({
    message: `--workers: cannot create a directory in ${tmpdir()} (${reason._tag}); set TMPDIR to a writable directory`
  })

/** Logs a warning if an origin is down. Spillway starts nevertheless. */
const checkOrigin = Effect.fnUntraced(function*({ policy, url }: Route) {
  const origin = yield* Origin
  yield* Effect.scoped(origin.request({ method: "HEAD", url: url.href, headers: {}, route: policy })).pipe(
    Effect.catch((error) =>
      Effect.logWarning("The origin does not respond; only cached content is served").pipe(
        Effect.annotateLogs({ origin: url.href, ...annotationsOf(error) })
      )
    )
  )
})

/** The orders of the process that started this one as a worker. */
const ordersFromEnvironment = (): Orders | undefined => {
  const orders = process.env[ORDERS]
  return cluster.isWorker && orders !== undefined ? JSON.parse(orders) : undefined
}

/** The origins of the flags or the environment. */
const targetsOf = Effect.fnUntraced(function*({ origin, origins, urlHosts }: Settings) {
  const routes = yield* Effect.forEach([...origins, ...Option.toArray(origin)], parseOrigin)
  if (routes.length + urlHosts.length > 0) return { routes, sample: undefined } satisfies Targets
  return yield* new StartupError({
    message: "no origin: specify its URL, as in `spillway serve https://media.example.org`, or set SPILLWAY_ORIGIN; " +
      "`spillway demo` needs none"
  })
})

/** The sample origin, which the owner starts. */
const sampleTargets = Effect.fnUntraced(function*(orders: Orders | undefined) {
  const sample = orders === undefined ? yield* SampleOrigin.start : new URL(orders.sample!)
  return { routes: [makeRoute({ _tag: "All" }, sample)], sample } satisfies Targets
})

/** The options of this process. All processes share the memory, and the workers share the clients. */
const configOf = (settings: Settings, { routes, sample }: Targets, orders: Orders | undefined) => {
  const processes = settings.workers > 1 ? settings.workers + 1 : 1
  const servers = orders === undefined ? 1 : settings.workers
  const own = {
    ...settings,
    memory: Math.ceil(settings.memory / processes),
    maxConnections: Math.ceil(settings.maxConnections / servers),
    maxStreams: Math.ceil(settings.maxStreams / servers)
  }
  return Layer.mergeAll(
    AccessLog.layer(settings),
    Cache.CacheConfig.layer(Cache.fromSettings(own)),
    Origins.OriginConfig.layer(Origins.fromSettings(own, routes)),
    Clients.ServerConfig.layer({
      ...Clients.fromSettings(own),
      sampleVideo: sample === undefined ? undefined : SampleOrigin.VIDEO
    })
  )
}

type ProcessConfig = Layer.Layer<Cache.CacheConfig | Origins.OriginConfig, StartupError, LogWriter>

/** Serves clients from the cache of the process that started this one. */
const runWorker = Effect.fnUntraced(function*(address: Server.Address, orders: Orders, config: ProcessConfig) {
  const services = yield* Layer.build(Layer.provide(Worker.layer(address, orders), config)).pipe(
    Effect.catchTag("ServeError", (error) => {
      tell({ _tag: "Failed", message: cannotListen(address, error).message })
      // The owner prints the message.
      return Effect.interrupt
    })
  )
  yield* HttpServer.addressFormattedWith((address) => Effect.sync(() => tell({ _tag: "Listening", address }))).pipe(
    Effect.provideContext(services)
  )
  return yield* Effect.never
})

/** The text of a route, as it is given to `--origin`. */
const describe = ({ match, url }: Route): string => {
  switch (match._tag) {
    case "All":
      return url.href
    case "Path":
      return `${match.prefix}=${url.href}`
    case "Host":
      return `${match.host}=${url.href}`
  }
}

/** What makes a process a node of a fleet. */
interface FleetLayers {
  readonly view: Layer.Layer<
    never,
    never,
    Cache.CacheConfig | FileSystem.FileSystem | Origins.OriginConfig | Path.Path
  >
  readonly server: Layer.Layer<never, StartupError, FleetPurger | FleetReport | Proxy>
}

/** The server for the other nodes, and what this node knows of them; without a fleet, nothing. */
const layersOf = (node: FleetNode | undefined): FleetLayers =>
  node === undefined
    ? { view: Layer.empty, server: Layer.empty }
    : {
      view: Spillway.layerFleet(node.options, node.membership),
      server: Spillway.layerPeers(node.listen).pipe(
        Layer.catch((error) => Layer.effectDiscard(Effect.fail(cannotListen(node.listen, error, "peer-")))),
        Layer.provide(Layer.succeed(FleetConfig, node.options))
      )
    }

const announce = (address: string, { directory, urlHosts, workers }: Settings, { routes, sample }: Targets) => {
  const to = routes.length > 0 ? [`origin ${routes.map(describe).join(" ")}`] : []
  const named = urlHosts.length > 0 ? [`URLs of ${urlHosts.join(" ")}`] : []
  const by = workers > 1 ? [`${workers} workers`] : []
  const line = [`spillway listening on ${address}`, ...to, ...named, `cache ${directory}`, ...by].join(", ")
  return Console.log(sample === undefined ? line : `${line}\n${SampleOrigin.instructions(address)}`)
}

/** Says what the end of the program waits for. */
const makeStopping = Effect.gen(function*() {
  const { count } = yield* ActiveStreams
  const { backlog } = yield* ChunkWriter
  return Effect.gen(function*() {
    const streams = count()
    const waiting = streams === 0
      ? "Stopping"
      : `Stopping: ${counted(streams, "stream")} may finish within ${Server.DRAIN_TIMEOUT}`
    yield* Effect.logInfo(`${waiting}; another signal stops at once`).pipe(
      Effect.annotateLogs({ streams, unwrittenBytes: backlog().bytes })
    )
    yield* ServiceManager.stopping(waiting)
  })
})

/** Owns the cache, and serves clients itself unless there are workers. */
const runOwner = Effect.fnUntraced(function*(settings: Settings, targets: Targets, config: ProcessConfig) {
  const { directory, host, offline, otlp, port, workers } = settings
  const node = yield* fleetNode(settings)
  const fleet = layersOf(node)
  const pool = Pool.make(workers)
  const socket = workers > 1 ? yield* Effect.mapError(OwnerServer.makeSocket, noTemporaryDirectory) : undefined
  const running = Spillway.layerLeaving.pipe(
    Layer.provideMerge(Server.layerProxy),
    Layer.provideMerge(fleet.server),
    Layer.provideMerge(socket === undefined ? Server.layerNode({ host, port }) : OwnerServer.layer(socket)),
    Layer.provideMerge(Layer.provide(layerNoResolver, OriginResolver.layer)),
    Layer.provide(fleet.view),
    Layer.provide(Layer.mergeAll(config, processMetrics, pool.layer, WriterThread.layer))
  )
  const services = yield* Layer.build(otlp === undefined ? running : Layer.provide(running, telemetry(otlp))).pipe(
    Effect.catchTag("ServeError", (error) => Effect.fail(cannotListen({ host, port }, error)))
  )
  return yield* Effect.gen(function*() {
    const breaker = yield* DiskBreaker
    if (breaker.unwritable()?.errno === "LOCKED") {
      return yield* new StartupError({
        message: `cache directory ${directory} is in use by another process; choose another one with --cache-dir`
      })
    }
    const address = socket === undefined
      ? yield* HttpServer.addressFormattedWith(Effect.succeed)
      : yield* Effect.mapError(
        pool.start({ socket, sample: targets.sample?.href, node: node?.options.node }),
        ({ message }) => new StartupError({ message })
      )
    yield* announce(address, settings, targets)
    yield* ServiceManager.ready(`Listening on ${address}`)
    if (!offline) yield* Effect.forkScoped(Effect.forEach(targets.routes, checkOrigin, { discard: true }))
    const stopping = yield* makeStopping
    return yield* Effect.onInterrupt(Effect.never, () => stopping)
  }).pipe(Effect.provideContext(services))
})

const run = Effect.fnUntraced(
  function*<E, R>(
    settings: Settings,
    findTargets: (orders: Orders | undefined) => Effect.Effect<Targets, E, R>
  ) {
    const { chunkSize, host, maxSize, port } = settings
    if (!Cache.hasRoom(settings)) {
      return yield* new StartupError({
        message: `--max-size (${size(maxSize)}) is less than four chunks of --chunk-size (${size(chunkSize)}); ` +
          "raise --max-size or lower --chunk-size"
      })
    }
    const orders = ordersFromEnvironment()
    const targets = yield* findTargets(orders)
    const config = configOf(settings, targets, orders)
    return orders === undefined
      ? yield* runOwner(settings, targets, config)
      : yield* runWorker({ host, port }, orders, config)
  },
  Effect.scoped,
  Effect.onInterrupt(() =>
    Effect.sync(() => {
      // A signal is how a server normally ends.
      process.exitCode = 0
    })
  )
)

/** The options that have no flag, because other users of a machine see flags. */
const secrets = Effect.mapError(
  Effect.all({ adminToken: serveConfig.adminToken, fleetSecret: serveConfig.fleetSecret }),
  fromConfigError
)

export const serve = Command.make(
  "serve",
  {
    origin: Argument.String("origin").pipe(
      Argument.withDescription("URL that paths are appended to"),
      Argument.optional
    ),
    ...serveFlags
  },
  Effect.fnUntraced(function*(flags) {
    const settings = { ...flags, ...yield* secrets }
    return yield* run(settings, () => targetsOf(settings))
  })
).pipe(
  Command.withDescription(
    "Run the caching proxy. Brackets contain the environment variable of a flag, and the default. The variable SPILLWAY_ADMIN_TOKEN, " +
      "which has no flag, sets a token for the dashboard at /_spillway/; without it the dashboard is available from this machine only"
  ),
  Command.withShortDescription("Run the caching proxy"),
  Command.withExamples([
    {
      command: "spillway serve https://media.example.org --cache-dir /var/cache/spillway --max-size 200GiB",
      description: "Cache an origin"
    },
    {
      command: "spillway serve --origin /films=https://films.example.org --origin /music=https://music.example.org",
      description: "Cache two origins"
    }
  ])
)

export const demo = Command.make(
  "demo",
  Struct.omit(serveFlags, ["origins", "urlHosts", "allowPrivate", "offline"]),
  Effect.fnUntraced(function*(flags) {
    const none = { origin: Option.none(), origins: [], urlHosts: [], allowPrivate: false, offline: false }
    return yield* run({ ...flags, ...none, ...yield* secrets }, sampleTargets)
  })
).pipe(
  Command.withDescription(
    "Run the caching proxy with a sample origin that it starts: a page with a video, and a large file"
  )
)
