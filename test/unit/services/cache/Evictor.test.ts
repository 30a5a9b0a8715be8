import { assert, describe, it } from "@effect/vitest"
import { Effect, Ref } from "effect"
import { TestClock } from "effect/testing"
import type { ChunkKey } from "../../../../src/domain/Chunk.ts"
import { make as makeResource } from "../../../../src/domain/Resource.ts"
import { CacheIndex } from "../../../../src/services/cache/CacheIndex.ts"
import { Evictor } from "../../../../src/services/cache/Evictor.ts"
import { IndexScan } from "../../../../src/services/cache/IndexScan.ts"
import { bytesOnDisk, ChunkStore } from "../../../../src/services/disk/ChunkStore.ts"
import { POLL_INTERVAL } from "../../../../src/services/disk/DiskMonitor.ts"
import { Counters } from "../../../../src/services/observe/Counters.ts"
import { Faults } from "../../../../src/testing/FaultyFileSystem.ts"
import { Knob, stack } from "../../../support/stack.ts"
import { ticking } from "../../../support/ticking.ts"

const film = makeResource("http://origin.test/film").id
const keyAt = (index: number): ChunkKey => ({ resource: film, representation: "r", index })

const payload = new Uint8Array(90_000)
const BYTES = bytesOnDisk(payload.length)
const MAX_SIZE = 10 * BYTES

const COUNT = 8

/** Has chunks 0 to 7 on disk. Returns the indices of those that are still there. */
const filled = Effect.gen(function*() {
  const index = yield* CacheIndex
  yield* ticking(IndexScan.use((_) => _.loaded))
  for (let i = 0; i < COUNT; i++) {
    yield* ticking(ChunkStore.use((_) => _.write(keyAt(i), payload)))
    index.add(keyAt(i), BYTES)
  }
  return () => [...index.keys()].map(({ index }) => index).toSorted((a, b) => a - b)
})

const reserve = (bytes: number) => Effect.scoped(Evictor.use((_) => _.reserve(() => bytes)))

const withCache = (store: "memory" | "faulty") => Effect.provide(stack(store, { maxSize: MAX_SIZE }))

describe("Evictor.reserve", () => {
  it.effect("evicts nothing as long as there is room", () =>
    Effect.gen(function*() {
      const there = yield* filled
      yield* reserve(BYTES)
      assert.strictEqual(there().length, COUNT)
    }).pipe(withCache("memory")))

  it.effect("evicts the least recently used chunks, and no more than it needs", () =>
    Effect.gen(function*() {
      const there = yield* filled
      const index = yield* CacheIndex
      index.touch(keyAt(0))
      yield* reserve(3 * BYTES)
      assert.deepStrictEqual(there(), [0, 3, 4, 5, 6, 7])
      assert.strictEqual((yield* Counters).totals().evictions, 2)
    }).pipe(withCache("memory")))

  it.effect("asks again how much is needed after each eviction", () =>
    Effect.gen(function*() {
      const there = yield* filled
      const index = yield* CacheIndex
      const { reserve } = yield* Evictor
      yield* Effect.scoped(reserve(() => index.count() === COUNT ? MAX_SIZE : 1))
      assert.strictEqual(there().length, COUNT - 1)
    }).pipe(withCache("memory")))

  it.effect("fails with DiskFull, and leaves pinned chunks alone", () =>
    Effect.gen(function*() {
      const there = yield* filled
      const index = yield* CacheIndex
      index.pin(film, "r")
      const error = yield* Effect.flip(reserve(5 * BYTES))
      assert.deepStrictEqual([error._tag, error.errno], ["DiskFull", "MAX_SIZE"])
      assert.strictEqual(there().length, COUNT)
    }).pipe(withCache("memory")))

  it.effect("evicts when the disk has too little room, and fails when that doesn't help", () =>
    Effect.gen(function*() {
      const there = yield* filled
      const knob = yield* Knob
      yield* Ref.update(knob, (usage) => ({ ...usage, free: 0 }))
      const error = yield* Effect.flip(reserve(BYTES))
      assert.deepStrictEqual([error._tag, error.errno], ["DiskFull", "ENOSPC"])
      assert.deepStrictEqual(there(), [])
    }).pipe(withCache("memory")))

  it.effect("sets chunks aside that cannot be removed, and evicts others", () =>
    Effect.gen(function*() {
      const there = yield* filled
      const faults = yield* Faults
      yield* faults.add({ operation: "unlink", fault: "EIO", path: (path) => path.includes(film), times: 1 })
      yield* ticking(reserve(3 * BYTES))
      assert.deepStrictEqual(there(), [0, 3, 4, 5, 6, 7])
    }).pipe(withCache("faulty")))

  it.effect("removes the directory of a resource with its last chunk", () =>
    Effect.gen(function*() {
      yield* filled
      const index = yield* CacheIndex
      const other = { resource: makeResource("http://origin.test/other").id, representation: "r", index: 0 }
      index.add(other, BYTES)
      yield* reserve(9 * BYTES)
      assert.deepStrictEqual([index.resources(), index.hollow()], [[], []])
      assert.strictEqual(index.bytes(), 0)
    }).pipe(withCache("memory")))
})

describe("Evictor.cleanUp", () => {
  it.effect("frees an eighth of a small cache", () =>
    Effect.gen(function*() {
      const there = yield* filled
      const freed = yield* Evictor.use((_) => _.cleanUp)
      assert.deepStrictEqual(there(), [2, 3, 4, 5, 6, 7])
      assert.strictEqual(freed, 2 * BYTES)
    }).pipe(withCache("memory")))

  it.effect("frees nothing if there is nothing", () =>
    Effect.gen(function*() {
      assert.strictEqual(yield* Evictor.use((_) => _.cleanUp), 0)
    }).pipe(withCache("memory")))
})

describe("the background trim", () => {
  it.effect("keeps a sixty-fourth of a small disk free", () =>
    Effect.gen(function*() {
      const there = yield* filled
      const knob = yield* Knob
      yield* TestClock.adjust(POLL_INTERVAL)
      assert.strictEqual(there().length, COUNT)
      yield* Ref.update(knob, (usage) => ({ ...usage, free: 0, total: 64 * BYTES }))
      yield* TestClock.adjust(POLL_INTERVAL)
      assert.strictEqual(there().length, COUNT - 1)
    }).pipe(withCache("memory")))

  it.effect("frees file nodes", () =>
    Effect.gen(function*() {
      const there = yield* filled
      const knob = yield* Knob
      yield* Ref.update(knob, (usage) => ({ ...usage, freeNodes: 0 }))
      yield* TestClock.adjust(POLL_INTERVAL)
      assert.deepStrictEqual(there(), [])
    }).pipe(withCache("memory")))

  it.effect("goes on after a failure", () =>
    Effect.gen(function*() {
      const there = yield* filled
      const faults = yield* Faults
      const knob = yield* Knob
      yield* Ref.update(knob, (usage) => ({ ...usage, free: 0, total: 64 * BYTES }))
      yield* faults.add({ operation: "unlink", fault: "EIO", path: (path) => path.includes(film), times: 1 })
      yield* ticking(Effect.sleep("10 seconds"))
      assert.isBelow(there().length, COUNT)
    }).pipe(withCache("faulty")))
})
