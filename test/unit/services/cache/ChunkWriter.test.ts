import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Layer, Metric } from "effect"
import { ANONYMOUS } from "../../../../src/domain/Asker.ts"
import { IoError } from "../../../../src/domain/CacheError.ts"
import type { ChunkKey } from "../../../../src/domain/Chunk.ts"
import { fromHead, type Representation } from "../../../../src/domain/Representation.ts"
import { make as makeResource } from "../../../../src/domain/Resource.ts"
import { ReusedBuffers } from "../../../../src/effects/ReusedBuffers.ts"
import { CacheIndex } from "../../../../src/services/cache/CacheIndex.ts"
import { Catalog } from "../../../../src/services/cache/Catalog.ts"
import { ChunkCache } from "../../../../src/services/cache/ChunkCache.ts"
import { ChunkMemory } from "../../../../src/services/cache/ChunkMemory.ts"
import { ChunkWriter } from "../../../../src/services/cache/ChunkWriter.ts"
import { IndexScan } from "../../../../src/services/cache/IndexScan.ts"
import { MemoryTier } from "../../../../src/services/cache/MemoryTier.ts"
import { ChunkStore } from "../../../../src/services/disk/ChunkStore.ts"
import { DiskBreaker } from "../../../../src/services/disk/DiskBreaker.ts"
import { Counters } from "../../../../src/services/observe/Counters.ts"
import { Faults } from "../../../../src/testing/FaultyFileSystem.ts"
import { MemoryDisk } from "../../../../src/testing/MemoryFileSystem.ts"
import { CHUNK, restartable, stack, World } from "../../../support/stack.ts"
import { ticking } from "../../../support/ticking.ts"

const payload = new Uint8Array(CHUNK).fill(7)

/** The current representation of a film that has 4000 chunks, by what the origin answered last. */
const confirm = (etag = "\"1\"", name = "film") =>
  Effect.map(Catalog, (catalog) => {
    const headers = { "content-length": String(4000 * CHUNK), etag }
    const resource = makeResource(`http://origin.test/${name}`)
    const representation = fromHead(resource, { status: 200, headers }, CHUNK) as Representation
    return catalog.confirm(representation, headers, { requested: 0, received: 0 }, ANONYMOUS).representation
  })

const keyOf = ({ id, resource }: Representation, index: number): ChunkKey => ({ resource, representation: id, index })

const started = ticking(IndexScan.use((_) => _.loaded))
const idle = ticking(ChunkWriter.use((_) => _.idle))

const dropped = Effect.map(Counters, (counters) => counters.totals().droppedChunks)

/** How many writes were tried again, by outcome. */
const retries = Effect.map(
  Metric.snapshot,
  (all) =>
    all.filter(({ id }) => id === "spillway_write_retries_total").map(({ attributes, state }) => [
      attributes?.["outcome"],
      (state as { readonly count: number | bigint }).count
    ])
)

describe("ChunkWriter", () => {
  it.effect("returns at once, and writes in the background", () =>
    Effect.gen(function*() {
      yield* started
      const film = yield* confirm()
      const index = yield* CacheIndex
      const writer = yield* ChunkWriter
      const key = keyOf(film, 0)
      assert.isTrue(writer.offer(film, key, payload))
      assert.strictEqual(writer.pending(key), payload)
      assert.strictEqual(writer.firstMissing(key), 1)
      assert.isFalse(index.has(key))
      yield* idle
      assert.isUndefined(writer.pending(key))
      assert.isTrue(index.has(key))
      assert.isTrue(index.hasManifest(film.resource))
      const store = yield* ChunkStore
      assert.deepStrictEqual(new Uint8Array(yield* ticking(store.read(key, CHUNK, { start: 0, end: CHUNK }))), payload)
      assert.strictEqual(writer.backlog().bytes, 0)
    }).pipe(Effect.provide(stack("faulty"))))

  it.effect("holds a chunk until it is written, and leaves one to nobody that the disk may still read", () => {
    const memory = new ReusedBuffers(1)
    return Effect.gen(function*() {
      yield* started
      const faults = yield* Faults
      const film = yield* confirm()
      const writer = yield* ChunkWriter
      const isUsedAgain = Effect.fnUntraced(function*(index: number) {
        const bytes = memory.take(CHUNK)
        writer.offer(film, keyOf(film, index), bytes)
        memory.release(bytes)
        assert.notStrictEqual(memory.take(CHUNK).buffer, bytes.buffer)
        yield* idle
        return memory.take(CHUNK).buffer === bytes.buffer
      })
      assert.isTrue(yield* isUsedAgain(0))
      yield* faults.add({ operation: "write", fault: "EIO" })
      assert.isFalse(yield* isUsedAgain(1))
    }).pipe(Effect.provide(stack("faulty")), Effect.provideService(ChunkMemory, memory))
  })

  it.effect("waits for the scan, and takes chunks meanwhile", () =>
    Effect.gen(function*() {
      const film = yield* confirm()
      const writer = yield* ChunkWriter
      assert.isFalse((yield* IndexScan).isLoaded())
      assert.isTrue(writer.offer(film, keyOf(film, 0), payload))
      yield* idle
      assert.isTrue((yield* CacheIndex).has(keyOf(film, 0)))
    }).pipe(Effect.provide(stack("faulty"))))

  it.effect("writes a chunk that is offered twice once", () =>
    Effect.gen(function*() {
      yield* started
      const film = yield* confirm()
      const writer = yield* ChunkWriter
      writer.offer(film, keyOf(film, 0), payload)
      const { bytes } = writer.backlog()
      assert.isTrue(writer.offer(film, keyOf(film, 0), payload))
      assert.strictEqual(writer.backlog().bytes, bytes)
      yield* idle
      assert.strictEqual(yield* dropped, 0)
    }).pipe(Effect.provide(stack("faulty"))))

  it.effect("drops chunks beyond its bound", () =>
    Effect.gen(function*() {
      yield* started
      const film = yield* confirm()
      const writer = yield* ChunkWriter
      const taken = Array.from({ length: 4000 }, (_, i) => writer.offer(film, keyOf(film, i), payload))
      const { bytes, maxBytes } = writer.backlog()
      assert.isAtMost(bytes, maxBytes)
      assert.isAbove(bytes, maxBytes / 2)
      assert.isTrue(writer.isBehind())
      const refused = taken.filter((isTaken) => !isTaken).length
      assert.isAbove(refused, 0)
      assert.strictEqual(yield* dropped, refused)
    }).pipe(Effect.provide(stack("memory"))))

  it.effect("writes chunks that found no room when there is room, if they are in memory", () =>
    Effect.gen(function*() {
      yield* started
      const film = yield* confirm()
      const index = yield* CacheIndex
      const memory = yield* MemoryTier
      const cache = yield* ChunkCache
      const breaker = yield* DiskBreaker
      const writer = yield* ChunkWriter
      const count = 3000
      for (let i = 0; i < count; i++) {
        if (i !== count - 1) memory.put(keyOf(film, i), payload)
        assert.strictEqual(writer.offer(film, keyOf(film, i), payload), i !== count - 1)
      }
      assert.isFalse(cache.isStoring(film, 0))
      assert.isUndefined(writer.pending(keyOf(film, count - 2)))
      // What memory has evicted by then can't be written.
      memory.remove(keyOf(film, count - 2))
      yield* idle
      assert.strictEqual(index.firstMissing(keyOf(film, 0)), count - 2)
      assert.strictEqual(yield* dropped, 2)
      assert.isTrue(cache.isStoring(film, 0))
      yield* breaker.open(new IoError({ errno: "EIO", operation: "write", path: "/cache" }))
      assert.isFalse(cache.isStoring(film, 0))
    }).pipe(Effect.provide(stack("memory", { memory: 1e9 }))))

  it.effect("lets one file's chunks be waited for while a write of another file hangs", () =>
    Effect.gen(function*() {
      const [film, other, third] = [
        yield* confirm(),
        yield* confirm("\"1\"", "other"),
        yield* confirm("\"1\"", "third")
      ]
      const index = yield* CacheIndex
      const writer = yield* ChunkWriter
      const faults = yield* Faults
      yield* faults.add({
        operation: "write",
        fault: "hang",
        path: (path) => path.includes(`${other.resource}/${other.id}`)
      })
      // Before the scan has ended, all of them get into one group.
      for (const [representation, count] of [[other, 1], [film, 3]] as const) {
        for (let i = 0; i < count; i++) writer.offer(representation, keyOf(representation, i), payload)
      }
      const waits = [yield* Effect.forkChild(writer.settled(film)), yield* Effect.forkChild(writer.settled(film))]
      yield* Effect.yieldNow
      assert.deepStrictEqual(waits.map((fiber) => fiber.pollUnsafe()), [undefined, undefined])
      yield* started
      yield* Fiber.joinAll(waits)
      assert.deepStrictEqual([0, 1, 2].map((i) => index.has(keyOf(film, i))), [true, true, true])
      assert.isDefined(writer.pending(keyOf(other, 0)))
      // Nothing of this one waits.
      yield* writer.settled(third)
      yield* faults.clear
      yield* writer.settled(other)
      assert.isTrue(index.has(keyOf(other, 0)))
    }).pipe(Effect.ensuring(Faults.use((_) => _.clear)), Effect.provide(stack("faulty"))))

  it.effect("lets those be waited for that found no room, until they are written or lost", () =>
    Effect.gen(function*() {
      const [film, written, lost] = [
        yield* confirm(),
        yield* confirm("\"1\"", "written"),
        yield* confirm("\"1\"", "lost")
      ]
      const index = yield* CacheIndex
      const memory = yield* MemoryTier
      const writer = yield* ChunkWriter
      const offer = (representation: Representation, i: number) => {
        memory.put(keyOf(representation, i), payload)
        return writer.offer(representation, keyOf(representation, i), payload)
      }
      for (let i = 0; i < 3000; i++) offer(film, i)
      for (const representation of [written, lost]) {
        assert.isTrue(offer(representation, 0))
        assert.isUndefined(writer.pending(keyOf(representation, 0)))
      }
      memory.remove(keyOf(lost, 0))
      const waits = yield* Effect.forEach([written, lost], (each) => Effect.forkChild(writer.settled(each)))
      yield* Effect.yieldNow
      assert.deepStrictEqual(waits.map((fiber) => fiber.pollUnsafe()), [undefined, undefined])
      yield* started
      yield* idle
      yield* Fiber.joinAll(waits)
      assert.deepStrictEqual([written, lost].map((each) => index.has(keyOf(each, 0))), [true, false])
    }).pipe(Effect.provide(stack("memory", { memory: 1e9 }))))

  it.effect("forgets chunks that found no room when the disk fails", () =>
    Effect.gen(function*() {
      const film = yield* confirm()
      const memory = yield* MemoryTier
      const writer = yield* ChunkWriter
      const breaker = yield* DiskBreaker
      for (let i = 0; i < 3000; i++) {
        memory.put(keyOf(film, i), payload)
        writer.offer(film, keyOf(film, i), payload)
      }
      const wait = yield* Effect.forkChild(writer.settled(film))
      yield* breaker.open(new IoError({ errno: "EIO", operation: "write", path: "/cache" }))
      yield* started
      yield* idle
      yield* Fiber.join(wait)
      assert.strictEqual(yield* dropped, 3000)
    }).pipe(Effect.provide(stack("memory", { memory: 1e9 }))))

  it.effect("cleans up when the disk is full, and writes the chunk then", () =>
    Effect.gen(function*() {
      yield* started
      const [film, other] = [yield* confirm(), yield* confirm("\"1\"", "other")]
      const index = yield* CacheIndex
      const writer = yield* ChunkWriter
      writer.offer(other, keyOf(other, 0), payload)
      yield* idle
      const faults = yield* Faults
      yield* faults.add({
        operation: "write",
        fault: "ENOSPC",
        path: (path) => path.includes(`${film.resource}/${film.id}`),
        times: 1
      })
      writer.offer(film, keyOf(film, 0), payload)
      yield* idle
      assert.deepStrictEqual(faults.strikes(), [1])
      assert.deepStrictEqual([index.has(keyOf(other, 0)), index.has(keyOf(film, 0))], [false, true])
      assert.strictEqual(yield* dropped, 0)
      assert.deepInclude(yield* retries, ["won", 1])
      assert.isUndefined((yield* DiskBreaker).unwritable())
    }).pipe(Effect.provide(stack("faulty"))))

  it.effect("drops the chunk, and opens the breaker, when the disk is full and there is nothing to evict", () =>
    Effect.gen(function*() {
      yield* started
      const film = yield* confirm()
      const writer = yield* ChunkWriter
      const faults = yield* Faults
      yield* faults.add({ operation: "write", fault: "ENOSPC" })
      writer.offer(film, keyOf(film, 0), payload)
      yield* idle
      assert.strictEqual((yield* DiskBreaker).unwritable()?.errno, "ENOSPC")
      assert.strictEqual(yield* dropped, 1)
      // Nobody waits for a disk that cannot be written to.
      assert.isFalse(writer.offer(film, keyOf(film, 1), payload))
      assert.strictEqual(yield* dropped, 2)
    }).pipe(Effect.provide(stack("faulty"))))

  it.effect("drops what waits behind writes that hang when the breaker opens", () =>
    Effect.gen(function*() {
      yield* started
      const film = yield* confirm()
      const breaker = yield* DiskBreaker
      const writer = yield* ChunkWriter
      const faults = yield* Faults
      yield* faults.add({
        operation: "write",
        fault: "hang",
        path: (path) => path.includes(`${film.resource}/${film.id}`)
      })
      const offered = 300
      for (let i = 0; i < offered; i++) writer.offer(film, keyOf(film, i), payload)
      yield* ticking(Effect.sleep("20 seconds"))
      assert.strictEqual(breaker.unwritable()?.errno, "TIMEOUT")
      // The store has these. It may still write them.
      const pending = Array.from({ length: offered }, (_, i) => i).filter((i) =>
        writer.pending(keyOf(film, i)) !== undefined
      )
      assert.deepStrictEqual(pending, Array.from({ length: 128 }, (_, i) => i))
      assert.strictEqual(yield* dropped, offered - 128)
      yield* faults.clear
      yield* idle
    }).pipe(Effect.provide(stack("faulty"))))

  it.effect("doesn't take a slow disk for one that hangs while room is made for a group", () =>
    Effect.gen(function*() {
      yield* started
      const old = yield* confirm("\"1\"", "old")
      const film = yield* confirm()
      const index = yield* CacheIndex
      const writer = yield* ChunkWriter
      for (let i = 0; i < 250; i++) writer.offer(old, keyOf(old, i), payload)
      yield* idle
      const before = index.bytes()
      const disk = yield* MemoryDisk
      disk.latency = () => 500
      for (let i = 0; i < 16; i++) writer.offer(film, keyOf(film, i), payload)
      yield* ticking(Effect.sleep("8 seconds"))
      // Nothing of the group is written yet.
      assert.isBelow(index.bytes(), before)
      assert.isFalse(index.has(keyOf(film, 0)))
      yield* idle
      disk.latency = undefined
      assert.isUndefined((yield* DiskBreaker).unwritable())
      assert.strictEqual(yield* dropped, 0)
      assert.isTrue(index.has(keyOf(film, 15)))
    }).pipe(Effect.provide(Layer.provideMerge(restartable({ maxSize: 16 * 1024 ** 2 }), World))))

  it.effect("doesn't write a chunk whose representation was superseded while it waited", () =>
    Effect.gen(function*() {
      const film = yield* confirm()
      const writer = yield* ChunkWriter
      writer.offer(film, keyOf(film, 0), payload)
      yield* confirm("\"2\"")
      yield* idle
      assert.isFalse((yield* CacheIndex).hasResource(film.resource))
      assert.strictEqual(yield* dropped, 0)
    }).pipe(Effect.provide(stack("faulty"))))

  it.effect("reports an error that is not about room, and writes the next chunk", () =>
    Effect.gen(function*() {
      yield* started
      const film = yield* confirm()
      const index = yield* CacheIndex
      const writer = yield* ChunkWriter
      const faults = yield* Faults
      yield* faults.add({
        operation: "write",
        fault: "EIO",
        path: (path) => path.includes(`${film.resource}/${film.id}`),
        times: 1
      })
      for (const i of [0, 1]) writer.offer(film, keyOf(film, i), payload)
      yield* idle
      assert.deepStrictEqual([0, 1].map((i) => index.has(keyOf(film, i))), [false, true])
      assert.strictEqual(yield* dropped, 1)
    }).pipe(Effect.provide(stack("faulty"))))

  it.effect("takes nothing while the breaker is open", () =>
    Effect.gen(function*() {
      yield* started
      const film = yield* confirm()
      const breaker = yield* DiskBreaker
      const writer = yield* ChunkWriter
      yield* breaker.open(new IoError({ errno: "EIO", operation: "write", path: "/cache" }))
      assert.isFalse(writer.offer(film, keyOf(film, 0), payload))
      assert.isUndefined(writer.pending(keyOf(film, 0)))
      assert.strictEqual(yield* dropped, 1)
    }).pipe(Effect.provide(stack("memory"))))
})
