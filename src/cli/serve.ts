import {
  Clock,
  Console,
  Effect,
  type FileSystem,
  Layer,
  Option,
  type Path,
  type PlatformError,
  References,
  Struct
} from "effect"
import { Argument, Command, GlobalFlag } from "effect/cli"
import { HttpServer, type HttpServerError } from "effect/http"
import cluster from "node:cluster"
import { tmpdir } from "node:os"
import { errnoOf } from "../domain/CacheError.ts"
import { annotationsOf } from "../domain/OriginError.ts"
import { formatRoute, makeRoute, type Route } from "../domain/Route.ts"
import type { FleetReport } from "../http/admin/FleetReport.ts"
import type { Proxy } from "../http/proxy/Proxy.ts"
import * as Server from "../http/server/Server.ts"
import * as SampleOrigin from "../sample/SampleOrigin.ts"
import { ChunkWriter } from "../services/cache/ChunkWriter.ts"
import type { CacheConfig } from "../services/config/CacheConfig.ts"
import { ConfigReload } from "../services/config/ConfigReload.ts"
import { makeLiveConfig } from "../services/config/LiveConfig.ts"
import type { OriginConfig } from "../services/config/OriginConfig.ts"
import { configSetting, givenFlags, logLevelConfig, logLevelVariable } from "../services/config/settings.ts"
import { unknownVariables } from "../services/config/unknownVariables.ts"
import { ReaderThread } from "../services/disk/ReaderThread.ts"
import { WriterThread } from "../services/disk/WriterThread.ts"
import { FleetConfig } from "../services/fleet/FleetConfig.ts"
import { ActiveStreams } from "../services/observe/ActiveStreams.ts"
import type { FleetPurger } from "../services/operate/FleetPurger.ts"
import { Origin } from "../services/origin/Origin.ts"
import { OriginResolver } from "../services/origin/OriginResolver.ts"
import { layerNoResolver, Spillway } from "../spillway.ts"
import { firstConfiguration, Reconfigure } from "../workers/inbox.ts"
import { ORDERS, type Orders } from "../workers/messages.ts"
import { tell } from "../workers/mirror.ts"
import * as OwnerServer from "../workers/ownerServer.ts"
import * as Pool from "../workers/pool.ts"
import * as Worker from "../workers/worker.ts"
import { makeConfigView } from "./configView.ts"
import { layer as directoryCheck } from "./directoryCheck.ts"
import { type FleetNode, fleetNode } from "./fleetSettings.ts"
import { configOf, type ProcessConfig, reconfigureBy, type Settings, shareOf } from "./processConfig.ts"
import { layer as processMetrics } from "./processMetrics.ts"
import { makeReload, onHangup } from "./reload.ts"
import {
  checkSettings,
  type Given,
  optionsOf,
  parseSource,
  type ReadConfig,
  readConfig,
  type ServeSettings,
  settingsOf
} from "./serveSettings.ts"
import * as ServiceManager from "./serviceManager.ts"
import { StartupError } from "./StartupError.ts"
import { layer as telemetry } from "./telemetry.ts"
import { counted } from "./text.ts"

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

/** Options with the sample origin, which the owner starts. */
const withSample = Effect.fnUntraced(function*(settings: ServeSettings, orders: Orders | undefined) {
  const sample = orders === undefined ? yield* SampleOrigin.start : new URL(orders.sample!)
  const origins = [makeRoute({ _tag: "All" }, sample)]
  return { ...settings, origins, routes: origins, sample } satisfies Settings
})

/** Where the options of a run come from. */
interface Plan {
  readonly given: Given
  readonly read: ReadConfig | undefined
}

/** Serves clients from the cache of the process that started this one. */
const runWorker = Effect.fnUntraced(function*(address: Server.Address, orders: Orders, config: ProcessConfig) {
  const services = yield* Layer.build(Layer.provide(Worker.layer(address, orders), [config, ReaderThread.layer])).pipe(
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

/** What makes a process a node of a fleet. */
interface FleetLayers {
  readonly view: Layer.Layer<
    never,
    never,
    CacheConfig | FileSystem.FileSystem | OriginConfig | Path.Path
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

const announce = (address: string, { directory, routes, sample, urlHosts, workers }: Settings) => {
  const to = routes.length > 0 ? [`origin ${routes.map(formatRoute).join(" ")}`] : []
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
const runOwner = Effect.fnUntraced(function*(
  settings: Settings,
  config: ProcessConfig,
  pool: Omit<ReturnType<typeof Pool.make>, "configure">
) {
  const { host, offline, otlp, port, routes, sample, workers } = settings
  const node = yield* fleetNode(settings)
  const fleet = layersOf(node)
  const socket = workers > 1 ? yield* Effect.mapError(OwnerServer.makeSocket, noTemporaryDirectory) : undefined
  const running = Spillway.layerLeaving.pipe(
    Layer.provideMerge(Server.layerProxy),
    Layer.provideMerge(fleet.server),
    Layer.provideMerge(socket === undefined ? Server.layerNode({ host, port }) : OwnerServer.layer(socket)),
    Layer.provideMerge(Layer.provide(layerNoResolver, OriginResolver.layer)),
    Layer.provide(fleet.view),
    Layer.provide(directoryCheck),
    Layer.provide(Layer.mergeAll(config, processMetrics, pool.layer, ReaderThread.layer, WriterThread.layer))
  )
  const services = yield* Layer.build(otlp === undefined ? running : Layer.provide(running, telemetry(otlp))).pipe(
    Effect.catchTag("ServeError", (error) => Effect.fail(cannotListen({ host, port }, error)))
  )
  return yield* Effect.gen(function*() {
    const address = socket === undefined
      ? yield* HttpServer.addressFormattedWith(Effect.succeed)
      : yield* Effect.mapError(
        pool.start({ socket, sample: sample?.href, node: node?.options.node }),
        ({ message }) => new StartupError({ message })
      )
    const stopping = yield* makeStopping
    // A signal can come as soon as somebody knows that the server listens.
    return yield* announce(address, settings).pipe(
      Effect.andThen(ServiceManager.ready(`Listening on ${address}`)),
      Effect.andThen(offline ? Effect.void : Effect.forkScoped(Effect.forEach(routes, checkOrigin, { discard: true }))),
      Effect.andThen(Effect.never),
      Effect.onInterrupt(() => stopping)
    )
  }).pipe(Effect.provideContext(services))
})

/** The lowest level that is logged, if its flag or its variable is given. */
const givenLogLevel = Effect.gen(function*() {
  const flag = yield* GlobalFlag.LogLevel
  if (Option.isSome(flag)) return { value: flag.value, by: "flag" } as const
  const isSet = Option.isSome(yield* Effect.orDie(logLevelVariable))
  return isSet ? { value: yield* Effect.orDie(logLevelConfig), by: "variable" } as const : undefined
})

/** Serves with these options. */
const run = Effect.fnUntraced(
  function*(settings: Settings, orders: Orders | undefined, { given, read }: Plan) {
    const live = makeLiveConfig(optionsOf(shareOf(settings, orders)))
    const view = makeConfigView(settings, read && { path: read.source.file, readAt: yield* Clock.currentTimeMillis })
    const config = Layer.merge(configOf(settings, orders, live), view.layer)
    if (orders === undefined) {
      const { configure, ...pool } = Pool.make(settings.workers)
      if (read === undefined) return yield* runOwner(settings, config, pool)
      yield* configure(read.source)
      const reload = yield* makeReload({ given, settings, live, view, configure, file: read.source.file })
      yield* onHangup(reload)
      return yield* runOwner(settings, Layer.merge(config, Layer.succeed(ConfigReload, reload)), pool)
    }
    // The signal is for the owner, but a terminal sends it to all.
    process.on("SIGHUP", () => {})
    const { host, port } = settings
    const reconfigure = Layer.succeed(Reconfigure, reconfigureBy(given, live))
    return yield* runWorker({ host, port }, orders, Layer.merge(config, reconfigure))
  },
  Effect.scoped,
  Effect.onInterrupt(() =>
    Effect.sync(() => {
      // A signal is how a server normally ends.
      process.exitCode = 0
    })
  )
)

/** The configuration file of a process: that of `file`, or, for a worker, that of the owner. */
const configuration = Effect.fnUntraced(function*(file: string, orders: Orders | undefined) {
  if (orders === undefined) return yield* readConfig(file)
  const source = yield* firstConfiguration
  return source && { source, config: yield* parseSource(source) }
})

/** Warns of misspelt environment variables. */
const warnOfVariables = Effect.suspend(() =>
  Effect.forEach(
    unknownVariables(Object.keys(process.env)),
    ({ meant, name }) =>
      Effect.annotateLogs(Effect.logWarning("An environment variable is unknown and has no effect"), {
        variable: name,
        ...(meant !== undefined && { advice: `Did you mean ${meant}?` })
      })
  )
)

export const serve = Command.make(
  "serve",
  {
    origin: Argument.String("origin").pipe(
      Argument.withDescription("URL that paths are appended to"),
      Argument.optional
    ),
    config: configSetting.flag,
    ...givenFlags
  },
  Effect.fnUntraced(function*({ config, origin, ...flags }) {
    const orders = ordersFromEnvironment()
    const given = { flags: { ...flags, logLevel: yield* givenLogLevel }, origin }
    const read = config === undefined ? undefined : yield* configuration(config, orders)
    const settings = yield* checkSettings(yield* settingsOf(given, read?.config))
    if (orders === undefined) yield* warnOfVariables
    return yield* Effect.provideService(
      run({ ...settings, sample: undefined }, orders, { given, read }),
      References.MinimumLogLevel,
      settings.logLevel
    )
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
  Struct.omit(givenFlags, ["origins", "urlHosts", "allowPrivate", "offline"]),
  Effect.fnUntraced(function*(flags) {
    const orders = ordersFromEnvironment()
    const given = { flags: { ...flags, logLevel: yield* givenLogLevel }, origin: Option.none() }
    const settings = yield* withSample(yield* settingsOf(given), orders)
    yield* checkSettings(settings)
    return yield* run(settings, orders, { given, read: undefined })
  }, Effect.scoped)
).pipe(
  Command.withDescription(
    "Run the caching proxy with a sample origin that it starts: a page with a video, and a large file"
  )
)
