import type { FileSystem, Path } from "effect"
import { Layer } from "effect"
import { Admin } from "./http/Admin.ts"
import { ControlApi } from "./http/api/ControlApi.ts"
import { Events } from "./http/Events.ts"
import { Limits } from "./http/Limits.ts"
import { Proxy } from "./http/Proxy.ts"
import { Report } from "./http/Report.ts"
import { Activity } from "./services/Activity.ts"
import type { CacheConfig } from "./services/CacheConfig.ts"
import { CacheHealth } from "./services/CacheHealth.ts"
import { CacheIndex } from "./services/CacheIndex.ts"
import { CacheLock } from "./services/CacheLock.ts"
import { Catalog } from "./services/Catalog.ts"
import { ChunkCache } from "./services/ChunkCache.ts"
import { ChunkStore } from "./services/ChunkStore.ts"
import { DiskGate } from "./services/DiskGate.ts"
import { DiskMonitor } from "./services/DiskMonitor.ts"
import { Downloader } from "./services/Downloader.ts"
import { Evictor } from "./services/Evictor.ts"
import { Explainer } from "./services/Explainer.ts"
import { Failures } from "./services/Failures.ts"
import { Keeper } from "./services/Keeper.ts"
import { Lookup } from "./services/Lookup.ts"
import { MediaStream } from "./services/MediaStream.ts"
import { MemoryTier } from "./services/MemoryTier.ts"
import * as metrics from "./services/metrics.ts"
import * as observedOrigin from "./services/observedOrigin.ts"
import { Origin } from "./services/Origin.ts"
import type { OriginConfig } from "./services/OriginConfig.ts"
import { OriginResolver } from "./services/OriginResolver.ts"
import { Recorder } from "./services/Recorder.ts"
import { Resources } from "./services/Resources.ts"
import * as Scrubber from "./services/Scrubber.ts"
import { Traffic } from "./services/Traffic.ts"
import { Warmer } from "./services/Warmer.ts"

export {
  type OriginError,
  OriginForbidden,
  OriginTimeout,
  OriginUnexpected,
  OriginUnreachable
} from "./domain/OriginError.ts"
export { type Origins, parseRoute, type Route } from "./domain/Origins.ts"
export * as Resource from "./domain/Resource.ts"
export type { Refused } from "./domain/target.ts"
export * as Server from "./http/Server.ts"
export { ServerConfig, type ServerOptions } from "./http/ServerConfig.ts"
export type { Location, Refusal, Source } from "./services/askOrigin.ts"
export { CacheConfig, type CacheOptions } from "./services/CacheConfig.ts"
export { OriginConfig, type OriginOptions } from "./services/OriginConfig.ts"
export { OriginResolver, type Wanted } from "./services/OriginResolver.ts"
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
  MediaStream,
  MemoryTier,
  Origin,
  Proxy,
  Recorder,
  Traffic
}

/** All services of the cache but those at its edges: configuration, lock, store, disk and origin. */
export const layerNoDeps: Layer.Layer<
  | Activity
  | CacheHealth
  | CacheIndex
  | Catalog
  | ChunkCache
  | Downloader
  | Events
  | Evictor
  | Failures
  | MediaStream
  | Proxy
  | Recorder
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
  Layer.provideMerge(Layer.mergeAll(Evictor.layer, Catalog.layer)),
  Layer.provideMerge(CacheIndex.layer),
  Layer.provide(observedOrigin.layer),
  Layer.provideMerge(Layer.merge(Activity.layer, Failures.layer)),
  Layer.provideMerge(Layer.merge(CacheHealth.layer, Traffic.layer))
)

/** The whole of Spillway over the disk of `CacheConfig` and real connections to origins, which `OriginResolver` finds. */
export const layerNoResolver: Layer.Layer<
  | Activity
  | CacheHealth
  | CacheIndex
  | ChunkStore
  | DiskMonitor
  | Events
  | Failures
  | MediaStream
  | Origin
  | Proxy
  | Recorder
  | Traffic,
  never,
  CacheConfig | OriginConfig | OriginResolver | FileSystem.FileSystem | Path.Path
> = layerNoDeps.pipe(
  Layer.provideMerge(Layer.mergeAll(ChunkStore.layer, DiskMonitor.layer, CacheLock.layer, Origin.layer)),
  Layer.provide(DiskGate.layer)
)

/** The same for the origins of `OriginConfig`. */
export const layer: Layer.Layer<
  | Activity
  | CacheHealth
  | CacheIndex
  | ChunkStore
  | DiskMonitor
  | Events
  | Failures
  | MediaStream
  | Origin
  | Proxy
  | Recorder
  | Traffic,
  never,
  CacheConfig | OriginConfig | FileSystem.FileSystem | Path.Path
> = Layer.provide(layerNoResolver, OriginResolver.layer)
