import * as Engines from "./embed/Engines.ts"
import * as Resource from "./embed/Resource.ts"
import * as Server from "./embed/Server.ts"
import * as Manifest from "./services/disk/manifestFormat.ts"

/**
 * The public API. docs/decisions/0007-public-api.md says what is public and why.
 */

export { type CacheError, DiskBusy, DiskFull, IoError, PermissionDenied } from "./domain/CacheError.ts"
export type { ChunkKey } from "./domain/Chunk.ts"
export {
  MediaRefused,
  NotInCache,
  NotServed,
  type OpenError,
  RangeNotSatisfiable,
  TooManyRegistrations
} from "./domain/OpenError.ts"
export type { Authorization, OriginAccess, OriginTls } from "./domain/OriginAccess.ts"
export {
  OriginBodyFailed,
  type OriginError,
  OriginForbidden,
  OriginTimeout,
  OriginUnexpected,
  OriginUnreachable,
  RepresentationChanged
} from "./domain/OriginError.ts"
export type { Representation } from "./domain/Representation.ts"
export type { TargetError } from "./domain/RequestTarget.ts"
export { makeRoute, type Origins, parseRoute, type Route } from "./domain/Route.ts"
export { defaultPolicy, type FieldChanges, type RouteOrigin, type RoutePolicy } from "./domain/RoutePolicy.ts"
export { type Control, type Listed, type ListOptions, WarmFailed } from "./embed/control.ts"
export type { OpenEvent } from "./embed/openEvents.ts"
export type { OpenedMedia, OpenOptions, OpenRange } from "./embed/openMedia.ts"
export { InvalidOptions, type SpillwayOptions } from "./embed/options.ts"
export type {
  Purged,
  PurgeRequest,
  PurgeState,
  ResourceDetail,
  ResourceSummary,
  Status,
  WarmJob,
  Why
} from "./http/admin/api/model.ts"
export type { Readiness } from "./http/admin/Readiness.ts"
export type { SnapshotFeed } from "./http/admin/SnapshotFeed.ts"
export type { Proxy } from "./http/proxy/Proxy.ts"
export { type Exchange, RequestLog } from "./http/server/RequestLog.ts"
export { type EvictionChoice, type EvictionLine, EvictionPolicy } from "./services/cache/EvictionPolicy.ts"
export type { CacheConfig } from "./services/config/CacheConfig.ts"
export type { OriginConfig } from "./services/config/OriginConfig.ts"
export {
  ChunkStore,
  type CompactResource,
  type Contents,
  type Examined,
  type ExaminedChunks,
  type LentBytes,
  readShortBy,
  type StoredChunk,
  type StoredManifest,
  type StoredResource
} from "./services/disk/ChunkStore.ts"
export { DirectoryLock } from "./services/disk/DirectoryLock.ts"
export { DiskLimiter } from "./services/disk/DiskLimiter.ts"
export { DiskMonitor } from "./services/disk/DiskMonitor.ts"
export type { FleetConfig, FleetOptions, PeerTls } from "./services/fleet/FleetConfig.ts"
export { Membership, MembershipFailed } from "./services/fleet/Membership.ts"
export type {
  Announcement,
  Heartbeat,
  LogAnswer,
  LogEntry,
  MembershipAnswer,
  MembershipSession
} from "./services/fleet/Membership.ts"
export type { FleetPurger } from "./services/operate/FleetPurger.ts"
export type { Location, Refusal } from "./services/origin/askOrigin.ts"
export type { FetchOptions, LocalUrls, Registration } from "./services/origin/LocalUrls.ts"
export { Origin } from "./services/origin/Origin.ts"
export { OriginResolver, type Wanted } from "./services/origin/OriginResolver.ts"
export { Spillway } from "./spillway.ts"
/**
 * Engines for `Spillway.layerFleet`: Redis or Valkey, a name in DNS, or a list of nodes.
 *
 * @since 0.1.0
 * @category modules
 */
export { Engines }
/**
 * The file of a manifest, for a `ChunkStore` of your own: `decode` returns the representation in it, and `encode` the file.
 *
 * @since 0.1.0
 * @category modules
 */
export { Manifest }
/**
 * Keys of the cache: `make` returns the key of a URL.
 *
 * @since 0.1.0
 * @category modules
 */
export { Resource }
/**
 * Servers for Spillway alone: `layerNode` is an `HttpServer` with limits for clients, `layerProxy` serves Spillway on one.
 *
 * @since 0.1.0
 * @category modules
 */
export { Server }
