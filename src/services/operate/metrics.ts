import { Effect, Layer } from "effect"
import { CacheIndex } from "../cache/CacheIndex.ts"
import { ChunkWriter } from "../cache/ChunkWriter.ts"
import { MemoryTier, together } from "../cache/MemoryTier.ts"
import { CacheConfig } from "../config/CacheConfig.ts"
import { Counters } from "../observe/Counters.ts"
import * as Metrics from "../observe/pullMetrics.ts"
import { WorkerUsage } from "../observe/WorkerUsage.ts"

/** Metrics of values that services provide in any case. Other metrics are defined where they are counted. */
export const layer: Layer.Layer<never, never, CacheConfig | CacheIndex | MemoryTier | ChunkWriter | Counters> = Layer
  .effectDiscard(Effect.gen(function*() {
    const { maxSize } = yield* CacheConfig
    const index = yield* CacheIndex
    const memory = yield* MemoryTier
    const writer = yield* ChunkWriter
    const { totals } = yield* Counters
    const workerUsage = yield* WorkerUsage
    const inMemory = () => together(memory.usage(), workerUsage().memory)

    for (const outcome of ["hit", "miss", "partial", "stale", "bypass", "other"] as const) {
      const requests = "Viewers' requests for files, by the outcome in the cache"
      yield* Metrics.counter("spillway_requests_total", requests, () => totals().requests[outcome], { outcome })
    }
    for (const source of ["memory", "disk", "peer", "origin", "passthrough"] as const) {
      const bytes = "Body bytes sent to viewers, by their source"
      yield* Metrics.counter("spillway_sent_bytes_total", bytes, () => totals().bytes[source], { source })
    }
    yield* Metrics.counter(
      "spillway_origin_received_bytes_total",
      "Body bytes received from origins",
      () => totals().originBytes
    )
    yield* Metrics.counter(
      "spillway_coalesced_viewers_total",
      "Viewers who shared the origin request of another",
      () => totals().coalesced
    )
    yield* Metrics.counter(
      "spillway_dropped_chunks_total",
      "Complete chunks that were not written, because too many were waiting or the disk was unusable",
      () => totals().droppedChunks
    )
    yield* Metrics.gauge("spillway_cache_bytes", "Bytes of the cache on disk", index.bytes)
    yield* Metrics.gauge("spillway_cache_max_bytes", "Bytes that the cache may have on disk", () => maxSize)
    yield* Metrics.gauge("spillway_memory_bytes", "Bytes of chunks in memory", () => inMemory().bytes)
    yield* Metrics.gauge("spillway_memory_chunks", "Chunks in memory", () => inMemory().chunks)
    yield* Metrics.counter("spillway_memory_hits_total", "Chunks found in memory", () => inMemory().hits)
    yield* Metrics.gauge("spillway_backlog_bytes", "Bytes waiting to be written", () => writer.backlog().bytes)
    yield* Metrics.gauge(
      "spillway_backlog_max_bytes",
      "Bytes that may wait to be written",
      () => writer.backlog().maxBytes
    )
  }))
