import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Layer, Logger, Ref, Stream } from "effect"
import { TestClock } from "effect/testing"
import { make as makeResource } from "../../src/domain/Resource.ts"
import { CacheIndex } from "../../src/services/cache/CacheIndex.ts"
import { ChunkWriter } from "../../src/services/cache/ChunkWriter.ts"
import { ROOT_BYTES } from "../../src/services/disk/blocks.ts"
import { bytesOnDisk, MANIFEST_BYTES } from "../../src/services/disk/ChunkStore.ts"
import { DiskBreaker } from "../../src/services/disk/DiskBreaker.ts"
import { DiskMonitor } from "../../src/services/disk/DiskMonitor.ts"
import { type Media, MediaStream } from "../../src/services/media/MediaStream.ts"
import { Faults } from "../../src/testing/FaultyFileSystem.ts"
import { MemoryOrigin } from "../../src/testing/MemoryOrigin.ts"
import { PATIENCE_MILLIS } from "../support/patience.ts"
import { CHUNK, Knob, stack, view } from "../support/stack.ts"
import { randomBytes, sha256 } from "../support/TestOrigin.ts"

const urlOf = (name: string) => `http://origin.test/${name}`

/** A file of `chunks` chunks at the origin. */
const put = Effect.fnUntraced(function*(name: string, chunks: number) {
  const origin = yield* MemoryOrigin
  const bytes = randomBytes(chunks * CHUNK, name.length + name.charCodeAt(0))
  origin.files.set(urlOf(name), { bytes, etag: `"${name}"`, headers: { "cache-control": "max-age=3600" } })
  return sha256(bytes)
})

/** Views a file, checks the bytes, waits until it is kept or given up, and tells what was said of the response. */
const watch = Effect.fnUntraced(function*(name: string, hash: string) {
  const { bytes, status } = yield* view(urlOf(name))
  assert.strictEqual(sha256(bytes), hash)
  yield* (yield* ChunkWriter).idle
  const { key: _, ttl: _1, ...told } = status
  return told
})

const adjust = (free: number) => Effect.flatMap(Knob, (knob) => Ref.update(knob, (usage) => ({ ...usage, free })))

/** Lets time pass until `condition` holds; the disk is real, and takes real time too. */
const until = (condition: () => boolean) =>
  Effect.gen(function*() {
    const deadline = performance.now() + PATIENCE_MILLIS
    while (performance.now() < deadline && !condition()) {
      yield* TestClock.adjust("100 millis")
      yield* Effect.promise(() => new Promise(setImmediate))
    }
    assert.isTrue(condition())
  })

const perFile = (chunks: number) => chunks * bytesOnDisk(CHUNK) + MANIFEST_BYTES

describe("max-size", () => {
  it.effect("is never exceeded, and the least recently used chunks go first", () =>
    Effect.gen(function*() {
      const index = yield* CacheIndex
      const [a, b, c] = [yield* put("a", 2), yield* put("bb", 2), yield* put("ccc", 2)]
      yield* watch("a", a)
      yield* watch("bb", b)
      yield* watch("a", a)
      yield* watch("ccc", c)
      assert.isAtMost(index.bytes(), perFile(2) * 2)
      assert.deepStrictEqual(yield* watch("a", a), { hit: true })
      assert.deepStrictEqual(yield* watch("ccc", c), { hit: true })
      assert.strictEqual((yield* watch("bb", b)).fwd, "miss")
      assert.isAtMost(index.bytes(), perFile(2) * 2)
    }).pipe(Effect.provide(stack("faulty", { maxSize: perFile(2) * 2 + ROOT_BYTES }))))

  it.effect("does not prevent a larger file from streaming, and some of it is cached", () =>
    Effect.gen(function*() {
      const index = yield* CacheIndex
      const hash = yield* put("large", 12)
      yield* watch("large", hash)
      assert.isAbove(index.bytes(), 3 * CHUNK)
      assert.isAtMost(index.bytes(), perFile(4))
      yield* watch("large", hash)
    }).pipe(Effect.provide(stack("faulty", { maxSize: perFile(4) + ROOT_BYTES }))))
})

describe("min-free", () => {
  it.effect("is kept free, the stream continues, and caching resumes when there is room", () =>
    Effect.gen(function*() {
      const breaker = yield* DiskBreaker
      const [a, b] = [yield* put("a", 3), yield* put("bb", 3)]
      yield* adjust(1e6)
      yield* watch("a", a)
      assert.strictEqual(breaker.unwritable()?._tag, "DiskFull")
      assert.deepStrictEqual(yield* watch("bb", b), { fwd: "bypass", detail: "DISK_FULL" })
      yield* adjust(1e9)
      yield* until(() => breaker.unwritable() === undefined)
      assert.strictEqual((yield* watch("bb", b)).stored, true)
      assert.deepStrictEqual(yield* watch("bb", b), { hit: true })
    }).pipe(Effect.provide(stack("faulty", { minFree: 1e6 }))))

  it.effect("is restored by eviction when others fill the disk", () =>
    Effect.gen(function*() {
      const index = yield* CacheIndex
      yield* watch("a", yield* put("a", 3))
      assert.isAbove(index.bytes(), 0)
      yield* adjust(0)
      yield* until(() => index.bytes() === 0)
    }).pipe(Effect.provide(stack("faulty", { minFree: 1e6 }))))
})

describe("a write that finds the disk full", () => {
  it.effect("evicts and is retried once, and no viewer notices", () =>
    Effect.gen(function*() {
      const breaker = yield* DiskBreaker
      const faults = yield* Faults
      const [a, b] = [yield* put("a", 3), yield* put("bb", 1)]
      yield* watch("a", a)
      yield* faults.add({ operation: "write", fault: "ENOSPC", times: 1, path: (path) => !path.includes("probe") })
      yield* watch("bb", b)
      assert.deepStrictEqual(faults.strikes(), [1])
      assert.isUndefined(breaker.unwritable())
      assert.deepStrictEqual(yield* watch("bb", b), { hit: true })
      assert.notDeepEqual(yield* watch("a", a), { hit: true })
    }).pipe(Effect.provide(stack("faulty", { maxSize: 1e6 }))))

  it.effect("switches to passthrough when the retry fails too", () =>
    Effect.gen(function*() {
      const breaker = yield* DiskBreaker
      const faults = yield* Faults
      yield* watch("a", yield* put("a", 3))
      yield* faults.add({ operation: "write", fault: "EDQUOT" })
      yield* watch("bb", yield* put("bb", 1))
      assert.strictEqual(breaker.unwritable()?.errno, "EDQUOT")
    }).pipe(Effect.provide(stack("faulty", { maxSize: 1e6 }))))
})

describe("permission denied", () => {
  it.effect("evicts nothing, and cached chunks are still served", () =>
    Effect.gen(function*() {
      const faults = yield* Faults
      const breaker = yield* DiskBreaker
      const index = yield* CacheIndex
      const [a, b] = [yield* put("a", 3), yield* put("bb", 3)]
      yield* watch("a", a)
      const before = index.bytes()
      yield* faults.add({ operation: "open", fault: "EROFS", path: (path) => path.endsWith(".tmp") })
      yield* watch("bb", b)
      assert.strictEqual(breaker.unwritable()?._tag, "PermissionDenied")
      assert.strictEqual(index.bytes(), before)
      assert.deepStrictEqual(yield* watch("a", a), { hit: true })
      assert.deepStrictEqual(yield* watch("bb", b), { fwd: "bypass", detail: "PERMISSION_DENIED" })
      yield* faults.clear
      yield* until(() => breaker.unwritable() === undefined)
      yield* watch("bb", b)
      assert.deepStrictEqual(yield* watch("bb", b), { hit: true })
    }).pipe(Effect.provide(stack("faulty"))))
})

describe("what is logged", () => {
  it.effect("is logged once for each cause and change", () => {
    const lines: Array<string> = []
    const Lines = Logger.layer([Logger.make(({ message }) => void lines.push(String(message)))])
    return Effect.gen(function*() {
      const faults = yield* Faults
      const breaker = yield* DiskBreaker
      const states = yield* Effect.forkChild(Stream.runCollect(Stream.take(breaker.changes, 3)))
      const [a, b] = [yield* put("a", 6), yield* put("bb", 6)]
      yield* until(() => true)
      yield* faults.add({ operation: "write", fault: "EIO" })
      yield* watch("a", a)
      yield* watch("bb", b)
      yield* until(() => lines.length > 0)
      yield* faults.clear
      yield* until(() => breaker.unwritable() === undefined)
      assert.deepStrictEqual(lines, ["Cache unusable: streaming from the origin", "Cache usable again"])
      assert.deepStrictEqual((yield* Fiber.join(states)).map(({ _tag }) => _tag), ["Usable", "Failing", "Usable"])
    }).pipe(Effect.provide(Layer.provideMerge(stack("faulty"), Lines)))
  })

  it.effect("is the status of the disk and its changes", () =>
    Effect.gen(function*() {
      const monitor = yield* DiskMonitor
      const seen = yield* Effect.forkChild(Stream.runCollect(Stream.take(monitor.changes, 4)))
      yield* TestClock.adjust(0)
      for (const free of [0.15e12, 0.08e12, 0.01e12]) {
        yield* Effect.flatMap(Knob, (knob) => Ref.set(knob, { free, total: 1e12, freeNodes: 0, totalNodes: 0 }))
        yield* TestClock.adjust("2 seconds")
      }
      assert.deepStrictEqual(yield* Fiber.join(seen), ["Healthy", "Info", "Warning", "Critical"])
    }).pipe(Effect.provide(stack("memory"))))
})

describe("reservations", () => {
  it.effect("count each other, and are released", () =>
    Effect.gen(function*() {
      const monitor = yield* DiskMonitor
      yield* adjust(100)
      yield* Effect.scoped(Effect.gen(function*() {
        yield* monitor.reserve(60)
        assert.strictEqual((yield* Effect.flip(Effect.scoped(monitor.reserve(60))))._tag, "DiskFull")
        yield* monitor.reserve(40)
      }))
      yield* Effect.scoped(monitor.reserve(100))
    }).pipe(Effect.provide(stack("memory"))))

  it.effect("count file nodes as well as bytes", () =>
    Effect.gen(function*() {
      const monitor = yield* DiskMonitor
      yield* Effect.flatMap(Knob, (knob) => Ref.set(knob, { free: 1e9, total: 1e9, freeNodes: 1, totalNodes: 1000 }))
      assert.strictEqual((yield* Effect.flip(Effect.scoped(monitor.reserve(60))))._tag, "DiskFull")
    }).pipe(Effect.provide(stack("memory"))))
})

describe("file nodes", () => {
  it.effect("are restored by eviction, directories included, when others take them", () =>
    Effect.gen(function*() {
      const index = yield* CacheIndex
      for (const name of ["a", "bb", "ccc"]) yield* watch(name, yield* put(name, 1))
      const nodes = index.nodes()
      assert.isAtLeast(nodes, 10)
      // Of 512, 8 are kept free, and a write takes 4.
      yield* Effect.flatMap(Knob, (knob) => Ref.update(knob, (usage) => ({ ...usage, freeNodes: 9, totalNodes: 512 })))
      const monitor = yield* DiskMonitor
      yield* until(() => index.resources().length < 3)
      assert.strictEqual(monitor.status(), "Critical")
      assert.isAtMost(index.nodes(), nodes - 3)
    }).pipe(Effect.provide(stack("faulty"))))

  it.effect("are kept free like bytes", () =>
    Effect.gen(function*() {
      const monitor = yield* DiskMonitor
      const set = (freeNodes: number) =>
        Effect.flatMap(Knob, (knob) => Ref.update(knob, (usage) => ({ ...usage, freeNodes, totalNodes: 512 })))
      yield* set(12)
      yield* Effect.scoped(monitor.reserve(60))
      yield* set(11)
      assert.strictEqual((yield* Effect.flip(Effect.scoped(monitor.reserve(60))))._tag, "DiskFull")
    }).pipe(Effect.provide(stack("memory"))))
})

describe("on a dead disk", () => {
  it.effect("viewers at the same position share one transfer, even without a memory tier", () =>
    Effect.gen(function*() {
      const faults = yield* Faults
      const health = yield* DiskBreaker
      const origin = yield* MemoryOrigin
      yield* faults.add({ operation: "open", fault: "EIO" })
      yield* put("first", 2)
      yield* view(urlOf("first"))
      yield* until(() => health.unwritable() !== undefined)
      const hash = yield* put("film", 40)
      origin.requests.length = 0
      const views = yield* Effect.all(Array.from({ length: 50 }, () => view(urlOf("film"))), {
        concurrency: "unbounded"
      })
      for (const { bytes } of views) assert.strictEqual(sha256(bytes), hash)
      const sent = origin.requests.reduce((sum, request) => sum + request.sent, 0)
      assert.isAtMost(sent, 1.05 * 40 * CHUNK)
    }).pipe(Effect.provide(stack("faulty"))))

  it.effect("a running stream returns to the cache when the disk recovers", () =>
    Effect.gen(function*() {
      const faults = yield* Faults
      const health = yield* DiskBreaker
      const index = yield* CacheIndex
      const media = yield* MediaStream
      const hash = yield* put("film", 60)
      yield* faults.add({ operation: "write", fault: "EROFS" })
      const opened = yield* media.open({ resource: makeResource(urlOf("film")) })
      assert.strictEqual(opened._tag, "Media")
      const [part] = (opened as Media).parts
      const body = yield* part!.bytes
      assert(!(body instanceof Uint8Array))
      let seen = 0
      const bytes = yield* Stream.mkUint8Array(Stream.tap(body, (piece) =>
        Effect.gen(function*() {
          const before = seen
          seen += piece.length
          if (before >= 10 * CHUNK || seen < 10 * CHUNK) return
          yield* until(() => health.unwritable()?._tag === "PermissionDenied")
          assert.strictEqual(index.count(), 0)
          yield* faults.clear
          yield* until(() => health.unwritable() === undefined)
        })))
      assert.strictEqual(sha256(bytes), hash)
      yield* (yield* ChunkWriter).idle
      // All but what had passed, or was under way, when the disk came back.
      assert.isAbove(index.count(), 25)
    }).pipe(Effect.scoped, Effect.provide(stack("faulty"))))
})
