import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Exit, Layer, Option } from "effect"
import { TestClock } from "effect/testing"
import { crc32 } from "node:zlib"
import type { BanTarget } from "../../../../src/domain/BanList.ts"
import { DiskFull, IoError, PermissionDenied } from "../../../../src/domain/CacheError.ts"
import { Bans } from "../../../../src/services/cache/Bans.ts"
import { CacheConfig, defaults } from "../../../../src/services/config/CacheConfig.ts"
import { ChunkStore } from "../../../../src/services/disk/ChunkStore.ts"
import { DiskBreaker } from "../../../../src/services/disk/DiskBreaker.ts"

const NOW = 1_000_000

const failed = new IoError({ errno: "EIO", operation: "read", path: "x" })

/** A process that begins now, with `store` over one in memory. */
const begin = (
  store: ChunkStore["Service"],
  changes: Partial<ChunkStore["Service"]> = {},
  unwritable: DiskBreaker["Service"]["unwritable"] = () => undefined
) =>
  Bans.layer.pipe(
    Layer.provide(Layer.succeed(DiskBreaker, { unwritable } as DiskBreaker["Service"])),
    Layer.provide(Layer.succeed(ChunkStore, { ...store, ...changes })),
    Layer.provide(Layer.succeed(CacheConfig, defaults)),
    Layer.build,
    Effect.map(Context.get(Bans))
  )

const memory = Effect.provide(ChunkStore, ChunkStore.layerMemory)

const prefix = (prefix: string): BanTarget => ({ _tag: "Prefix", prefix })

const entryAt = (url: string, afterBan = 0) => ({ url, afterBan, headers: {} })

describe("Bans", () => {
  it.effect("are known to the next process, which counts on", () =>
    Effect.gen(function*() {
      yield* TestClock.setTime(NOW)
      const store = yield* memory
      const { at } = yield* Effect.scoped(Effect.gen(function*() {
        const first = yield* begin(store)
        const ban = first.add(prefix("http://o/a"))
        yield* first.saved
        return ban
      }))
      yield* TestClock.setTime(0)
      const second = yield* begin(store)
      assert.strictEqual(yield* second.begin, at)
      assert.isAbove(second.add(prefix("http://o/b")).at, at)
      yield* second.saved
      const third = yield* begin(store)
      yield* third.loaded
      for (const path of ["a", "b"]) assert.isDefined(third.verdict(entryAt(`http://o/${path}`)))
      assert.isUndefined(third.verdict(entryAt("http://o/a", at)))
      assert.isUndefined(third.verdict(entryAt("http://o/c")))
    }))

  it.effect("are counted on by the next process when all were dropped", () =>
    Effect.gen(function*() {
      yield* TestClock.setTime(NOW)
      const store = yield* memory
      const first = yield* begin(store)
      const { at } = first.add(prefix("http://o/a"))
      assert.isFalse(first.isPast(0))
      first.drop(at)
      assert.isTrue(first.isPast(at - 1))
      assert.isFalse(first.isPast(at))
      yield* first.saved
      yield* TestClock.setTime(0)
      const second = yield* begin(store)
      assert.strictEqual(yield* second.begin, at)
      assert.deepStrictEqual(second.active(), [])
    }))

  it.effect("of earlier versions are read: trees that a request has changed", () =>
    Effect.gen(function*() {
      const store = yield* memory
      const list = "[[\"http://o/a\",1]]"
      yield* store.writeBans(Buffer.from(`${list}\n${crc32(list)}`))
      const bans = yield* begin(store)
      yield* bans.loaded
      assert.strictEqual(bans.verdict(entryAt("http://o/a/x"))?.effect, "outdate")
      assert.isUndefined(bans.verdict(entryAt("http://o/b")))
    }))

  it.effect("that are damaged are taken for all there could be, also by later processes", () =>
    Effect.gen(function*() {
      yield* TestClock.setTime(NOW)
      for (const list of ["[[\"http://o/a\",1]]\n1", "", "{"]) {
        const store = yield* memory
        yield* store.writeBans(Buffer.from(list))
        const first = yield* begin(store)
        yield* first.loaded
        first.add(prefix("http://o/a"))
        yield* first.saved
        for (const bans of [first, yield* begin(store)]) {
          yield* bans.loaded
          assert.strictEqual(bans.verdict(entryAt("http://p/x"))?.effect, "outdate")
          assert.isUndefined(bans.verdict(entryAt("http://p/x", yield* bans.begin)))
        }
      }
    }))

  it.effect("that cannot be read are older than a request that begins", () =>
    Effect.gen(function*() {
      yield* TestClock.setTime(NOW)
      let failures = 1
      const store = yield* memory
      const bans = yield* begin(store, {
        readBans: Effect.suspend(() => failures-- > 0 ? Effect.fail(failed) : store.readBans)
      })
      assert.strictEqual(yield* bans.begin, NOW)
      assert.strictEqual(yield* bans.begin, 0)
    }))

  it.effect("are written again until the disk takes them, and hold meanwhile; who waits is told of the failure", () =>
    Effect.gen(function*() {
      yield* TestClock.setTime(NOW)
      const store = yield* memory
      let failures = 3
      const bans = yield* begin(store, {
        writeBans: (file) => failures-- > 0 ? Effect.fail(failed) : store.writeBans(file)
      })
      bans.add(prefix("http://o/a"))
      assert.isDefined(bans.verdict(entryAt("http://o/a")))
      assert.deepStrictEqual(yield* Effect.flip(bans.saved), failed)
      yield* TestClock.adjust("10 seconds")
      assert.isTrue(Option.isSome(yield* store.readBans))
      yield* bans.saved
    }))

  it.effect("are written to a full disk if they find room, and never to one that is not this process's", () =>
    Effect.gen(function*() {
      const details = { errno: "X", operation: "write", path: "x" }
      for (const Failure of [DiskFull, PermissionDenied]) {
        const store = yield* memory
        const bans = yield* begin(store, {}, () => new Failure(details))
        bans.add(prefix("http://o/a"))
        assert.strictEqual(Exit.isSuccess(yield* Effect.exit(bans.saved)), Failure === DiskFull)
        assert.strictEqual(Option.isSome(yield* store.readBans), Failure === DiskFull)
      }
    }))

  it.effect("are waited for half a second if a request has changed something, 10 s if it is a purge, and no longer", () =>
    Effect.gen(function*() {
      const bans = yield* begin(yield* memory, { writeBans: () => Effect.never })
      bans.add(prefix("http://o/a"))
      const waiting = yield* Effect.forkChild(bans.settled)
      const purging = yield* Effect.forkChild(Effect.flip(bans.saved))
      yield* TestClock.adjust("499 millis")
      assert.isUndefined(waiting.pollUnsafe())
      yield* TestClock.adjust("1 millis")
      assert.isDefined(waiting.pollUnsafe())
      yield* TestClock.adjust("9499 millis")
      assert.isUndefined(purging.pollUnsafe())
      yield* TestClock.adjust("1 millis")
      assert.isDefined(purging.pollUnsafe())
    }))
})
