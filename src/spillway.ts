import { Config, Context, Effect, type FileSystem, Layer, type Path, type Scope } from "effect"
import { type HttpRouter, HttpServer, type HttpServerError } from "effect/http"
import type { OpenError } from "./domain/OpenError.ts"
import { address, layerOptions } from "./embed/config.ts"
import { type Control, make as makeControl } from "./embed/control.ts"
import * as openMedia from "./embed/openMedia.ts"
import * as Options from "./embed/options.ts"
import { routes } from "./embed/routes.ts"
import { AdminPages } from "./http/admin/AdminPages.ts"
import { ControlApi } from "./http/admin/api/ControlApi.ts"
import { FleetReport } from "./http/admin/FleetReport.ts"
import { Readiness } from "./http/admin/Readiness.ts"
import { SnapshotFeed } from "./http/admin/SnapshotFeed.ts"
import { StatusReport } from "./http/admin/StatusReport.ts"
import { Proxy } from "./http/proxy/Proxy.ts"
import { StreamLimit } from "./http/proxy/StreamLimit.ts"
import { layerLeaving, layerPeers } from "./http/server/peerServer.ts"
import * as Server from "./http/server/Server.ts"
import { Bans } from "./services/cache/Bans.ts"
import { CacheIndex } from "./services/cache/CacheIndex.ts"
import { Catalog } from "./services/cache/Catalog.ts"
import { CatalogMemory } from "./services/cache/CatalogMemory.ts"
import { ChunkCache } from "./services/cache/ChunkCache.ts"
import { ChunkWriter } from "./services/cache/ChunkWriter.ts"
import { Evictor } from "./services/cache/Evictor.ts"
import { IndexScan } from "./services/cache/IndexScan.ts"
import { Manifests } from "./services/cache/Manifests.ts"
import { MemoryTier } from "./services/cache/MemoryTier.ts"
import * as recovery from "./services/cache/recovery.ts"
import * as Replicas from "./services/cache/Replicas.ts"
import * as Scrubber from "./services/cache/Scrubber.ts"
import { WriteLock } from "./services/cache/WriteLock.ts"
import type { CacheConfig } from "./services/config/CacheConfig.ts"
import type { OriginConfig } from "./services/config/OriginConfig.ts"
import { ChunkStore } from "./services/disk/ChunkStore.ts"
import { DirectoryLock } from "./services/disk/DirectoryLock.ts"
import { DiskBreaker } from "./services/disk/DiskBreaker.ts"
import { DiskLimiter } from "./services/disk/DiskLimiter.ts"
import { DiskMonitor } from "./services/disk/DiskMonitor.ts"
import { Fleet } from "./services/fleet/Fleet.ts"
import { FleetConfig, type FleetOptions } from "./services/fleet/FleetConfig.ts"
import * as fleetOrigin from "./services/fleet/fleetOrigin.ts"
import type { Membership } from "./services/fleet/Membership.ts"
import { PeerClient } from "./services/fleet/PeerClient.ts"
import { Lookup } from "./services/media/Lookup.ts"
import { MediaStream } from "./services/media/MediaStream.ts"
import * as mirrorOrigin from "./services/mirrors/mirrorOrigin.ts"
import { OriginHealth } from "./services/mirrors/OriginHealth.ts"
import { ActiveStreams } from "./services/observe/ActiveStreams.ts"
import { Counters } from "./services/observe/Counters.ts"
import { ResponseMetrics } from "./services/observe/ResponseMetrics.ts"
import { Explainer } from "./services/operate/Explainer.ts"
import { FailureLog } from "./services/operate/FailureLog.ts"
import { FleetPurger } from "./services/operate/FleetPurger.ts"
import * as instrumentedOrigin from "./services/operate/instrumentedOrigin.ts"
import { Inventory } from "./services/operate/Inventory.ts"
import * as metrics from "./services/operate/metrics.ts"
import { Purger } from "./services/operate/Purger.ts"
import { Sweeper } from "./services/operate/Sweeper.ts"
import { TrafficHistory } from "./services/operate/TrafficHistory.ts"
import { Warmer } from "./services/operate/Warmer.ts"
import * as hedgedOrigin from "./services/origin/hedgedOrigin.ts"
import { LocalUrls } from "./services/origin/LocalUrls.ts"
import { Origin } from "./services/origin/Origin.ts"
import { OriginResolver } from "./services/origin/OriginResolver.ts"
import { Downloader } from "./services/transfer/Downloader.ts"

/** What is cached, on disk and in memory. */
const layerCache = ChunkWriter.layer.pipe(
  Layer.provideMerge(Layer.provide(Replicas.layerMemoryTier, MemoryTier.layer)),
  Layer.provideMerge(Layer.provide(Replicas.layerCatalog, Catalog.layer)),
  Layer.provideMerge(Layer.provide(Replicas.layerCatalogMemory, CatalogMemory.layer)),
  Layer.provideMerge(Layer.provide(Replicas.layerBans, Bans.layer)),
  Layer.provideMerge(Manifests.layer),
  Layer.provideMerge(Layer.provideMerge(recovery.layer, Evictor.layer)),
  Layer.provideMerge(IndexScan.layer),
  Layer.provideMerge(Layer.merge(WriteLock.layer, Layer.provide(Replicas.layerCacheIndex, CacheIndex.layer)))
)

/** All services except those at the edges: configuration, lock, store, disk and origin. */
export const layerNoDeps: Layer.Layer<
  | ActiveStreams
  | Bans
  | DiskBreaker
  | CacheIndex
  | Catalog
  | CatalogMemory
  | ChunkCache
  | Downloader
  | SnapshotFeed
  | Evictor
  | FailureLog
  | FleetPurger
  | FleetReport
  | IndexScan
  | Explainer
  | Purger
  | StatusReport
  | Sweeper
  | Warmer
  | Lookup
  | Manifests
  | MediaStream
  | MemoryTier
  | Proxy
  | ChunkWriter
  | LocalUrls
  | Inventory
  | Readiness
  | ResponseMetrics
  | TrafficHistory
  | Counters,
  never,
  CacheConfig | DirectoryLock | ChunkStore | DiskMonitor | Origin | OriginConfig | OriginResolver
> = Layer.mergeAll(Proxy.layer, Scrubber.layer, metrics.layer).pipe(
  Layer.provideMerge(Layer.merge(AdminPages.layer, StreamLimit.layer)),
  Layer.provideMerge(ControlApi.layer),
  Layer.provideMerge(SnapshotFeed.layer),
  Layer.provideMerge(FleetReport.layer),
  Layer.provideMerge(FleetPurger.layer),
  Layer.provideMerge(Layer.mergeAll(Explainer.layer, Purger.layer, StatusReport.layer, Warmer.layer)),
  Layer.provideMerge(Layer.provideMerge(Sweeper.layer, Inventory.layer)),
  Layer.provideMerge(MediaStream.layer),
  Layer.provideMerge(Lookup.layer),
  Layer.provideMerge(Downloader.layer),
  Layer.provideMerge(ChunkCache.layer),
  Layer.provideMerge(layerCache),
  Layer.provide(Layer.provide(fleetOrigin.layer, hedgedOrigin.layer)),
  Layer.provide(mirrorOrigin.layer),
  Layer.provideMerge(OriginHealth.layer),
  Layer.provide(instrumentedOrigin.layer),
  Layer.provideMerge(Layer.mergeAll(ActiveStreams.layer, FailureLog.layer, Readiness.layer, TrafficHistory.layer)),
  Layer.provideMerge(Layer.mergeAll(DiskBreaker.layer, Counters.layer, ResponseMetrics.layer)),
  Layer.provide(LocalUrls.layerResolver),
  Layer.provideMerge(LocalUrls.layer)
)

/** All services, with the disk of `CacheConfig` and real connections to the origins that `OriginResolver` finds. */
export const layerNoResolver: Layer.Layer<
  | ActiveStreams
  | DiskBreaker
  | CacheIndex
  | Catalog
  | ChunkStore
  | DiskMonitor
  | SnapshotFeed
  | Explainer
  | FailureLog
  | FleetPurger
  | FleetReport
  | IndexScan
  | Inventory
  | MediaStream
  | Origin
  | Purger
  | StatusReport
  | Sweeper
  | Warmer
  | Proxy
  | ChunkWriter
  | LocalUrls
  | Readiness
  | ResponseMetrics
  | Counters,
  never,
  CacheConfig | OriginConfig | OriginResolver | FileSystem.FileSystem | Path.Path
> = layerNoDeps.pipe(
  Layer.provideMerge(Layer.mergeAll(ChunkStore.layer, DiskMonitor.layer, DirectoryLock.layer, Origin.layer)),
  Layer.provide(DiskLimiter.layer)
)

/** What applications use of these services. */
export const facade = <Self>(tag: Context.Key<Self, Spillway["Service"]>) =>
  Layer.effect(
    tag,
    Effect.gen(function*() {
      const { register } = yield* LocalUrls
      return { ...yield* makeControl, open: yield* openMedia.make, register }
    })
  )

/** The services of a running Spillway that `Spillway.routes`, its servers and `Server.layerProxy` need. */
export type Running = FleetPurger | FleetReport | LocalUrls | Proxy | Readiness | ResponseMetrics | SnapshotFeed

/**
 * Spillway in an application: media streams through the cache, an HTTP handler for the application's router, and local URLs for
 * players that cannot send header fields. `layer` is all of it. Build it once and share it: a second one with the same directory works, but
 * without the disk.
 *
 * @example
 * ```ts
 * import { NodeServices } from "@effect/platform-node"
 * import { Effect, Layer, Stream } from "effect"
 * import { Spillway } from "spillway"
 *
 * const layer = Spillway.layer({ directory: "/var/cache/media", maxSize: "200 GiB" }).pipe(
 *   Layer.provide(NodeServices.layer)
 * )
 *
 * const bytes = Effect.gen(function*() {
 *   const { open } = yield* Spillway
 *   const { stream } = yield* open("https://media.example.org/film.mp4")
 *   return yield* Stream.runFold(stream, () => 0, (sum, piece) => sum + piece.length)
 * }).pipe(Effect.scoped, Effect.provide(layer))
 * ```
 *
 * @since 0.1.0
 * @category services
 */
export class Spillway extends Context.Service<
  Spillway,
  Control & {
    /**
     * Opens a stream of `what`: an absolute URL, or a path that `OriginResolver` resolves like a viewer's request. The options of
     * `FetchOptions` don't apply to a path. Returns when the first bytes have arrived; what fails before that is an error of this
     * effect. If the cache fails, the stream continues from the origin at the same byte. The stream fails only if the origin fails, after
     * three retries without progress, and never ends early without an error. Uncacheable responses bypass the cache. Closing the scope
     * ends the transfer, unless others share it.
     *
     * @example
     * ```ts
     * import { Effect, Stream } from "effect"
     * import { Spillway } from "spillway"
     *
     * const end = Effect.gen(function*() {
     *   const { open } = yield* Spillway
     *   const { stream } = yield* open("https://media.example.org/film.mp4", { range: { suffix: 65_536 } })
     *   return yield* Stream.mkUint8Array(stream)
     * }).pipe(Effect.scoped)
     * ```
     *
     * @since 0.1.0
     * @category streams
     */
    readonly open: (
      what: string | URL,
      options?: openMedia.OpenOptions
    ) => Effect.Effect<openMedia.OpenedMedia, OpenError, Scope.Scope>
    /**
     * Returns a local URL for `url`, for players that cannot send the header fields that the origin requires. Everyone who knows the URL
     * can GET it, with ranges too, until the scope closes; it has 192 random bits. The cache entry is that of `open` with the same
     * options. At most 10 000 can be registered at a time. Fails with `NotServed` while neither `routes` nor `layerServer` is in use.
     */
    readonly register: LocalUrls["Service"]["register"]
  }
>()("spillway/spillway") {
  /**
   * Spillway without its edges: provide configuration, lock, store, disk, origin and resolver. `spillway/testing` has some of them.
   *
   * @since 0.1.0
   * @category layers
   */
  static readonly layerNoDeps: Layer.Layer<
    Spillway | Running,
    never,
    CacheConfig | DirectoryLock | ChunkStore | DiskMonitor | Origin | OriginConfig | OriginResolver
  > = Layer.provideMerge(facade(this), layerNoDeps)

  /**
   * Spillway with the disk of `CacheConfig` and real connections to origins. Provide your own `OriginResolver`.
   *
   * @since 0.1.0
   * @category layers
   */
  static readonly layerNoResolver: Layer.Layer<
    Spillway | Running,
    never,
    CacheConfig | OriginConfig | OriginResolver | FileSystem.FileSystem | Path.Path
  > = Layer.provideMerge(facade(this), layerNoResolver)

  /**
   * Spillway with the disk of `CacheConfig`, and real connections to the origins of `OriginConfig` and of URLs that are opened.
   *
   * @since 0.1.0
   * @category layers
   */
  static readonly layerNoOptions: Layer.Layer<
    Spillway | Running,
    never,
    CacheConfig | OriginConfig | FileSystem.FileSystem | Path.Path
  > = Layer.provide(this.layerNoResolver, OriginResolver.layer)

  /**
   * The configuration that `layerNoOptions`, `layerNoResolver`, `layerNoDeps` and `layerFleet` need, with the limits of `layerServer`.
   * Fails with `InvalidOptions`, which has a line for each mistake.
   *
   * @since 0.1.0
   * @category layers
   */
  static readonly layerOptions: (
    options: Options.SpillwayOptions
  ) => Layer.Layer<CacheConfig | OriginConfig, Options.InvalidOptions> = Options.layer

  /**
   * All of Spillway, with real disks and origins. Cached content outlives the program. Fails with `InvalidOptions`, which has a line for
   * each mistake. A disk that can't be used isn't an error: streams come from the origin until it can.
   *
   * @example
   * ```ts
   * import { Spillway } from "spillway"
   *
   * const layer = Spillway.layer({
   *   origins: ["https://media.example.org"],
   *   directory: "/var/cache/media",
   *   maxSize: "200 GiB",
   *   readDeadline: "500 millis"
   * })
   * ```
   *
   * @since 0.1.0
   * @category layers
   */
  static readonly layer = (
    options: Options.SpillwayOptions = {}
  ): Layer.Layer<Spillway | Running, Options.InvalidOptions, FileSystem.FileSystem | Path.Path> =>
    Layer.provide(this.layerNoOptions, Options.layer(options))

  /**
   * `layer` with options from the `ConfigProvider` in the context. Fails with a `ConfigError` if one is missing or can't be read.
   *
   * @example
   * ```ts
   * import { Config } from "effect"
   * import { Spillway } from "spillway"
   *
   * const layer = Spillway.layerConfig({ directory: Config.String("CACHE"), maxSize: Config.ByteSize("MAX_SIZE") })
   * ```
   *
   * @since 0.1.0
   * @category layers
   */
  static readonly layerConfig = (
    config: Config.Wrap<Options.SpillwayOptions>
  ): Layer.Layer<Spillway | Running, Config.ConfigError | Options.InvalidOptions, FileSystem.FileSystem | Path.Path> =>
    Layer.unwrap(Effect.map(Config.unwrap(config), this.layer))

  /**
   * `layer` with the options of `spillway serve` from its environment variables (`SPILLWAY_ORIGIN` and so on), read from the
   * `ConfigProvider` in the context. Includes `ServerConfig`. Fails with a `ConfigError` that names the variable.
   *
   * @since 0.1.0
   * @category layers
   */
  static readonly layerEnvironment: Layer.Layer<
    Spillway | Running | CacheConfig | OriginConfig,
    Config.ConfigError,
    FileSystem.FileSystem | Path.Path
  > = Layer.provideMerge(this.layerNoOptions, layerOptions)

  /**
   * The handler for an `HttpRouter`, for all paths below `prefix`, which starts with `/`. A request for `prefix/films/a.mp4` is handled
   * like `/films/a.mp4` of `spillway serve`; Spillway's own pages are at `prefix/_spillway/`.
   *
   * @example
   * ```ts
   * import { NodeHttpServer, NodeServices } from "@effect/platform-node"
   * import { Layer } from "effect"
   * import { HttpRouter } from "effect/http"
   * import { createServer } from "node:http"
   * import { Spillway } from "spillway"
   *
   * const server = HttpRouter.serve(Spillway.routes("/media")).pipe(
   *   Layer.provide(Spillway.layer({ origins: ["https://media.example.org"] })),
   *   Layer.provide(NodeHttpServer.layer(createServer, { port: 3000 })),
   *   Layer.provide(NodeServices.layer)
   * )
   * ```
   *
   * @since 0.1.0
   * @category layers
   */
  static readonly routes: (
    prefix: HttpRouter.PathInput
  ) => Layer.Layer<never, never, HttpRouter.HttpRouter | HttpServer.HttpServer | Proxy | LocalUrls> = routes

  /**
   * Makes this process a node of a fleet, which acts as one cache with others: provide it to `layer`. `membership` says which nodes there are
   * and keeps the log of purges; it may be down, also at the start. Serve the other nodes with `layerPeers`.
   *
   * @since 0.1.0
   * @category layers
   */
  static readonly layerFleet = <E, R>(
    options: FleetOptions,
    membership: Layer.Layer<Membership, E, R>
  ): Layer.Layer<FleetConfig, E, CacheConfig | FileSystem.FileSystem | OriginConfig | Path.Path | R> =>
    Fleet.layer.pipe(
      Layer.provide(Layer.merge(PeerClient.layer, membership)),
      Layer.provideMerge(Layer.succeed(FleetConfig, options))
    )

  /**
   * The server for the other nodes of the fleet, on a port of its own. Requests that none of them has signed get a 403.
   *
   * @since 0.1.0
   * @category layers
   */
  static readonly layerPeers: (
    address: Server.Address
  ) => Layer.Layer<never, HttpServerError.ServeError, FleetConfig | FleetPurger | FleetReport | Proxy> = layerPeers

  /**
   * Its end tells the other nodes of the fleet that this one ends. Provide the servers to it, so that it ends first.
   *
   * @since 0.1.0
   * @category layers
   */
  static readonly layerLeaving: Layer.Layer<never> = layerLeaving

  /**
   * A Node server for Spillway alone, at `SPILLWAY_HOST` and `SPILLWAY_PORT`, with the limits of `ServerConfig`. Logs its address.
   *
   * @since 0.1.0
   * @category layers
   */
  static readonly layerServer: Layer.Layer<
    HttpServer.HttpServer | Server.NodeServer,
    Config.ConfigError | HttpServerError.ServeError,
    Running
  > = HttpServer.withLogAddress(Server.layerProxy).pipe(
    Layer.provideMerge(Layer.unwrap(Effect.map(address, Server.layerNode)))
  )
}
