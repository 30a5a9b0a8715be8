import { Effect, Layer } from "effect"
import { CacheIndex } from "../cache/CacheIndex.ts"
import { ChunkWriter } from "../cache/ChunkWriter.ts"
import { MemoryTier, together } from "../cache/MemoryTier.ts"
import { CacheConfig } from "../config/CacheConfig.ts"
import { Counters } from "../observe/Counters.ts"
import * as Metrics from "../observe/pullMetrics.ts"
import { Workers } from "../observe/Workers.ts"

/** Metrics of what services tell anyway. Each of the other metrics is where what it counts is. */
export const layer: Layer.Layer<never, never, CacheConfig | CacheIndex | MemoryTier | ChunkWriter | Counters> = Layer
  .effectDiscard(Effect.gen(function*() {
    const { maxSize } = yield* CacheConfig
    const index = yield* CacheIndex
    const memory = yield* MemoryTier
    const writer = yield* ChunkWriter
    const { totals } = yield* Counters
    const workers = yield* Workers
    const inMemory = () => together(memory.usage(), workers.usage().memory)

    for (const outcome of ["hit", "miss", "partial", "stale", "bypass", "other"] as const) {
      const requests = "Requests of viewers for files, by what the cache did for them"
      yield* Metrics.counter("spillway_requests_total", requests, () => totals().requests[outcome], { outcome })
    }
    for (const source of ["memory", "disk", "origin", "passthrough"] as const) {
      const bytes = "Body bytes that left for viewers, by where they came from"
      yield* Metrics.counter("spillway_sent_bytes_total", bytes, () => totals().bytes[source], { source })
    }
    yield* Metrics.counter(
      "spillway_origin_received_bytes_total",
      "Body bytes that came from origins",
      () => totals().originBytes
    )
    yield* Metrics.counter(
      "spillway_coalesced_viewers_total",
      "Viewers who joined the transfer of another",
      () => totals().coalesced
    )
    yield* Metrics.counter(
      "spillway_dropped_chunks_total",
      "Finished chunks that were not written: too many waited, or the disk could not be used",
      () => totals().droppedChunks
    )
    yield* Metrics.gauge("spillway_cache_bytes", "What the cache takes of the disk", index.bytes)
    yield* Metrics.gauge("spillway_cache_max_bytes", "What it may take", () => maxSize)
    yield* Metrics.gauge("spillway_memory_bytes", "Bytes of chunks in memory", () => inMemory().bytes)
    yield* Metrics.gauge("spillway_memory_chunks", "Chunks in memory", () => inMemory().chunks)
    yield* Metrics.counter("spillway_memory_hits_total", "Chunks found in memory", () => inMemory().hits)
    yield* Metrics.gauge("spillway_backlog_bytes", "Bytes that wait to be written", () => writer.backlog().bytes)
    yield* Metrics.gauge("spillway_backlog_max_bytes", "How many may wait", () => writer.backlog().maxBytes)
  }))
