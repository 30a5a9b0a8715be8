import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Metric } from "effect"
import { PrometheusMetrics } from "effect/observability"
import { TestClock } from "effect/testing"
import { IoError } from "../../../../src/domain/CacheError.ts"
import type { ChunkKey } from "../../../../src/domain/Chunk.ts"
import { CacheIndex } from "../../../../src/services/cache/CacheIndex.ts"
import { ChunkCache } from "../../../../src/services/cache/ChunkCache.ts"
import { ChunkWriter } from "../../../../src/services/cache/ChunkWriter.ts"
import { ROOT_BYTES } from "../../../../src/services/disk/blocks.ts"
import { bytesOnDisk, MANIFEST_BYTES } from "../../../../src/services/disk/ChunkStore.ts"
import { counter, counters } from "../../../../src/services/observe/pullMetrics.ts"
import { Faults } from "../../../../src/testing/FaultyFileSystem.ts"
import { MemoryOrigin } from "../../../../src/testing/MemoryOrigin.ts"
import { CHUNK, stack, view } from "../../../support/stack.ts"
import { randomBytes } from "../../../support/TestOrigin.ts"
import { ticking } from "../../../support/ticking.ts"

/** Series of this test alone. */
const Registry = Layer.sync(Metric.MetricRegistry, () => new Map())

const alone = (...options: Parameters<typeof stack>) => Layer.provideMerge(stack(...options), Registry)

/** The value of a series as it is scraped. */
const read = (series: string) =>
  Effect.map(PrometheusMetrics.format(), (text) => {
    const line = text.split("\n").find((line) => line.startsWith(`${series} `))
    return line === undefined ? undefined : Number(line.slice(series.length + 1))
  })

const see = Effect.fnUntraced(function*(name: string, chunks: number) {
  const origin = yield* MemoryOrigin
  const url = `http://origin.test/${name}`
  const bytes = randomBytes(chunks * CHUNK, name.length)
  origin.files.set(url, { bytes, etag: `"${name}"`, headers: { "cache-control": "max-age=3600" } })
  yield* view(url)
  yield* (yield* ChunkWriter).idle
})

const perFile = (chunks: number) => chunks * bytesOnDisk(CHUNK) + MANIFEST_BYTES

describe("metrics", () => {
  it.effect("tell how long the cache was in each state, and what passed it meanwhile", () =>
    Effect.gen(function*() {
      const faults = yield* Faults
      yield* TestClock.adjust("10 seconds")
      assert.strictEqual(yield* read("spillway_cache_usable"), 1)
      const rule = { operation: "write", fault: "EIO" } as const
      yield* faults.add(rule)
      yield* see("a", 2)
      // A probe finds out that it is the disk.
      yield* Effect.repeat(read("spillway_cache_usable"), { until: (usable) => usable === 0, times: 10_000 })
      assert.strictEqual(yield* read("spillway_cache_usable"), 0)
      yield* see("bb", 3)
      assert.strictEqual(yield* read("spillway_uncached_bytes_total{errno=\"EIO\"}"), 3 * CHUNK)
      assert.strictEqual(yield* read("spillway_sent_bytes_total{source=\"passthrough\"}"), 3 * CHUNK)
      assert.strictEqual(yield* read("spillway_cache_failures_total{errno=\"EIO\"}"), 1)
      assert.isAtLeast((yield* read("spillway_dropped_chunks_total"))!, 3)
      yield* TestClock.adjust("20 seconds")
      yield* faults.clear
      yield* TestClock.adjust("10 seconds")
      assert.strictEqual(yield* read("spillway_cache_usable"), 1)
      const seconds = (state: string) => read(`spillway_cache_state_seconds_total{state="${state}"}`)
      const broken = (yield* seconds("IoError"))!
      assert.isAtLeast(broken, 20)
      assert.isAtMost(broken, 26)
      assert.approximately((yield* seconds("Usable"))! + broken, 40, 0.001)
      assert.strictEqual(yield* seconds("DiskFull"), 0)
    }).pipe(Effect.provide(alone("faulty"))))

  it.effect("tell of writes that were tried again, and of what was removed for them", () =>
    Effect.gen(function*() {
      const faults = yield* Faults
      yield* see("a", 3)
      const rule = { operation: "write", fault: "ENOSPC", path: (path: string) => !path.includes("probe") } as const
      yield* faults.add({ ...rule, times: 1 })
      yield* see("bb", 1)
      assert.strictEqual(yield* read("spillway_write_retries_total{outcome=\"won\"}"), 1)
      assert.isAtLeast((yield* read("spillway_evictions_total{reason=\"emergency\"}"))!, 1)
      assert.strictEqual(yield* read("spillway_evictions_total{reason=\"room\"}"), 0)
      yield* faults.add(rule)
      yield* see("ccc", 1)
      assert.strictEqual(yield* read("spillway_write_retries_total{outcome=\"lost\"}"), 1)
      assert.strictEqual(yield* read("spillway_write_retries_total{outcome=\"won\"}"), 1)
    }).pipe(Effect.provide(alone("faulty", { maxSize: 1e6 }))))

  it.effect("tell of what is removed in the ordinary course of things", () =>
    Effect.gen(function*() {
      yield* see("a", 2)
      yield* see("bb", 2)
      assert.strictEqual(yield* read("spillway_evictions_total{reason=\"room\"}"), 2)
      assert.strictEqual(yield* read("spillway_cache_bytes"), (yield* CacheIndex).bytes())
      assert.strictEqual(yield* read("spillway_cache_max_bytes"), perFile(2) + ROOT_BYTES)
    }).pipe(Effect.provide(alone("faulty", { maxSize: perFile(2) + ROOT_BYTES }))))

  it.effect("tell of chunks that are not what was written", () =>
    Effect.gen(function*() {
      const faults = yield* Faults
      yield* see("a", 2)
      yield* faults.add({ operation: "open", fault: "ENOENT", path: (path) => path.endsWith(".0"), times: 1 })
      yield* view("http://origin.test/a")
      assert.strictEqual(yield* read("spillway_damaged_chunks_total{errno=\"ENOENT\"}"), 1)
      assert.strictEqual(yield* read("spillway_damaged_chunks_total{errno=\"CORRUPT\"}"), 0)
    }).pipe(Effect.provide(alone("faulty"))))

  it.effect("tell of no damage where an eviction removes a file while it is opened", () =>
    Effect.gen(function*() {
      yield* see("a", 1)
      const cache = yield* ChunkCache
      const index = yield* CacheIndex
      const [key] = [...index.keys()] as [ChunkKey]
      yield* cache.failed(key, new IoError({ errno: "ENOENT", operation: "open", path: "/a.0" }))
      index.remove(key)
      yield* ticking(Effect.sleep("1 second"))
      assert.strictEqual(yield* read("spillway_damaged_chunks_total{errno=\"ENOENT\"}"), 0)
    }).pipe(Effect.provide(alone("faulty"))))

  it.effect("tell what the origin did, and what is in memory", () =>
    Effect.gen(function*() {
      const origin = yield* MemoryOrigin
      origin.behaviour = (_, index) => index === 0 ? { _tag: "Reset", after: CHUNK } : undefined
      const watching = yield* Effect.forkChild(see("a", 2))
      yield* TestClock.adjust("10 seconds")
      yield* Effect.yieldNow
      assert.isDefined(watching.pollUnsafe())
      assert.strictEqual(yield* read("spillway_origin_requests_total{outcome=\"2xx\"}"), 2)
      assert.strictEqual(yield* read("spillway_origin_retries_total"), 1)
      assert.strictEqual(yield* read("spillway_origin_received_bytes_total"), 2 * CHUNK)
      assert.strictEqual(yield* read("spillway_memory_bytes"), 2 * CHUNK)
      assert.strictEqual(yield* read("spillway_memory_chunks"), 2)
      const before = (yield* read("spillway_memory_hits_total"))!
      yield* view("http://origin.test/a")
      assert.isAbove((yield* read("spillway_memory_hits_total"))!, before)
      yield* Effect.flip(view("http://origin.test/none").pipe(Effect.catchDefect((defect) => Effect.fail(defect))))
      assert.strictEqual(yield* read("spillway_origin_requests_total{outcome=\"4xx\"}"), 1)
    }).pipe(Effect.provide(alone("faulty", { memory: 1e6 }))))
})

describe("a metric that is read when somebody asks", () => {
  it.effect("keeps its last value when its scope closes, until another one takes its place", () =>
    Effect.gen(function*() {
      let count = 1
      yield* Effect.scoped(Effect.gen(function*() {
        yield* counter("test_total", "A test", () => count)
        count = 2
        assert.strictEqual(yield* read("test_total"), 2)
      }))
      count = 3
      assert.strictEqual(yield* read("test_total"), 2)
      yield* counter("test_total", "A test", () => count)
      assert.strictEqual(yield* read("test_total"), 3)
    }).pipe(Effect.scoped, Effect.provide(Registry)))

  it.effect("has a bounded number of labels", () =>
    Effect.gen(function*() {
      const count = yield* counters("test_total", "A test", "name", ["a"])
      assert.strictEqual(yield* read("test_total{name=\"a\"}"), 0)
      for (let i = 0; i < 1000; i++) count(`b${i}`, 2)
      count("a")
      assert.strictEqual(yield* read("test_total{name=\"a\"}"), 1)
      assert.strictEqual(yield* read("test_total{name=\"b0\"}"), 2)
      const rest = (yield* read("test_total{name=\"other\"}"))!
      const text = yield* PrometheusMetrics.format()
      assert.strictEqual(text.split("\n").filter((line) => line.startsWith("test_total{")).length, 65)
      assert.strictEqual(rest, 2 * (1000 - 63))
    }).pipe(Effect.scoped, Effect.provide(Registry)))
})
