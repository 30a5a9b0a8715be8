import { Config, Console, Effect, Layer, Option, type PlatformError, Struct } from "effect"
import { Argument, Command } from "effect/cli"
import { HttpServer, type HttpServerError } from "effect/http"
import cluster from "node:cluster"
import { tmpdir } from "node:os"
import { CREDENTIAL_FIELDS } from "../domain/Asker.ts"
import { errnoOf } from "../domain/CacheError.ts"
import { annotationsOf } from "../domain/OriginError.ts"
import { type Origins, parseRoute, type Route } from "../domain/Route.ts"
import { Server, Spillway } from "../index.ts"
import * as SampleOrigin from "../sample/SampleOrigin.ts"
import { CacheConfig } from "../services/config/CacheConfig.ts"
import { OriginConfig } from "../services/config/OriginConfig.ts"
import { ServerConfig } from "../services/config/ServerConfig.ts"
import { serveFlags } from "../services/config/settings.ts"
import { DiskBreaker } from "../services/disk/DiskBreaker.ts"
import { Origin } from "../services/origin/Origin.ts"
import { ORDERS, type Orders } from "../workers/messages.ts"
import { tell } from "../workers/mirror.ts"
import * as OwnerServer from "../workers/ownerServer.ts"
import * as Pool from "../workers/pool.ts"
import * as Worker from "../workers/worker.ts"
import { layerRequests } from "./logging.ts"
import type { LogWriter } from "./LogWriter.ts"
import { layer as processMetrics } from "./processMetrics.ts"
import { StartupError } from "./StartupError.ts"
import { layer as telemetry } from "./telemetry.ts"

const parseOrigin = (text: string): Effect.Effect<Route, StartupError> => {
  const route = parseRoute(text)
  return typeof route === "string" ? Effect.fail(new StartupError({ message: route })) : Effect.succeed(route)
}

const parseCollector = (text: string): Effect.Effect<URL, StartupError> => {
  const url = URL.parse(text)
  return url !== null && /^https?:$/.test(url.protocol) && url.username + url.password + url.search === ""
    ? Effect.succeed(url)
    : Effect.fail(
      new StartupError({ message: "--otlp (SPILLWAY_OTLP): not an http or https URL without password and query" })
    )
}

const cannotListen = ({ host, port }: Server.Address, error: HttpServerError.ServeError): StartupError => {
  const errno = errnoOf(error.cause)
  const reasons: Record<string, string> = {
    EADDRINUSE: "the port is in use",
    EACCES: "permission denied",
    EADDRNOTAVAIL: "this machine has no such address",
    ENOTFOUND: "no such host"
  }
  return new StartupError({ message: `cannot listen on ${host}:${port}: ${reasons[errno] ?? errno}` })
}

const noTemporaryDirectory = ({ reason }: PlatformError.PlatformError): StartupError =>
  new StartupError({
    message: `--workers needs a temporary directory, which TMPDIR may name (${reason._tag}: ${tmpdir()})`
  })

/** An origin that is down at the start is not a reason not to start, but worth a word. */
const checkOrigin = Effect.fnUntraced(function*({ url }: Route) {
  const origin = yield* Origin
  yield* Effect.scoped(origin.request({ method: "HEAD", url: url.href, headers: {} })).pipe(
    Effect.catch((error) =>
      Effect.logWarning("The origin does not answer; what is cached is served").pipe(
        Effect.annotateLogs({ origin: url.href, ...annotationsOf(error) })
      )
    )
  )
})

/** The settings from the process that started this one as a worker. */
const ordersFromEnvironment = (): Orders | undefined => {
  const orders = process.env[ORDERS]
  return cluster.isWorker && orders !== undefined ? JSON.parse(orders) : undefined
}

/** Serves viewers from the cache of the process that has started this one. */
const runWorker = Effect.fnUntraced(function*(
  address: Server.Address,
  orders: Orders,
  config: Layer.Layer<CacheConfig | OriginConfig, never, LogWriter>
) {
  const services = yield* Layer.build(Layer.provide(Worker.layer(address, orders), config)).pipe(
    Effect.catchTag("ServeError", (error) => {
      tell({ _tag: "Failed", message: cannotListen(address, error).message })
      // The other one says so.
      return Effect.interrupt
    })
  )
  yield* HttpServer.addressFormattedWith((address) => Effect.sync(() => tell({ _tag: "Listening", address }))).pipe(
    Effect.provideContext(services)
  )
  return yield* Effect.never
})

/** A variable and no flag, since everybody on a machine sees the flags of its programs. */
const adminTokenFromEnvironment = Effect.flatMap(
  Effect.orDie(Config.option(Config.String("SPILLWAY_ADMIN_TOKEN"))),
  Option.match({
    onNone: () => Effect.undefined,
    onSome: (token) =>
      // Any other could not be shown in a field.
      /^[\x21-\x7e]*$/.test(token)
        ? Effect.succeed(token)
        : Effect.fail(
          new StartupError({ message: "SPILLWAY_ADMIN_TOKEN must be of visible ASCII characters, without spaces" })
        )
  })
)

/** A route as the person who runs the server wrote it. */
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

export const serve = Command.make(
  "serve",
  {
    origin: Argument.String("origin").pipe(
      Argument.withDescription("URL that paths are appended to; without any origin, a sample one is started"),
      Argument.optional
    ),
    ...serveFlags
  },
  Effect.fnUntraced(function*(flags) {
    const { host, origin, port } = flags
    if (flags.chunkSize > flags.maxSize / 4) {
      return yield* new StartupError({ message: "--max-size must hold at least four chunks of --chunk-size" })
    }
    const given = yield* Effect.forEach([...flags.origins, ...Option.toArray(origin)], parseOrigin)
    const orders = ordersFromEnvironment()
    const isSample = given.length + flags.urlHosts.length === 0
    const sample = !isSample ? undefined : orders === undefined ? yield* SampleOrigin.start : new URL(orders.sample!)
    const routes: Origins["routes"] = sample === undefined ? given : [{ match: { _tag: "All" }, url: sample }]
    const origins: Origins = {
      routes,
      urlHosts: flags.urlHosts,
      allowPrivate: flags.allowPrivate
    }
    const adminToken = yield* adminTokenFromEnvironment
    const isShared = flags.workers > 1
    // What all may take is divided: memory among all, viewers among the workers.
    const processes = isShared ? flags.workers + 1 : 1
    const alike = orders === undefined ? 1 : flags.workers
    const config = Layer.mergeAll(
      layerRequests,
      CacheConfig.layer({
        ...Struct.pick(flags, ["chunkSize", "directory", "maxSize", "minFree", "readDeadline", "ttl", "ignoreCookies"]),
        memory: Math.ceil(flags.memory / processes)
      }),
      OriginConfig.layer({
        ...Struct.pick(flags, ["connectTimeout", "firstByteTimeout", "maxRequests", "offline", "silenceTimeout"]),
        credentialFields: [...CREDENTIAL_FIELDS, ...flags.credentialFields],
        origins
      }),
      ServerConfig.layer({
        ...Struct.pick(flags, ["headerTimeout", "idleTimeout"]),
        maxConnections: Math.ceil(flags.maxConnections / alike),
        maxStreams: Math.ceil(flags.maxStreams / alike),
        adminToken,
        sampleVideo: sample === undefined ? undefined : SampleOrigin.VIDEO
      })
    )
    if (orders !== undefined) return yield* runWorker({ host, port }, orders, config)
    const pool = Pool.make(flags.workers)
    const socket = isShared ? yield* Effect.mapError(OwnerServer.makeSocket, noTemporaryDirectory) : undefined
    const running = Server.layerProxy.pipe(
      Layer.provideMerge(socket === undefined ? Server.layerNode({ host, port }) : OwnerServer.layer(socket)),
      Layer.provideMerge(Spillway.layer),
      Layer.provide(Layer.mergeAll(config, processMetrics, pool.layer))
    )
    const observed = Option.isNone(flags.otlp)
      ? running
      : Layer.provide(running, telemetry(yield* parseCollector(flags.otlp.value)))
    const services = yield* Layer.build(observed).pipe(
      Effect.catchTag("ServeError", (error) => Effect.fail(cannotListen({ host, port }, error)))
    )
    return yield* Effect.gen(function*() {
      const breaker = yield* DiskBreaker
      if (breaker.unwritable()?.errno === "LOCKED") {
        return yield* new StartupError({ message: `cache directory ${flags.directory} is in use by another process` })
      }
      const address = socket === undefined
        ? yield* HttpServer.addressFormattedWith(Effect.succeed)
        : yield* Effect.mapError(
          pool.start({ socket, sample: sample?.href }),
          ({ message }) => new StartupError({ message })
        )
      const to = routes.length > 0 ? [`origin ${routes.map(describe).join(" ")}`] : []
      const named = origins.urlHosts.length > 0 ? [`URLs of ${origins.urlHosts.join(" ")}`] : []
      const by = isShared ? [`${flags.workers} workers`] : []
      const said = [`spillway listening on ${address}`, ...to, ...named, `cache ${flags.directory}`, ...by]
      yield* Console.log(said.join(", "))
      if (sample !== undefined) yield* Console.log(SampleOrigin.instructions(address))
      if (!flags.offline) yield* Effect.forkScoped(Effect.forEach(routes, checkOrigin, { discard: true }))
      return yield* Effect.never
    }).pipe(Effect.provideContext(services))
  }, Effect.scoped)
).pipe(
  Command.withDescription(
    "Run the caching proxy. Brackets show the variable and the default. SPILLWAY_ADMIN_TOKEN, a variable only, makes the dashboard " +
      "at /_spillway/ available from other machines"
  ),
  Command.withExamples([
    { command: "spillway serve", description: "See it work, with a sample origin" },
    {
      command: "spillway serve https://media.example.org --cache-dir /var/cache/spillway --max-size 200GiB",
      description: "Cache an origin"
    },
    {
      command: "spillway serve --origin /films=https://films.example.org --origin /music=https://music.example.org",
      description: "Cache two of them"
    }
  ])
)
