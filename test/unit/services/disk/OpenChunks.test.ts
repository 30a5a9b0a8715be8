import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, type FileSystem, Scope } from "effect"
import { IoError } from "../../../../src/domain/CacheError.ts"
import type { ChunkKey } from "../../../../src/domain/Chunk.ts"
import { OpenChunks } from "../../../../src/services/disk/OpenChunks.ts"

const keyAt = (index: number): ChunkKey => ({ resource: "film", representation: "r", index })

/** Counts what is opened and closed, by index. */
const make = (capacity: number) => {
  const chunks = new OpenChunks(capacity)
  const opened: Array<number> = []
  const closed: Array<number> = []
  const use = <A>(index: number, read: Effect.Effect<A, IoError>, parts = 1) => {
    const open = (scope: Scope.Scope) => {
      opened.push(index)
      const file = {} as FileSystem.File
      return Effect.as(
        Scope.addFinalizer(scope, Effect.sync(() => void closed.push(index))),
        { at: String(index), file, offset: 0, checksums: new Uint32Array(parts), checksumOf: () => 0 }
      )
    }
    return chunks.use(keyAt(index), open, () => read)
  }
  return { chunks, closed, opened, use }
}

describe("OpenChunks", () => {
  it.effect("opens a chunk once", () =>
    Effect.gen(function*() {
      const { closed, opened, use } = make(2)
      for (const index of [0, 1, 0, 1]) yield* use(index, Effect.void)
      assert.deepStrictEqual([opened, closed], [[0, 1], []])
    }))

  it.effect("closes what is used least when there are too many", () =>
    Effect.gen(function*() {
      const { chunks, closed, use } = make(2)
      for (const index of [0, 1, 0, 2]) yield* use(index, Effect.void)
      assert.deepStrictEqual([closed, chunks.count], [[1], 2])
    }))

  it.effect("counts a chunk with many checksums as several", () =>
    Effect.gen(function*() {
      const { closed, use } = make(4)
      for (const index of [0, 1, 2]) yield* use(index, Effect.void)
      yield* use(3, Effect.void, 3 * 256)
      assert.deepStrictEqual(closed, [0, 1])
    }))

  it.effect("closes a dropped file behind its last reader, and opens it again for the next", () =>
    Effect.gen(function*() {
      const { chunks, closed, opened, use } = make(2)
      yield* use(0, Effect.void)
      const gate = yield* Deferred.make<void>()
      const reader = yield* Effect.forkChild(use(0, Deferred.await(gate)), { startImmediately: true })
      yield* chunks.drop(keyAt(0))
      yield* use(0, Effect.void)
      assert.deepStrictEqual([opened, closed], [[0, 0], []])
      yield* Deferred.succeed(gate, undefined)
      yield* Fiber.join(reader)
      assert.deepStrictEqual([closed, chunks.count], [[0], 1])
    }))

  it.effect("doesn't keep a file that was opened before its chunk was replaced", () =>
    Effect.gen(function*() {
      const { chunks, closed, use } = make(2)
      yield* use(0, chunks.drop(keyAt(0)))
      assert.deepStrictEqual([closed, chunks.count], [[0], 0])
    }))

  it.effect("doesn't keep a file that can't be read", () =>
    Effect.gen(function*() {
      const { chunks, closed, use } = make(2)
      const failure = Effect.fail(new IoError({ errno: "EIO", operation: "read", path: "a" }))
      yield* Effect.exit(use(0, failure))
      yield* use(1, Effect.void)
      yield* Effect.exit(use(1, failure))
      assert.deepStrictEqual([closed, chunks.count], [[0, 1], 0])
    }))

  it.effect("closes only what was not used since the last time, if asked to", () =>
    Effect.gen(function*() {
      const { chunks, closed, use } = make(2)
      for (const index of [0, 1]) yield* use(index, Effect.void)
      yield* chunks.dropAll("unused")
      yield* use(1, Effect.void)
      yield* chunks.dropAll("unused")
      assert.deepStrictEqual(closed, [0])
      yield* chunks.dropAll("all")
      assert.deepStrictEqual([closed, chunks.count], [[0, 1], 0])
    }))
})
