import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { TestClock } from "effect/testing"
import type { ChunkKey } from "../../../../src/domain/Chunk.ts"
import { make as makeResource } from "../../../../src/domain/Resource.ts"
import { CacheIndex } from "../../../../src/services/cache/CacheIndex.ts"
import { IndexScan } from "../../../../src/services/cache/IndexScan.ts"
import { bytesOnDisk, ChunkStore } from "../../../../src/services/disk/ChunkStore.ts"
import { Faults, type Rule } from "../../../../src/testing/FaultyFileSystem.ts"
import { CHUNK, restartable, World } from "../../../support/stack.ts"
import { randomBytes } from "../../../support/TestOrigin.ts"
import { ticking } from "../../../support/ticking.ts"

const REPRESENTATION = "1".repeat(32)

const keyAt = (name: string, index: number): ChunkKey => ({
  resource: makeResource(`http://origin.test/${name}`).id,
  representation: REPRESENTATION,
  index
})

/** Writes chunks a minute apart, the last of `last` bytes. */
const write = (name: string, chunks: number, last = CHUNK) =>
  Effect.gen(function*() {
    const store = yield* ChunkStore
    for (let i = 0; i < chunks; i++) {
      yield* ticking(store.write(keyAt(name, i), randomBytes(i === chunks - 1 ? last : CHUNK)))
      yield* TestClock.adjust("1 minute")
    }
  })

/** Calls of one kind for files of chunks. */
const chunkFiles = (rule: Omit<Rule, "path">): Rule => ({ ...rule, path: (path) => /\.\d+$/.test(path) })

const loaded = ticking(IndexScan.use((_) => _.loaded))

/** Until all files are examined, in the background. */
const settle = ticking(Effect.sleep("10 seconds"))

/** Runs `before` in one process, and `after` in the next one. */
const restarting = <A, E, B, F>(
  before: Effect.Effect<A, E, ChunkStore>,
  after: Effect.Effect<B, F, CacheIndex | ChunkStore | Faults | IndexScan>
) =>
  Effect.andThen(Effect.provide(before, restartable()), Effect.provide(after, restartable())).pipe(
    Effect.provide(World)
  )

/** Removes all chunks in the order in which they are evicted. */
const evicted = Effect.map(CacheIndex, (index) => {
  const keys: Array<ChunkKey> = []
  for (let key = index.oldest(); key !== undefined; key = index.oldest()) {
    index.remove(key)
    keys.push(key)
  }
  return keys
})

describe("the scan at the start", () => {
  it.effect("examines two files of each representation, and tells the sizes of all by them", () =>
    restarting(
      Effect.andThen(write("a", 40, 1000), write("b", 3)),
      Effect.gen(function*() {
        const index = yield* CacheIndex
        // Later calls hang, those that find out when each chunk was used.
        yield* (yield* Faults).add(chunkFiles({ operation: "stat", fault: "hang", after: 4 }))
        yield* loaded
        assert.strictEqual(index.count(), 43)
        const sizes = index.chunksOf(keyAt("a", 0).resource).map(({ bytes, key }) => [key.index, bytes])
        const expected = Array.from({ length: 40 }, (_, i) => [i, bytesOnDisk(i === 39 ? 1000 : CHUNK)])
        assert.sameDeepMembers(sizes, expected)
        yield* (yield* Faults).clear
      })
    ))

  it.effect("leaves out a chunk that can't be examined, and tells the sizes by others", () =>
    restarting(
      write("a", 5),
      Effect.gen(function*() {
        const index = yield* CacheIndex
        const isBad = (path: string) => path.endsWith(".0") || path.endsWith(".4")
        yield* (yield* Faults).add({ operation: "stat", fault: "EACCES", path: isBad })
        yield* loaded
        assert.deepStrictEqual(index.stretches(keyAt("a", 0).resource, REPRESENTATION), [[1, 4]])
        assert.deepStrictEqual(
          index.chunksOf(keyAt("a", 0).resource).map(({ bytes }) => bytes),
          [1, 2, 3].map(() => bytesOnDisk(CHUNK))
        )
      })
    ))

  it.effect("leaves a file in place whose only chunk can't be examined, and enters that later", () =>
    restarting(
      write("a", 1),
      Effect.gen(function*() {
        const index = yield* CacheIndex
        yield* (yield* Faults).add(chunkFiles({ operation: "stat", fault: "EACCES" }))
        yield* loaded
        yield* settle
        assert.strictEqual(index.count(), 0)
        assert.lengthOf((yield* ChunkStore.use((_) => _.contents(keyAt("a", 0).resource))).keys, 1)
        yield* (yield* Faults).clear
        yield* ticking(Effect.sleep("1 minute"))
        assert.isTrue(index.has(keyAt("a", 0)))
      })
    ))

  it.effect("orders files by their last use at once", () =>
    restarting(
      Effect.gen(function*() {
        for (const name of ["c", "a", "b"]) yield* write(name, 3)
        yield* ticking(ChunkStore.use((_) => _.touch(keyAt("c", 2))))
      }),
      Effect.gen(function*() {
        yield* (yield* Faults).add(chunkFiles({ operation: "stat", fault: "hang", after: 6 }))
        yield* loaded
        const order = (yield* evicted).map(({ resource }) => resource)
        const expected = ["a", "b", "c"].flatMap((name) => [0, 1, 2].map((i) => keyAt(name, i).resource))
        assert.deepStrictEqual(order, expected)
        yield* (yield* Faults).clear
      })
    ))

  it.effect("orders chunks by their last use in the end", () =>
    restarting(
      Effect.gen(function*() {
        const store = yield* ChunkStore
        for (const name of ["b", "a"]) yield* write(name, 4)
        for (const key of [keyAt("b", 1), keyAt("a", 0), keyAt("b", 2)]) {
          yield* ticking(store.touch(key))
          yield* TestClock.adjust("1 minute")
        }
      }),
      Effect.gen(function*() {
        const index = yield* CacheIndex
        yield* loaded
        yield* settle
        index.touch(keyAt("b", 3))
        const order = [["b", 0], ["a", 1], ["a", 2], ["a", 3], ["b", 1], ["a", 0], ["b", 2], ["b", 3]] as const
        assert.deepStrictEqual(yield* evicted, order.map(([name, i]) => keyAt(name, i)))
      })
    ))

  it.effect("corrects a size that was told wrongly", () =>
    restarting(
      Effect.gen(function*() {
        yield* write("a", 3)
        yield* ticking(ChunkStore.use((_) => _.write(keyAt("a", 1), randomBytes(10))))
      }),
      Effect.gen(function*() {
        const index = yield* CacheIndex
        yield* loaded
        const told = index.bytes()
        yield* settle
        assert.strictEqual(index.bytes(), told - bytesOnDisk(CHUNK) + bytesOnDisk(10))
      })
    ))
})
