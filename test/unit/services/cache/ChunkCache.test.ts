import { assert, describe, it } from "@effect/vitest"
import { Effect, FileSystem, Layer } from "effect"
import { DiskBusy, IoError, PermissionDenied } from "../../../../src/domain/CacheError.ts"
import type { ChunkKey } from "../../../../src/domain/Chunk.ts"
import { fromHead, type Representation } from "../../../../src/domain/Representation.ts"
import { make as makeResource } from "../../../../src/domain/Resource.ts"
import { CacheIndex } from "../../../../src/services/cache/CacheIndex.ts"
import { ChunkCache } from "../../../../src/services/cache/ChunkCache.ts"
import { ChunkWriter } from "../../../../src/services/cache/ChunkWriter.ts"
import { IndexScan } from "../../../../src/services/cache/IndexScan.ts"
import { MemoryTier } from "../../../../src/services/cache/MemoryTier.ts"
import { bytesOnDisk, ChunkStore, PART_BYTES } from "../../../../src/services/disk/ChunkStore.ts"
import { DiskBreaker } from "../../../../src/services/disk/DiskBreaker.ts"
import { Fleet } from "../../../../src/services/fleet/Fleet.ts"
import { MemoryDisk } from "../../../../src/testing/MemoryFileSystem.ts"
import { CHUNK, restartable, stack, World } from "../../../support/stack.ts"
import { ticking } from "../../../support/ticking.ts"

const COUNT = 4
const headers = { "content-length": String(COUNT * CHUNK), etag: "\"1\"" }
const film = fromHead(makeResource("http://origin.test/film"), { status: 200, headers }, CHUNK) as Representation
const keyAt = (index: number): ChunkKey => ({ resource: film.resource, representation: film.id, index })
const payloadOf = (index: number) => new Uint8Array(CHUNK).fill(index + 1)

/** Has these chunks on disk, and in the index. */
const onDisk = Effect.fnUntraced(function*(...indices: ReadonlyArray<number>) {
  const index = yield* CacheIndex
  const store = yield* ChunkStore
  yield* ticking(IndexScan.use((_) => _.loaded))
  for (const i of indices) {
    yield* ticking(store.write(keyAt(i), payloadOf(i)))
    index.add(keyAt(i), bytesOnDisk(CHUNK))
  }
})

/** Reads a chunk as a viewer of the whole file does. */
const read = (index: number) =>
  ticking(ChunkCache.use((cache) =>
    cache.isWorthMemory(film, keyAt(index))
      ? cache.read(film, keyAt(index))
      : cache.readRange(film, keyAt(index), { start: 0, end: CHUNK })
  ))

const settle = ticking(Effect.sleep("1 second"))

const ofChunks = (count: number) => ({ memory: count * CHUNK })

describe("ChunkCache.keep", () => {
  it.effect("makes a chunk available at once", () =>
    Effect.gen(function*() {
      const cache = yield* ChunkCache
      const payload = payloadOf(0)
      assert.isFalse(cache.has(keyAt(0)))
      cache.keep(film, keyAt(0), payload)
      assert.isTrue(cache.has(keyAt(0)))
      assert.strictEqual(cache.inMemory(keyAt(0)), payload)
    }).pipe(Effect.provide(stack("memory", ofChunks(1)))))

  it.effect("keeps a chunk available that waits to be written, when memory has no room for it", () =>
    Effect.gen(function*() {
      const cache = yield* ChunkCache
      const payload = payloadOf(0)
      cache.keep(film, keyAt(0), payload)
      assert.isFalse((yield* MemoryTier).has(keyAt(0)))
      assert.isTrue(cache.has(keyAt(0)))
      assert.strictEqual(cache.inMemory(keyAt(0)), payload)
    }).pipe(Effect.provide(stack("memory"))))

  it.effect("writes only what this node of a fleet owns", () =>
    Effect.gen(function*() {
      const cache = yield* ChunkCache
      const writer = yield* ChunkWriter
      for (const index of [0, 1]) cache.keep(film, keyAt(index), payloadOf(index))
      assert.deepStrictEqual([0, 1].map((index) => cache.isStoring(film, index * CHUNK)), [true, false])
      assert.deepStrictEqual([0, 1].map((index) => writer.pending(keyAt(index)) !== undefined), [true, false])
      assert.isTrue(cache.has(keyAt(1)))
    }).pipe(Effect.provide(Layer.provide(
      stack("memory", ofChunks(2)),
      Layer.effect(Fleet, Effect.map(Fleet, (alone) => ({ ...alone, owns: (_, offset) => offset < CHUNK })))
    ))))
})

describe("ChunkCache.hasAll", () => {
  it.effect("joins chunks in memory and on disk", () =>
    Effect.gen(function*() {
      yield* onDisk(0, 2)
      const cache = yield* ChunkCache
      cache.keep(film, keyAt(1), payloadOf(1))
      const all = (start: number, end: number) => cache.hasAll(film, { start, end })
      assert.deepStrictEqual([all(0, 3 * CHUNK), all(0, 3 * CHUNK + 1), all(3 * CHUNK, 4 * CHUNK)], [
        true,
        false,
        false
      ])
      assert.isTrue(all(CHUNK - 1, CHUNK + 1))
      assert.isTrue(all(4 * CHUNK, 4 * CHUNK))
    }).pipe(Effect.provide(stack("memory", ofChunks(1)))))

  it.effect("doesn't count the disk while it can't be read", () =>
    Effect.gen(function*() {
      yield* onDisk(0, 1)
      const breaker = yield* DiskBreaker
      const cache = yield* ChunkCache
      assert.isTrue(cache.hasAll(film, { start: 0, end: 2 * CHUNK }))
      yield* breaker.open(new IoError({ errno: "EIO", operation: "read", path: "/cache" }))
      assert.isFalse(cache.hasAll(film, { start: 0, end: 1 }))
      assert.isFalse(cache.has(keyAt(0)))
      assert.strictEqual(cache.failure()?.errno, "EIO")
    }).pipe(Effect.provide(stack("memory"))))
})

describe("ChunkCache.read", () => {
  it.effect("returns a chunk from disk, and keeps it in memory if there is room", () =>
    Effect.gen(function*() {
      yield* onDisk(0)
      const cache = yield* ChunkCache
      assert.isUndefined(cache.inMemory(keyAt(0)))
      assert.deepStrictEqual(new Uint8Array(yield* read(0)), payloadOf(0))
      assert.isDefined(cache.inMemory(keyAt(0)))
    }).pipe(Effect.provide(stack("faulty", ofChunks(1)))))

  it.effect("replaces a chunk in memory only by one that is used more often", () =>
    Effect.gen(function*() {
      yield* onDisk(0, 1)
      const memory = yield* MemoryTier
      yield* read(0)
      yield* read(0)
      yield* read(1)
      assert.deepStrictEqual([memory.has(keyAt(0)), memory.has(keyAt(1))], [true, false])
      yield* read(1)
      yield* read(1)
      assert.deepStrictEqual([memory.has(keyAt(0)), memory.has(keyAt(1))], [false, true])
    }).pipe(Effect.provide(stack("faulty", ofChunks(1)))))

  it.effect("shares a read among all who want the chunk", () =>
    Effect.gen(function*() {
      yield* onDisk(0)
      const cache = yield* ChunkCache
      const all = yield* ticking(
        Effect.all(Array.from({ length: 5 }, () => cache.read(film, keyAt(0))), { concurrency: "unbounded" })
      )
      assert.strictEqual(new Set(all).size, 1)
    }).pipe(Effect.provide(stack("faulty"))))

  it.effect("reads into the buffer of a viewer when nobody else keeps the bytes", () =>
    Effect.gen(function*() {
      yield* onDisk(0)
      const scratch = Buffer.alloc(2 * CHUNK)
      const bytes = yield* ticking(
        ChunkCache.use((cache) => cache.readRange(film, keyAt(0), { start: 0, end: CHUNK }, scratch))
      )
      assert.strictEqual(bytes.buffer, scratch.buffer)
      assert.deepStrictEqual(new Uint8Array(bytes), payloadOf(0))
    }).pipe(Effect.provide(stack("faulty"))))

  it.effect("drops a chunk whose file was changed, and no other", () =>
    Effect.gen(function*() {
      yield* onDisk(0, 1)
      const cache = yield* ChunkCache
      const disk = yield* MemoryDisk
      const path = `/cache/v1/${film.resource.slice(0, 2)}/${film.resource}/${film.id}.0`
      disk.files().get(path)![100]! ^= 1
      const error = yield* Effect.flip(read(0))
      assert.strictEqual(error.errno, "CORRUPT")
      assert.deepStrictEqual([cache.has(keyAt(0)), cache.has(keyAt(1))], [false, true])
      yield* settle
      assert.isFalse(disk.files().has(path))
      assert.strictEqual((yield* CacheIndex).count(), 1)
    }).pipe(Effect.provide(Layer.provideMerge(restartable(), World))))

  it.effect("looks for the other chunks of a resource when a file is gone", () =>
    Effect.gen(function*() {
      yield* onDisk(0, 1, 2)
      const fs = yield* FileSystem.FileSystem
      yield* fs.remove(`/cache/v1/${film.resource.slice(0, 2)}/${film.resource}`, { recursive: true })
      assert.strictEqual((yield* Effect.flip(read(0))).errno, "ENOENT")
      yield* settle
      assert.isFalse((yield* CacheIndex).hasResource(film.resource))
    }).pipe(Effect.provide(stack("faulty"))))
})

describe("ChunkCache.readRange", () => {
  const PARTS = CHUNK / PART_BYTES
  const part = (index: number) => ({ start: index * PART_BYTES + 10, end: index * PART_BYTES + 20 })
  const readPart = (chunk: number, index: number) =>
    ticking(ChunkCache.use((cache) => cache.readRange(film, keyAt(chunk), part(index))))
  const isInMemory = Effect.fnUntraced(function*(chunk: number) {
    const cache = yield* ChunkCache
    return Array.from({ length: PARTS }, (_, i) => cache.rangeInMemory(keyAt(chunk), part(i)) !== undefined)
  })

  it.effect("keeps the parts that were read, and no others", () =>
    Effect.gen(function*() {
      yield* onDisk(0)
      const cache = yield* ChunkCache
      const bytes = yield* readPart(0, 1)
      assert.deepStrictEqual(new Uint8Array(bytes), payloadOf(0).subarray(0, 10))
      assert.deepStrictEqual(yield* isInMemory(0), [false, true, false, false])
      const pieces = cache.rangeInMemory(keyAt(0), { start: PART_BYTES, end: 2 * PART_BYTES })
      assert.deepStrictEqual(Buffer.concat(pieces!), Buffer.from(payloadOf(0).subarray(0, PART_BYTES)))
      assert.isUndefined(cache.rangeInMemory(keyAt(0), { start: PART_BYTES, end: 2 * PART_BYTES + 1 }))
      assert.isUndefined(cache.inMemory(keyAt(0)))
    }).pipe(Effect.provide(stack("faulty", ofChunks(1)))))

  it.effect("replaces a part in memory only by one that is used more often", () =>
    Effect.gen(function*() {
      yield* onDisk(0, 1)
      for (const index of [0, 1, 2, 3, 0, 1, 2, 3]) yield* readPart(0, index)
      yield* readPart(1, 0)
      assert.deepStrictEqual(yield* isInMemory(1), [false, false, false, false])
      for (let count = 0; count < 4; count++) yield* readPart(1, 0)
      assert.isTrue((yield* isInMemory(1))[0])
      assert.strictEqual((yield* isInMemory(0)).filter((is) => is).length, PARTS - 1)
    }).pipe(Effect.provide(stack("faulty", ofChunks(1)))))

  it.effect("replaces a whole chunk of which little is used", () =>
    Effect.gen(function*() {
      yield* onDisk(0, 1)
      const cache = yield* ChunkCache
      yield* read(0)
      for (let count = 0; count < 3; count++) cache.rangeInMemory(keyAt(0), part(2))
      for (let count = 0; count < 4; count++) yield* readPart(1, 0)
      assert.isFalse((yield* MemoryTier).has(keyAt(0)))
      assert.isTrue((yield* isInMemory(1))[0])
      // What is used of the other comes back alone.
      yield* readPart(0, 2)
      assert.deepStrictEqual(yield* isInMemory(0), [false, false, true, false])
    }).pipe(Effect.provide(stack("faulty", ofChunks(1)))))
})

describe("ChunkCache.failed", () => {
  it.effect.each(
    [
      ["damage", new IoError({ errno: "CORRUPT", operation: "read", path: "a" }), false],
      ["a file that may not be read", new PermissionDenied({ errno: "EACCES", operation: "open", path: "a" }), false],
      ["a busy disk", new DiskBusy({ errno: "BUSY", operation: "read", path: "a" }), true]
    ] as const
  )("decides whether a chunk stays, for %s", ([, error, stays]) =>
    Effect.gen(function*() {
      yield* onDisk(0)
      const cache = yield* ChunkCache
      const breaker = yield* DiskBreaker
      yield* cache.failed(keyAt(0), error)
      yield* settle
      assert.strictEqual((yield* CacheIndex).has(keyAt(0)), stays)
      assert.isUndefined(error._tag === "DiskBusy" ? breaker.unwritable() : undefined)
    }).pipe(Effect.provide(stack("memory"))))

  it.effect("keeps a chunk that was written again before it could be removed", () =>
    Effect.gen(function*() {
      yield* onDisk(0)
      const cache = yield* ChunkCache
      const index = yield* CacheIndex
      const store = yield* ChunkStore
      yield* cache.failed(keyAt(0), new IoError({ errno: "CORRUPT", operation: "read", path: "a" }))
      assert.isFalse(index.has(keyAt(0)))
      index.add(keyAt(0), bytesOnDisk(CHUNK))
      yield* settle
      assert.isTrue(index.has(keyAt(0)))
      assert.strictEqual(yield* store.verify(keyAt(0)), CHUNK)
    }).pipe(Effect.provide(stack("memory"))))
})
