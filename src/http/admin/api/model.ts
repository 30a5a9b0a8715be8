import { Schema } from "effect"
import { MAX_TAG_LENGTH } from "../../../domain/CacheTags.ts"

/**
 * What the control API tells, as JSON. Sizes and offsets are in bytes, times ISO 8601 texts in UTC, durations in seconds, rates in
 * bytes per second. Ranges are half-open: `end` is the offset after the last byte.
 */

const bytes = Schema.Finite
const seconds = Schema.Finite
const count = Schema.Finite
const time = Schema.String

/** Whether chunks are kept on disk, and if not, why and since when. */
export const CacheStatus = Schema.Struct({
  state: Schema.Literals(["usable", "unusable"]),
  /** `DiskFull`, `PermissionDenied` or `IoError`, while unusable; so are the next three. */
  error: Schema.optionalKey(Schema.String),
  errno: Schema.optionalKey(Schema.String),
  operation: Schema.optionalKey(Schema.String),
  since: Schema.optionalKey(time),
  directory: Schema.String,
  bytes,
  maxBytes: bytes,
  /** The size of a chunk. */
  chunkBytes: bytes,
  chunks: count,
  resources: count,
  /** Whether all that the disk had at the start has been read in; before that, the counts are too small. */
  indexed: Schema.Boolean
})
export type CacheStatus = typeof CacheStatus.Type

/** The chunks in memory. */
const MemoryStatus = Schema.Struct({ bytes, maxBytes: bytes, chunks: count })
type MemoryStatus = typeof MemoryStatus.Type

/**
 * How full the disk of the cache is. `thresholds` are the free bytes below which it has that status; it may have a worse one for want
 * of file nodes (inodes), of which there are 0 where the file system counts none.
 */
export const DiskReport = Schema.Struct({
  status: Schema.Literals(["healthy", "info", "warning", "critical"]),
  freeBytes: bytes,
  totalBytes: bytes,
  minFreeBytes: bytes,
  freeNodes: count,
  totalNodes: count,
  thresholds: Schema.Struct({ info: bytes, warning: bytes, critical: bytes })
})
export type DiskReport = typeof DiskReport.Type

/** What has been counted since the start. `requests` are by outcome, `bytes` by where they came from on their way to viewers. */
export const Totals = Schema.Struct({
  requests: Schema.Struct({ hit: count, miss: count, partial: count, stale: count, bypass: count, other: count }),
  bytes: Schema.Struct({ memory: bytes, disk: bytes, peer: bytes, origin: bytes, passthrough: bytes }),
  /** Requests made to origins, and bytes received of their bodies. */
  originRequests: count,
  originBytes: bytes,
  /** Viewers who joined the transfer of another. */
  coalesced: count,
  /** Chunks removed to make room, and chunks that were not written since too many were waiting or the disk failed. */
  evictions: count,
  droppedChunks: count
})
export type Totals = typeof Totals.Type

/** How this server sees its fleet. `peers` counts the other nodes by what they are to it. */
const FleetSummary = Schema.Struct({
  node: Schema.String,
  engine: Schema.Struct({ name: Schema.String, up: Schema.Boolean }),
  peers: Schema.Struct({ here: count, lost: count, leaving: count, different: count })
})

/** An origin of a route. While it is `slow` or `down`, others of its route are asked first. */
export const OriginStatus = Schema.Struct({
  url: Schema.String,
  state: Schema.Literals(["up", "slow", "down"]),
  /** Why it isn't up. */
  trouble: Schema.optionalKey(Schema.Literals(["unreachable", "timeout", "status", "body", "check", "slow"])),
  /** Since when it has that state, if it has ever had another. */
  since: Schema.optionalKey(time),
  /** The mean time to the first byte of recent responses. */
  firstByteSeconds: Schema.optionalKey(seconds)
})
export type OriginStatus = typeof OriginStatus.Type

/**
 * The state of a server.
 *
 * @since 0.1.0
 * @category models
 */
export const Status = Schema.Struct({
  version: Schema.String,
  startedAt: time,
  uptime: seconds,
  /** The URL at which it listens. */
  listening: Schema.optionalKey(Schema.String),
  cache: CacheStatus,
  memory: MemoryStatus,
  disk: DiskReport,
  /** Chunks that wait to be written. */
  backlog: Schema.Struct({ bytes, maxBytes: bytes }),
  totals: Totals,
  connections: count,
  streams: count,
  /** The origins of all routes, in the order of the configuration. */
  origins: Schema.Array(OriginStatus),
  /** In a fleet only. */
  fleet: Schema.optionalKey(FleetSummary)
})
export type Status = typeof Status.Type

/** What a node of a fleet reports of itself. Requests and bytes of `peers` are those between nodes since it started. */
export const NodeReport = Schema.Struct({
  version: Schema.String,
  startedAt: time,
  cache: Schema.Struct({ state: Schema.Literals(["usable", "unusable"]), bytes, maxBytes: bytes }),
  memory: Schema.Struct({ bytes, maxBytes: bytes }),
  /** Requests to other nodes, requests of other nodes, body bytes received, and bytes sent with headers. */
  peers: Schema.Struct({ requests: count, served: count, receivedBytes: bytes, sentBytes: bytes })
})
export type NodeReport = typeof NodeReport.Type

/** A node of a fleet as this server sees it. `report` is missing if the node doesn't respond in time. */
export const FleetNode = Schema.Struct({
  name: Schema.String,
  address: Schema.String,
  weight: Schema.Finite,
  /** `self`: this server. `different`: it has another `--stretch` or other origins, so it isn't used. */
  state: Schema.Literals(["self", "here", "lost", "leaving", "different"]),
  report: Schema.optionalKey(NodeReport)
})
export type FleetNode = typeof FleetNode.Type

/** The fleet of this server. `engine` says which nodes there are. */
export const FleetView = Schema.Struct({
  engine: Schema.Struct({ name: Schema.String, up: Schema.Boolean }),
  nodes: Schema.Array(FleetNode)
})
export type FleetView = typeof FleetView.Type

/** Where the bytes of a stream come from: `peer` is another node of a fleet, `passthrough` the origin while nothing can be kept. */
export const StreamSource = Schema.Literals(["memory", "disk", "peer", "origin", "passthrough"])
export type StreamSource = typeof StreamSource.Type

/** A body that is being sent. Answers from memory alone are not listed. */
export const RunningStream = Schema.Struct({
  id: Schema.String,
  url: Schema.String,
  /** The identifier of the resource. */
  resource: Schema.String,
  /** The range that is sent, the offset of the next byte, and the size of the whole file. */
  start: bytes,
  end: bytes,
  position: bytes,
  size: bytes,
  source: StreamSource,
  bytesPerSecond: Schema.Finite,
  startedAt: time,
  /** The address of the viewer. */
  viewer: Schema.optionalKey(Schema.String),
  /** Why it passes the cache, such as `DISK_FULL`. */
  detail: Schema.optionalKey(Schema.String)
})
export type RunningStream = typeof RunningStream.Type

/**
 * A resource of which something is cached, or that is pinned.
 *
 * @since 0.1.0
 * @category models
 */
export const ResourceSummary = Schema.Struct({
  url: Schema.String,
  resource: Schema.String,
  /** The status of a stored response that is not the file: a redirect or an error. */
  status: Schema.optionalKey(count),
  size: bytes,
  cachedBytes: bytes,
  chunks: Schema.Struct({ cached: count, total: count }),
  pinned: Schema.Boolean,
  lastUsed: Schema.optionalKey(time),
  fresh: Schema.Boolean,
  expiresAt: Schema.optionalKey(time),
  contentType: Schema.optionalKey(Schema.String),
  etag: Schema.optionalKey(Schema.String)
})
export type ResourceSummary = typeof ResourceSummary.Type

const map = {
  url: Schema.String,
  resource: Schema.String,
  size: bytes,
  chunkSize: bytes,
  /** What is cached, in order, neighbours as one. */
  ranges: Schema.Array(Schema.Struct({ start: bytes, end: bytes })),
  streams: Schema.Array(Schema.Struct({ position: bytes }))
}

/** Which parts of a resource are cached, and where its streams are. */
export const ResourceMap = Schema.Struct(map)
export type ResourceMap = typeof ResourceMap.Type

/**
 * All that is known of a resource; `headers` are the origin's.
 *
 * @since 0.1.0
 * @category models
 */
export const ResourceDetail = Schema.Struct({
  ...ResourceSummary.fields,
  ...map,
  headers: Schema.Record(Schema.String, Schema.String),
  storedAt: Schema.optionalKey(time)
})
export type ResourceDetail = typeof ResourceDetail.Type

/**
 * Whether a URL is cached, whether it would be, and why not. `code` is for programs, `message` for people.
 *
 * @since 0.1.0
 * @category models
 */
export const Why = Schema.Struct({
  url: Schema.String,
  cached: Schema.Literals(["whole", "partly", "no"]),
  cachedBytes: Schema.optionalKey(bytes),
  size: Schema.optionalKey(bytes),
  /** Whether the origin's answer may be kept. */
  storable: Schema.Boolean,
  reasons: Schema.Array(Schema.Struct({ code: Schema.String, message: Schema.String })),
  /** `source` is the field or rule that says how long it is fresh. */
  freshness: Schema.optionalKey(Schema.Struct({
    fresh: Schema.Boolean,
    ageSeconds: seconds,
    ttlSeconds: seconds,
    source: Schema.String
  })),
  store: Schema.Struct({ usable: Schema.Boolean, error: Schema.optionalKey(Schema.String) }),
  /** Whether the origin answers a request for a range with the range. */
  rangeSupport: Schema.optionalKey(Schema.Boolean),
  advice: Schema.Array(Schema.String)
})
export type Why = typeof Why.Type

/** Only ended freshness: what is stored counts as stale. */
const soft = { soft: Schema.optionalKey(Schema.Boolean) }

/**
 * What is out of date from now on: one URL, all whose URL begins with a text, all with a tag in `Surrogate-Key` or `Cache-Tag`, or everything.
 * With `soft`, it counts as stale; otherwise, it is never served again.
 *
 * @since 0.1.0
 * @category models
 */
export const PurgeRequest = Schema.Union([
  Schema.Struct({ url: Schema.String, ...soft }),
  Schema.Struct({ prefix: Schema.NonEmptyString, ...soft }),
  Schema.Struct({ tag: Schema.NonEmptyString.check(Schema.isMaxLength(MAX_TAG_LENGTH)), ...soft }),
  Schema.Struct({ all: Schema.Literal(true), ...soft })
])
export type PurgeRequest = typeof PurgeRequest.Type

/**
 * A purge that is in effect. Its files are removed in the background.
 *
 * @since 0.1.0
 * @category models
 */
export const Purged = Schema.Struct({
  /** Names it in `/purges`. */
  id: Schema.String,
  /** In a fleet: the nodes that have done it. */
  nodes: Schema.optionalKey(Schema.Array(Schema.String)),
  /** In a fleet: the nodes that have not confirmed it in time, and will do it when they respond. */
  missing: Schema.optionalKey(Schema.Array(Schema.String))
})
export type Purged = typeof Purged.Type

/**
 * A purge, or a request that has changed all below a URL (`tree`), and what has been removed for it on this server so far.
 *
 * @since 0.1.0
 * @category models
 */
export const PurgeState = Schema.Struct({
  id: Schema.String,
  url: Schema.optionalKey(Schema.String),
  prefix: Schema.optionalKey(Schema.String),
  tag: Schema.optionalKey(Schema.String),
  tree: Schema.optionalKey(Schema.String),
  soft: Schema.Boolean,
  state: Schema.Literals(["waiting", "running", "done"]),
  resources: count,
  bytes
})
export type PurgeState = typeof PurgeState.Type

/** A URL as it is at the origin. */
export const UrlRequest = Schema.Struct({ url: Schema.String })
export type UrlRequest = typeof UrlRequest.Type

/**
 * A file that is being fetched ahead. `bytes` is how far it is, `cachedBytes` how much of that was there already. A playlist has `files`, the
 * numbers of files that it and the playlists in it name, as far as they are known; then `bytes` are those of all of them, and there is no `size`.
 *
 * @since 0.1.0
 * @category models
 */
export const WarmJob = Schema.Struct({
  id: Schema.String,
  url: Schema.String,
  state: Schema.Literals(["waiting", "running", "done", "failed", "cancelled"]),
  files: Schema.optionalKey(Schema.Struct({ total: count, done: count, failed: count })),
  size: Schema.optionalKey(bytes),
  bytes,
  cachedBytes: bytes,
  bytesPerSecond: Schema.Finite,
  secondsLeft: Schema.optionalKey(seconds),
  error: Schema.optionalKey(Schema.String)
})
export type WarmJob = typeof WarmJob.Type

/** The traffic in the time before `at`. `firstByte` has the median and the 95th percentile, and is missing without responses. */
export const TrafficSample = Schema.Struct({
  at: time,
  /** Body bytes per second to viewers, by where they came from. */
  bytesPerSecond: Schema.Struct({ memory: bytes, disk: bytes, peer: bytes, origin: bytes, passthrough: bytes }),
  responsesPerSecond: Schema.Finite,
  /** Responses with a status of 500 or above. */
  errorsPerSecond: Schema.Finite,
  firstByte: Schema.optionalKey(Schema.Struct({ p50: seconds, p95: seconds })),
  /** The state of the cache at the end. */
  cache: Schema.Literals(["usable", "unusable"])
})
export type TrafficSample = typeof TrafficSample.Type

/**
 * A failure of the disk or of an origin. `kind` is the tag of the error, `errno` the code of its cause (`ECONNREFUSED`,
 * `CERT_HAS_EXPIRED`), `advice` what the operator can do; `recoveredAt` is there once it has passed.
 */
export const Failure = Schema.Struct({
  at: time,
  kind: Schema.String,
  errno: Schema.optionalKey(Schema.String),
  operation: Schema.optionalKey(Schema.String),
  message: Schema.String,
  advice: Schema.optionalKey(Schema.String),
  recoveredAt: Schema.optionalKey(time),
  url: Schema.optionalKey(Schema.String)
})
export type Failure = typeof Failure.Type

/** All that changes from second to second. `resources` are those that are being streamed, `failures` the newest first. */
export const Snapshot = Schema.Struct({
  status: Status,
  /** The traffic of the last minute. */
  lastMinute: TrafficSample,
  streams: Schema.Array(RunningStream),
  failures: Schema.Array(Failure),
  totals: Totals,
  resources: Schema.Array(ResourceMap),
  /** In a fleet only. The reports of other nodes are a few seconds old. */
  fleet: Schema.optionalKey(FleetView)
})
export type Snapshot = typeof Snapshot.Type

/** What a reload has done. `restart` has the changed options that have an effect after a restart only. */
export const Reloaded = Schema.Struct({ routes: count, restart: Schema.Array(Schema.String) })

/** Where a value comes from: `argument` is the origin on the command line, `code` the application that embeds Spillway. */
const source = Schema.Literals(["default", "file", "variable", "flag", "argument", "code"])

/** The texts of a value, as a configuration file has them: none if there is no value, several for a list, `(secret)` for a secret. */
const values = Schema.Array(Schema.String)

/** An option, by the name of its flag without the dashes. */
export const EffectiveOption = Schema.Struct({
  name: Schema.String,
  values,
  source,
  /** What the file says now, if that has an effect after a restart only. */
  afterRestart: Schema.optionalKey(Schema.Struct({ values, source }))
})
export type EffectiveOption = typeof EffectiveOption.Type

/** The keys that the section of a route has; names of inner tables have dots. */
const keys = Schema.Array(Schema.Struct({ name: Schema.String, values }))

/** A route. All keys that are not listed have their defaults. */
export const EffectiveRoute = Schema.Struct({
  /** A path, a host, or `*` for all requests. */
  match: Schema.String,
  source,
  origins: Schema.Array(Schema.Struct({ url: Schema.String, keys })),
  keys
})
export type EffectiveRoute = typeof EffectiveRoute.Type

/**
 * What is in effect now. Routes are in the order in which they are tried if several match equally well. Both lists are empty if an
 * application has provided the services of options itself.
 */
export const EffectiveConfig = Schema.Struct({
  /** The configuration file, and when it was read last. */
  file: Schema.optionalKey(Schema.Struct({ path: Schema.String, readAt: time })),
  options: Schema.Array(EffectiveOption),
  routes: Schema.Array(EffectiveRoute)
})
export type EffectiveConfig = typeof EffectiveConfig.Type
