import { type Config, Context, Effect, type FileSystem, Layer, type Path, type Scope } from "effect"
import { type HttpRouter, HttpServer, type HttpServerError } from "effect/http"
import type { OpenError } from "./domain/OpenError.ts"
import { address, layerOptions } from "./embed/config.ts"
import * as openMedia from "./embed/openMedia.ts"
import { routes } from "./embed/routes.ts"
import { AdminPages } from "./http/admin/AdminPages.ts"
import { ControlApi } from "./http/admin/api/ControlApi.ts"
import { Readiness } from "./http/admin/Readiness.ts"
import { SnapshotFeed } from "./http/admin/SnapshotFeed.ts"
import { StatusReport } from "./http/admin/StatusReport.ts"
import { Proxy } from "./http/proxy/Proxy.ts"
import { StreamLimit } from "./http/proxy/StreamLimit.ts"
import * as Server from "./http/server/Server.ts"
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
import { RevokedTrees } from "./services/cache/RevokedTrees.ts"
import * as Scrubber from "./services/cache/Scrubber.ts"
import { WriteLock } from "./services/cache/WriteLock.ts"
import type { CacheConfig } from "./services/config/CacheConfig.ts"
import type { OriginConfig } from "./services/config/OriginConfig.ts"
import { ChunkStore } from "./services/disk/ChunkStore.ts"
import { DirectoryLock } from "./services/disk/DirectoryLock.ts"
import { DiskBreaker } from "./services/disk/DiskBreaker.ts"
import { DiskLimiter } from "./services/disk/DiskLimiter.ts"
import { DiskMonitor } from "./services/disk/DiskMonitor.ts"
import { Lookup } from "./services/media/Lookup.ts"
import { MediaStream } from "./services/media/MediaStream.ts"
import { ActiveStreams } from "./services/observe/ActiveStreams.ts"
import { Counters } from "./services/observe/Counters.ts"
import { Explainer } from "./services/operate/Explainer.ts"
import { FailureLog } from "./services/operate/FailureLog.ts"
import * as instrumentedOrigin from "./services/operate/instrumentedOrigin.ts"
import { Inventory } from "./services/operate/Inventory.ts"
import * as metrics from "./services/operate/metrics.ts"
import { Purger } from "./services/operate/Purger.ts"
import { Warmer } from "./services/operate/Warmer.ts"
import { LocalUrls } from "./services/origin/LocalUrls.ts"
import { Origin } from "./services/origin/Origin.ts"
import { OriginResolver } from "./services/origin/OriginResolver.ts"
import { Downloader } from "./services/transfer/Downloader.ts"

export {
  type CacheError,
  type CacheFailure,
  DiskBusy,
  DiskFull,
  IoError,
  PermissionDenied
} from "./domain/CacheError.ts"
export {
  MediaRefused,
  NotInCache,
  NotServed,
  type OpenError,
  RangeNotSatisfiable,
  TooManyRegistrations
} from "./domain/OpenError.ts"
export {
  OriginBodyFailed,
  type OriginError,
  OriginForbidden,
  OriginTimeout,
  OriginUnexpected,
  OriginUnreachable,
  RepresentationChanged
} from "./domain/OriginError.ts"
export type { ByteRange, RangeSpec } from "./domain/rfc/ByteRange.ts"
export { type Origins, parseRoute, type Route } from "./domain/Route.ts"
/** Keys of the cache: `make` makes one of a URL. */
export type { TargetError } from "./domain/RequestTarget.ts"
export * as Resource from "./domain/Resource.ts"
export type { OpenedMedia, OpenOptions } from "./embed/openMedia.ts"
export { type Exchange, RequestLog } from "./http/server/RequestLog.ts"
/** Servers for Spillway alone: `layerProxy` serves it on the `HttpServer` in context, `layerNode` is one that strangers may talk to. */
export { Server }
export { CacheConfig, type CacheOptions } from "./services/config/CacheConfig.ts"
export { OriginConfig, type OriginOptions } from "./services/config/OriginConfig.ts"
export { ServerConfig, type ServerOptions } from "./services/config/ServerConfig.ts"
export type { Location, Refusal, Source } from "./services/origin/askOrigin.ts"
export { type FetchOptions, LocalUrls, type Registration } from "./services/origin/LocalUrls.ts"
export { OriginResolver, type Wanted } from "./services/origin/OriginResolver.ts"
export {
  ActiveStreams,
  CacheIndex,
  Catalog,
  ChunkCache,
  ChunkStore,
  ChunkWriter,
  Counters,
  DirectoryLock,
  DiskBreaker,
  DiskLimiter,
  DiskMonitor,
  Downloader,
  Evictor,
  FailureLog,
  IndexScan,
  Lookup,
  Manifests,
  MediaStream,
  MemoryTier,
  Origin,
  Proxy
}

/** What is cached, on disk and in memory. */
const layerCache = Layer.merge(ChunkWriter.layer, Layer.provide(Replicas.layerMemoryTier, MemoryTier.layer)).pipe(
  Layer.provideMerge(Layer.provide(Replicas.layerCatalog, Catalog.layer)),
  Layer.provide(Layer.merge(RevokedTrees.layer, Layer.provide(Replicas.layerCatalogMemory, CatalogMemory.layer))),
  Layer.provideMerge(Manifests.layer),
  Layer.provideMerge(Layer.provideMerge(recovery.layer, Evictor.layer)),
  Layer.provideMerge(IndexScan.layer),
  Layer.provideMerge(Layer.merge(WriteLock.layer, Layer.provide(Replicas.layerCacheIndex, CacheIndex.layer)))
)

/** All services of the cache but those at its edges: configuration, lock, store, disk and origin. */
const layerNoDeps: Layer.Layer<
  | ActiveStreams
  | DiskBreaker
  | CacheIndex
  | Catalog
  | ChunkCache
  | Downloader
  | SnapshotFeed
  | Evictor
  | FailureLog
  | IndexScan
  | Purger
  | Lookup
  | Manifests
  | MediaStream
  | MemoryTier
  | Proxy
  | ChunkWriter
  | LocalUrls
  | Inventory
  | Readiness
  | Counters,
  never,
  CacheConfig | DirectoryLock | ChunkStore | DiskMonitor | Origin | OriginConfig | OriginResolver
> = Layer.mergeAll(Proxy.layer, Scrubber.layer, metrics.layer).pipe(
  Layer.provideMerge(Layer.merge(AdminPages.layer, StreamLimit.layer)),
  Layer.provideMerge(ControlApi.layer),
  Layer.provideMerge(SnapshotFeed.layer),
  Layer.provideMerge(Layer.mergeAll(Explainer.layer, Purger.layer, StatusReport.layer, Warmer.layer)),
  Layer.provideMerge(Inventory.layer),
  Layer.provideMerge(MediaStream.layer),
  Layer.provideMerge(Lookup.layer),
  Layer.provideMerge(Downloader.layer),
  Layer.provideMerge(ChunkCache.layer),
  Layer.provideMerge(layerCache),
  Layer.provide(instrumentedOrigin.layer),
  Layer.provideMerge(Layer.mergeAll(ActiveStreams.layer, FailureLog.layer, Readiness.layer)),
  Layer.provideMerge(Layer.merge(DiskBreaker.layer, Counters.layer)),
  Layer.provide(LocalUrls.layerResolver),
  Layer.provideMerge(LocalUrls.layer)
)

/** The whole of Spillway over the disk of `CacheConfig` and real connections to origins, which `OriginResolver` finds. */
const layerNoResolver: Layer.Layer<
  | ActiveStreams
  | DiskBreaker
  | CacheIndex
  | Catalog
  | ChunkStore
  | DiskMonitor
  | SnapshotFeed
  | FailureLog
  | IndexScan
  | MediaStream
  | Origin
  | Proxy
  | ChunkWriter
  | LocalUrls
  | Readiness
  | Counters,
  never,
  CacheConfig | OriginConfig | OriginResolver | FileSystem.FileSystem | Path.Path
> = layerNoDeps.pipe(
  Layer.provideMerge(Layer.mergeAll(ChunkStore.layer, DiskMonitor.layer, DirectoryLock.layer, Origin.layer)),
  Layer.provide(DiskLimiter.layer)
)

const facade = <Self>(tag: Context.Key<Self, Spillway["Service"]>) =>
  Layer.effect(
    tag,
    Effect.gen(function*() {
      const { register } = yield* LocalUrls
      return { open: yield* openMedia.make, register }
    })
  )

/**
 * Spillway in an application: streams of media that are cached on the way, an HTTP handler for the application's own router, and
 * local URLs for players that cannot send headers. `layer` is all of it; what is cached outlives the program.
 */
export class Spillway extends Context.Service<Spillway, {
  /**
   * Opens what is at `what`: an absolute URL, or a path as a viewer would ask for it, which `OriginResolver` finds and to which
   * the options of `FetchOptions` do not apply. Returns when the first bytes are there, so that what fails until then is an error
   * of this effect. The stream continues from the origin where the cache fails, at the exact byte; it fails for the origin's reasons
   * only, after three retries without progress, and is never ended as if whole. What may not be kept streams past the cache.
   * Closing the scope ends the transfer, unless others share it.
   */
  readonly open: (
    what: string,
    options?: openMedia.OpenOptions
  ) => Effect.Effect<openMedia.OpenedMedia, OpenError, Scope.Scope>
  /**
   * A local URL for `url`, for players that cannot send the headers that the origin wants. Anyone who knows it may GET it, by ranges
   * too, until the scope closes: it has 192 random bits. The cache entry is that of `open` with the same options. At most 10 000
   * are registered at a time. Fails with `NotServed` as long as neither `routes` nor `layerServer` is in use.
   */
  readonly register: LocalUrls["Service"]["register"]
}>()("spillway/Spillway") {
  /**
   * Over services of your own at the edges, in tests above all: configuration, lock, store, disk, and origin (`spillway/testing`
   * has some).
   */
  static readonly layerNoDeps = Layer.provideMerge(facade(this), layerNoDeps)

  /** Over the disk of `CacheConfig` and real connections to origins, with an `OriginResolver` of your own. */
  static readonly layerNoResolver = Layer.provideMerge(facade(this), layerNoResolver)

  /** Over the disk of `CacheConfig`, and real connections to origins: those of `OriginConfig`, and those of URLs that are opened. */
  static readonly layer = Layer.provide(this.layerNoResolver, OriginResolver.layer)

  /**
   * The same, with the options of `spillway serve` from its variables, `SPILLWAY_ORIGIN` and so on, of the `ConfigProvider` in
   * context. `ServerConfig` comes with it. Fails with a `ConfigError` that names the variable where one is wrong.
   */
  static readonly layerConfig = Layer.provideMerge(this.layer, layerOptions)

  /**
   * The handler for an `HttpRouter`, for every path below `prefix`, which starts with `/`: `prefix/films/a.mp4` is what
   * `/films/a.mp4` is to a server of Spillway's own, and Spillway's own pages are at `prefix/_spillway/`.
   */
  static readonly routes: (
    prefix: HttpRouter.PathInput
  ) => Layer.Layer<never, never, HttpRouter.HttpRouter | HttpServer.HttpServer | Proxy | LocalUrls> = routes

  /** A Node server for Spillway alone, at `SPILLWAY_HOST` and `SPILLWAY_PORT`, with the bounds of `ServerConfig`. Logs where it listens. */
  static readonly layerServer: Layer.Layer<
    HttpServer.HttpServer | Server.NodeServer,
    Config.ConfigError | HttpServerError.ServeError,
    SnapshotFeed | Proxy | LocalUrls | Readiness
  > = HttpServer.withLogAddress(Server.layerProxy).pipe(
    Layer.provideMerge(Layer.unwrap(Effect.map(address, Server.layerNode)))
  )
}
