import { type Config, Context, Effect, type FileSystem, Layer, type Path, type Scope } from "effect"
import { type HttpRouter, HttpServer, type HttpServerError } from "effect/http"
import type { OpenError } from "./domain/OpenError.ts"
import { address, layerOptions } from "./embed/config.ts"
import * as openMedia from "./embed/openMedia.ts"
import { routes } from "./embed/routes.ts"
import { Admin } from "./http/admin/Admin.ts"
import { ControlApi } from "./http/admin/api/ControlApi.ts"
import { Events } from "./http/admin/Events.ts"
import { Report } from "./http/admin/Report.ts"
import { Limits } from "./http/proxy/Limits.ts"
import { Proxy } from "./http/proxy/Proxy.ts"
import * as Server from "./http/server/Server.ts"
import { CacheIndex } from "./services/cache/CacheIndex.ts"
import { Catalog } from "./services/cache/Catalog.ts"
import { ChunkCache } from "./services/cache/ChunkCache.ts"
import { Evictor } from "./services/cache/Evictor.ts"
import { Manifests } from "./services/cache/Manifests.ts"
import { MemoryTier } from "./services/cache/MemoryTier.ts"
import { Recorder } from "./services/cache/Recorder.ts"
import { RevokedTrees } from "./services/cache/RevokedTrees.ts"
import * as Scrubber from "./services/cache/Scrubber.ts"
import type { CacheConfig } from "./services/config/CacheConfig.ts"
import type { OriginConfig } from "./services/config/OriginConfig.ts"
import { CacheHealth } from "./services/disk/CacheHealth.ts"
import { CacheLock } from "./services/disk/CacheLock.ts"
import { ChunkStore } from "./services/disk/ChunkStore.ts"
import { DiskGate } from "./services/disk/DiskGate.ts"
import { DiskMonitor } from "./services/disk/DiskMonitor.ts"
import { Lookup } from "./services/media/Lookup.ts"
import { MediaStream } from "./services/media/MediaStream.ts"
import { Activity } from "./services/observe/Activity.ts"
import { Traffic } from "./services/observe/Traffic.ts"
import { Explainer } from "./services/operate/Explainer.ts"
import { Failures } from "./services/operate/Failures.ts"
import { Keeper } from "./services/operate/Keeper.ts"
import * as metrics from "./services/operate/metrics.ts"
import * as observedOrigin from "./services/operate/observedOrigin.ts"
import { Resources } from "./services/operate/Resources.ts"
import { Warmer } from "./services/operate/Warmer.ts"
import { Origin } from "./services/origin/Origin.ts"
import { OriginResolver } from "./services/origin/OriginResolver.ts"
import { Registrations } from "./services/origin/Registrations.ts"
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
export { type Origins, parseRoute, type Route } from "./domain/Origins.ts"
export type { ByteRange, RangeSpec } from "./domain/rfc/ByteRange.ts"
/** Keys of the cache: `make` makes one of a URL. */
export * as Resource from "./domain/Resource.ts"
export type { Refused } from "./domain/target.ts"
export type { OpenedMedia, OpenOptions } from "./embed/openMedia.ts"
export { type Exchange, RequestLog } from "./http/server/RequestLog.ts"
/** Servers for Spillway alone: `layerProxy` serves it on the `HttpServer` in context, `layerNode` is one that strangers may talk to. */
export { Server }
export { CacheConfig, type CacheOptions } from "./services/config/CacheConfig.ts"
export { OriginConfig, type OriginOptions } from "./services/config/OriginConfig.ts"
export { ServerConfig, type ServerOptions } from "./services/config/ServerConfig.ts"
export type { Location, Refusal, Source } from "./services/origin/askOrigin.ts"
export { OriginResolver, type Wanted } from "./services/origin/OriginResolver.ts"
export { type FetchOptions, type Registration, Registrations } from "./services/origin/Registrations.ts"
export {
  Activity,
  CacheHealth,
  CacheIndex,
  CacheLock,
  Catalog,
  ChunkCache,
  ChunkStore,
  DiskGate,
  DiskMonitor,
  Downloader,
  Evictor,
  Failures,
  Lookup,
  Manifests,
  MediaStream,
  MemoryTier,
  Origin,
  Proxy,
  Recorder,
  Traffic
}

/** All services of the cache but those at its edges: configuration, lock, store, disk and origin. */
const layerNoDeps: Layer.Layer<
  | Activity
  | CacheHealth
  | CacheIndex
  | Catalog
  | ChunkCache
  | Downloader
  | Events
  | Evictor
  | Failures
  | Keeper
  | Lookup
  | Manifests
  | MediaStream
  | MemoryTier
  | Proxy
  | Recorder
  | Registrations
  | Resources
  | Traffic,
  never,
  CacheConfig | CacheLock | ChunkStore | DiskMonitor | Origin | OriginConfig | OriginResolver
> = Layer.mergeAll(Proxy.layer, Scrubber.layer, metrics.layer).pipe(
  Layer.provideMerge(Layer.merge(Admin.layer, Limits.layer)),
  Layer.provideMerge(ControlApi.layer),
  Layer.provideMerge(Events.layer),
  Layer.provideMerge(Layer.mergeAll(Explainer.layer, Keeper.layer, Report.layer, Warmer.layer)),
  Layer.provideMerge(Resources.layer),
  Layer.provideMerge(MediaStream.layer),
  Layer.provideMerge(Lookup.layer),
  Layer.provideMerge(Downloader.layer),
  Layer.provideMerge(ChunkCache.layer),
  Layer.provideMerge(Layer.mergeAll(Recorder.layer, MemoryTier.layer)),
  Layer.provideMerge(Catalog.layer),
  Layer.provide(RevokedTrees.layer),
  Layer.provideMerge(Manifests.layer),
  Layer.provideMerge(Evictor.layer),
  Layer.provideMerge(CacheIndex.layer),
  Layer.provide(observedOrigin.layer),
  Layer.provideMerge(Layer.merge(Activity.layer, Failures.layer)),
  Layer.provideMerge(Layer.merge(CacheHealth.layer, Traffic.layer)),
  Layer.provide(Registrations.layerResolver),
  Layer.provideMerge(Registrations.layer)
)

/** The whole of Spillway over the disk of `CacheConfig` and real connections to origins, which `OriginResolver` finds. */
const layerNoResolver: Layer.Layer<
  | Activity
  | CacheHealth
  | CacheIndex
  | Catalog
  | ChunkStore
  | DiskMonitor
  | Events
  | Failures
  | MediaStream
  | Origin
  | Proxy
  | Recorder
  | Registrations
  | Traffic,
  never,
  CacheConfig | OriginConfig | OriginResolver | FileSystem.FileSystem | Path.Path
> = layerNoDeps.pipe(
  Layer.provideMerge(Layer.mergeAll(ChunkStore.layer, DiskMonitor.layer, CacheLock.layer, Origin.layer)),
  Layer.provide(DiskGate.layer)
)

const facade = <Self>(tag: Context.Key<Self, Spillway["Service"]>) =>
  Layer.effect(
    tag,
    Effect.gen(function*() {
      const { register } = yield* Registrations
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
   * of this effect. The stream goes on from the origin where the cache fails, at the exact byte; it fails for the origin's reasons
   * only, after three retries without progress, and is never ended as if whole. What may not be kept streams past the cache.
   * Closing the scope ends the transfer, unless others share it.
   */
  readonly open: (
    what: string,
    options?: openMedia.OpenOptions
  ) => Effect.Effect<openMedia.OpenedMedia, OpenError, Scope.Scope>
  /**
   * A local URL for `url`, for players that cannot send the headers that the origin wants. Whoever knows it may GET it, by ranges
   * too, until the scope closes: it has 192 random bits. The cache entry is that of `open` with the same options. At most 10 000
   * are registered at a time. Fails with `NotServed` as long as neither `routes` nor `layerServer` is in use.
   */
  readonly register: Registrations["Service"]["register"]
}>()("spillway/Spillway") {
  /**
   * Over services of your own at the edges, in tests above all: configuration, lock, store, disk, and origin (`spillway/testing`
   * has some).
   */
  static readonly layerNoDeps = Layer.provideMerge(facade(this), layerNoDeps)

  /** Over the disk of `CacheConfig` and real connections to origins, with an `OriginResolver` of your own. */
  static readonly layerNoResolver = Layer.provideMerge(facade(this), layerNoResolver)

  /** Over the disk of `CacheConfig`, and real connections to origins: those of `OriginConfig`, and whatever is opened by URL. */
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
  ) => Layer.Layer<never, never, HttpRouter.HttpRouter | HttpServer.HttpServer | Proxy | Registrations> = routes

  /** A Node server for Spillway alone, at `SPILLWAY_HOST` and `SPILLWAY_PORT`, with the bounds of `ServerConfig`. Logs where it listens. */
  static readonly layerServer: Layer.Layer<
    HttpServer.HttpServer | Server.NodeServer,
    Config.ConfigError | HttpServerError.ServeError,
    Events | Proxy | Registrations
  > = HttpServer.withLogAddress(Server.layerProxy).pipe(
    Layer.provideMerge(Layer.unwrap(Effect.map(address, Server.layerNode)))
  )
}
