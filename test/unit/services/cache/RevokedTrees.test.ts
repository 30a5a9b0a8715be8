import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Layer, Option } from "effect"
import { TestClock } from "effect/testing"
import { IoError } from "../../../../src/domain/CacheError.ts"
import { RevokedTrees } from "../../../../src/services/cache/RevokedTrees.ts"
import { ChunkStore } from "../../../../src/services/disk/ChunkStore.ts"
import { DiskBreaker } from "../../../../src/services/disk/DiskBreaker.ts"

const NOW = 1_000_000

const failed = new IoError({ errno: "EIO", operation: "read", path: "x" })

/** A process that begins now, with `store` over one in memory. */
const begin = (store: ChunkStore["Service"], changes: Partial<ChunkStore["Service"]> = {}) =>
  RevokedTrees.layer.pipe(
    Layer.provide(Layer.succeed(DiskBreaker, { unwritable: () => undefined } as DiskBreaker["Service"])),
    Layer.provide(Layer.succeed(ChunkStore, { ...store, ...changes })),
    Layer.build,
    Effect.map(Context.get(RevokedTrees))
  )

const memory = Effect.provide(ChunkStore, ChunkStore.layerMemory)

describe("RevokedTrees", () => {
  it.effect("are known to the next process", () =>
    Effect.gen(function*() {
      yield* TestClock.setTime(NOW)
      const store = yield* memory
      yield* Effect.scoped(Effect.gen(function*() {
        const first = yield* begin(store)
        first.add("http://o/a")
        first.add("http://o/b")
        yield* first.settled
      }))
      const second = yield* begin(store)
      second.add("http://o/c")
      yield* second.settled
      const third = yield* begin(store)
      for (const path of ["a", "b/x", "c"]) assert.isTrue(yield* third.covers(`http://o/${path}`, NOW))
      assert.isFalse(yield* third.covers("http://o/a", NOW + 1))
      assert.isFalse(yield* third.covers("http://o/d", NOW))
    }))

  it.effect("that are damaged are taken for all there could be, also by later processes", () =>
    Effect.gen(function*() {
      yield* TestClock.setTime(NOW)
      for (const list of ["[[\"http://o/a\",1]]\n1", "", "{"]) {
        const store = yield* memory
        yield* store.writeRevokedTrees(Buffer.from(list))
        const first = yield* begin(store)
        first.add("http://o/a")
        yield* first.settled
        for (const revocations of [first, yield* begin(store)]) {
          assert.isTrue(yield* revocations.covers("http://p/x", NOW))
          assert.isFalse(yield* revocations.covers("http://p/x", NOW + 1))
        }
      }
    }))

  it.effect("that cannot be read cover everything until they can", () =>
    Effect.gen(function*() {
      yield* TestClock.setTime(NOW)
      let failures = 1
      const store = yield* memory
      const revocations = yield* begin(store, {
        readRevokedTrees: Effect.suspend(() => failures-- > 0 ? Effect.fail(failed) : store.readRevokedTrees)
      })
      assert.isTrue(yield* revocations.covers("http://o/x", NOW + 1))
      assert.isFalse(yield* revocations.covers("http://o/x", NOW + 1))
    }))

  it.effect("are written again until the disk takes them, and hold meanwhile", () =>
    Effect.gen(function*() {
      yield* TestClock.setTime(NOW)
      const store = yield* memory
      let failures = 3
      const revocations = yield* begin(store, {
        writeRevokedTrees: (file) => failures-- > 0 ? Effect.fail(failed) : store.writeRevokedTrees(file)
      })
      revocations.add("http://o/a")
      assert.isTrue(yield* revocations.covers("http://o/a/b", NOW))
      yield* TestClock.adjust("10 seconds")
      assert.isTrue(Option.isSome(yield* store.readRevokedTrees))
      yield* revocations.settled
    }))

  it.effect("are waited for half a second, and no longer", () =>
    Effect.gen(function*() {
      const revocations = yield* begin(yield* memory, { writeRevokedTrees: () => Effect.never })
      revocations.add("http://o/a")
      const waiting = yield* Effect.forkChild(revocations.settled)
      yield* TestClock.adjust("499 millis")
      assert.isUndefined(waiting.pollUnsafe())
      yield* TestClock.adjust("1 millis")
      assert.isDefined(waiting.pollUnsafe())
    }))
})
