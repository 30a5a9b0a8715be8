import { Clock, Context, Effect, Layer, Metric } from "effect"
import { type DiskUsage, thresholds } from "../../domain/DiskStatus.ts"
import { CacheIndex } from "../../services/cache/CacheIndex.ts"
import { Catalog } from "../../services/cache/Catalog.ts"
import { ChunkWriter } from "../../services/cache/ChunkWriter.ts"
import { IndexScan } from "../../services/cache/IndexScan.ts"
import { MemoryTier, together } from "../../services/cache/MemoryTier.ts"
import { CacheConfig } from "../../services/config/CacheConfig.ts"
import { DiskBreaker } from "../../services/disk/DiskBreaker.ts"
import { DiskMonitor } from "../../services/disk/DiskMonitor.ts"
import { Fleet } from "../../services/fleet/Fleet.ts"
import { detailOf } from "../../services/media/viewerStream.ts"
import { OriginHealth } from "../../services/mirrors/OriginHealth.ts"
import { ActiveStreams, type Running } from "../../services/observe/ActiveStreams.ts"
import { connections } from "../../services/observe/connections.ts"
import { Counters } from "../../services/observe/Counters.ts"
import { WorkerUsage } from "../../services/observe/WorkerUsage.ts"
import { FailureLog } from "../../services/operate/FailureLog.ts"
import { Inventory } from "../../services/operate/Inventory.ts"
import { TrafficHistory } from "../../services/operate/TrafficHistory.ts"
import { LocalUrls } from "../../services/origin/LocalUrls.ts"
import { version } from "../../version.ts"
import type { CacheStatus, DiskReport, Snapshot, Status } from "./api/model.ts"
import { failureOf, mapOf, optional, originOf, streamOf, time, trafficOf } from "./api/present.ts"

/** What the server is doing, all of it from memory: the disk is not asked, so that one that hangs delays nothing. */
export class StatusReport extends Context.Service<StatusReport, {
  readonly status: Effect.Effect<Status>
  /** The streams that are running. */
  readonly streams: () => ReadonlyArray<Running>
  /** At most `MAX_MAPS` of the resources that are being streamed. Without the nodes of the fleet. */
  readonly snapshot: Effect.Effect<Snapshot>
}>()("spillway/http/admin/StatusReport") {
  static readonly layer: Layer.Layer<
    StatusReport,
    never,
    | ActiveStreams
    | CacheConfig
    | DiskBreaker
    | CacheIndex
    | Catalog
    | DiskMonitor
    | FailureLog
    | IndexScan
    | MemoryTier
    | ChunkWriter
    | LocalUrls
    | Inventory
    | OriginHealth
    | Counters
    | TrafficHistory
  > = Layer.effect(StatusReport, Effect.suspend(() => make))
}

/** How many resources a snapshot has maps of. */
const MAX_MAPS = 24

const passing = (stream: Running, detail: string): Running => ({ ...stream, source: "passthrough", detail })

const make = Effect.gen(function*() {
  const activeStreams = yield* ActiveStreams
  const catalog = yield* Catalog
  const clock = yield* Clock.Clock
  const config = yield* CacheConfig
  const failureLog = yield* FailureLog
  const breaker = yield* DiskBreaker
  const index = yield* CacheIndex
  const scan = yield* IndexScan
  const memory = yield* MemoryTier
  const monitor = yield* DiskMonitor
  const writer = yield* ChunkWriter
  const { servedAt } = yield* LocalUrls
  const inventory = yield* Inventory
  const health = yield* OriginHealth
  const counters = yield* Counters
  const traffic = yield* TrafficHistory
  const workerUsage = yield* WorkerUsage
  const { engine, isEngineUp, peers, self } = yield* Fleet
  const startedAt = clock.currentTimeMillisUnsafe()

  const cacheStatus = (): CacheStatus => {
    const state = breaker.state()
    const held = {
      directory: config.directory,
      bytes: index.bytes(),
      maxBytes: config.maxSize,
      chunkBytes: config.chunkSize,
      chunks: index.count(),
      resources: index.resourceCount(),
      indexed: scan.isLoaded()
    }
    if (state._tag === "Usable") return { state: "usable", ...held }
    const { _tag: error, errno, operation } = state.error
    return { state: "unusable", error, errno, operation, since: time(state.since), ...held }
  }

  const noReading: DiskUsage = { free: 0, total: 0, freeNodes: 0, totalNodes: 0 }

  const diskReport = (): DiskReport => {
    const { free, freeNodes, total, totalNodes } = monitor.latest() ?? noReading
    const { critical, info, warning } = thresholds(total, config.minFree)
    const lines = { info: Math.round(info), warning: Math.round(warning), critical: Math.round(critical) }
    const status = monitor.status().toLowerCase() as DiskReport["status"]
    const nodes = { freeNodes, totalNodes }
    return { status, freeBytes: free, totalBytes: total, minFreeBytes: config.minFree, ...nodes, thresholds: lines }
  }

  const memoryReport = () => {
    const others = workerUsage().memory
    return { ...together(memory.usage(), others), maxBytes: config.memory + others.maxBytes }
  }

  const fleetSummary = (): Status["fleet"] => {
    if (self === undefined) return undefined
    const summary = { here: 0, lost: 0, leaving: 0, different: 0 }
    for (const { state } of peers()) summary[state.toLowerCase() as Lowercase<typeof state>] += 1
    return { node: self.name, engine: { name: engine, up: isEngineUp() }, peers: summary }
  }

  const status = Effect.map(Metric.value(connections), ({ value }): Status => ({
    version,
    startedAt: time(startedAt),
    uptime: (clock.currentTimeMillisUnsafe() - startedAt) / 1000,
    ...optional("listening", servedAt()),
    cache: cacheStatus(),
    memory: memoryReport(),
    disk: diskReport(),
    backlog: writer.backlog(),
    totals: counters.totals(),
    connections: value,
    streams: activeStreams.count(),
    origins: health.report().map(originOf),
    ...optional("fleet", fleetSummary())
  }))

  /** While nothing can be written, what comes from the origin passes through. A stream notices that only at its next chunk. */
  const streams = (): ReadonlyArray<Running> => {
    const streams = activeStreams.streams()
    const error = breaker.unwritable()
    if (error === undefined) return streams
    const detail = detailOf(error)
    return streams.map((stream) => stream.source === "origin" ? passing(stream, detail) : stream)
  }

  const snapshot = Effect.map(status, (status): Snapshot => {
    const running = streams()
    const ids = [...new Set(running.map(({ resource }) => resource))]
    const entries = ids.flatMap((id) => catalog.known(id) ?? []).slice(0, MAX_MAPS)
    return {
      status,
      lastMinute: trafficOf(traffic.lastMinute()),
      streams: running.map(streamOf),
      failures: failureLog.recent().map(failureOf),
      totals: status.totals,
      resources: entries.map((entry) => mapOf(inventory.cached(entry), running))
    }
  })

  return StatusReport.of({ status, streams, snapshot })
})
