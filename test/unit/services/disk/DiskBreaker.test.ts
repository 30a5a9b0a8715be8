import { NodePath } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Fiber, Layer, Logger, Ref, Scope, Stream } from "effect"
import { TestClock } from "effect/testing"
import { type CacheError, DiskBusy, fromErrno } from "../../../../src/domain/CacheError.ts"
import * as ObservedValue from "../../../../src/effects/ObservedValue.ts"
import { CacheConfig, defaults } from "../../../../src/services/config/CacheConfig.ts"
import { ChunkStore } from "../../../../src/services/disk/ChunkStore.ts"
import { DirectoryLock } from "../../../../src/services/disk/DirectoryLock.ts"
import { DiskBreaker } from "../../../../src/services/disk/DiskBreaker.ts"
import { DiskLimiter } from "../../../../src/services/disk/DiskLimiter.ts"
import { DiskMonitor } from "../../../../src/services/disk/DiskMonitor.ts"
import * as FaultyFileSystem from "../../../../src/testing/FaultyFileSystem.ts"
import { Faults } from "../../../../src/testing/FaultyFileSystem.ts"
import * as MemoryFileSystem from "../../../../src/testing/MemoryFileSystem.ts"
import { MemoryDisk } from "../../../../src/testing/MemoryFileSystem.ts"
import { Knob } from "../../../support/stack.ts"

const CHUNK = 64 * 1024

const Disk = Layer.mergeAll(
  FaultyFileSystem.layer,
  Layer.effect(MemoryDisk, MemoryDisk)
).pipe(Layer.provide(MemoryFileSystem.layer), Layer.provideMerge(NodePath.layer), Layer.merge(Knob.layer))

/** Free space, apart from what the disk in memory has room for, as with a quota. */
const Monitor = Layer.unwrap(Effect.map(Knob, (knob) => DiskMonitor.layerUsage(Ref.get(knob))))

/** The breaker over the disk in context, with the later probes that `unmet` may fail. */
const breakerOn = (lock = DirectoryLock.layerNone, unmet: () => CacheError | undefined = () => undefined) =>
  Layer.effectDiscard(Effect.flatMap(DiskBreaker, (breaker) => breaker.keepProbing(unmet))).pipe(
    Layer.provideMerge(DiskBreaker.layer),
    Layer.provideMerge(ChunkStore.layer),
    Layer.provide([lock, Monitor]),
    Layer.provide(DiskLimiter.layer),
    Layer.provide(Layer.succeed(CacheConfig, { ...defaults, directory: "/cache", chunkSize: CHUNK, minFree: 0 }))
  )

/** More turns of the event loop than a probe takes. The disk in memory takes no time. */
const settle = Effect.forEach(
  Array.from({ length: 20 }),
  () => Effect.promise(() => new Promise(setImmediate)),
  { discard: true }
)

const pass = (millis: number) =>
  Effect.forEach(
    Array.from({ length: millis / 50 }),
    () => Effect.andThen(TestClock.adjust(50), settle),
    { discard: true }
  )

/** Runs `test` with a breaker that has made its first probe. */
const onBreaker = <A, E>(
  test: Effect.Effect<A, E, DiskBreaker | ChunkStore | Faults | Knob | MemoryDisk>,
  ...options: Parameters<typeof breakerOn>
) =>
  Effect.scoped(Effect.gen(function*() {
    const building = yield* Effect.forkChild(
      Layer.build(breakerOn(...options)).pipe(
        Effect.provideService(Scope.Scope, yield* Effect.scope)
      )
    )
    yield* pass(1500)
    return yield* Effect.provide(test, yield* Fiber.join(building))
  }))

const ofFile = (errno: string, name: string, operation = "read") => fromErrno(errno, operation, `/cache/v1/${name}`)

const tagOf = Effect.map(DiskBreaker, (breaker) => breaker.state()._tag)

/** When the disk is probed from now on, in milliseconds: each probe renames a file. */
const probeTimes = Effect.gen(function*() {
  const clock = yield* Clock.Clock
  const times: Array<number> = []
  const note = (path: string) => {
    if (path.includes("probe")) times.push(clock.currentTimeMillisUnsafe())
    return false
  }
  yield* (yield* Faults).add({ operation: "rename", fault: "EIO", path: note })
  return times
})

const lines: Array<string> = []
const Lines = Logger.layer([Logger.make(({ message }) => void lines.push(String(message)))])

describe("DiskBreaker", () => {
  it.effect("is closed after a first probe that succeeds", () =>
    onBreaker(Effect.gen(function*() {
      const breaker = yield* DiskBreaker
      assert.deepStrictEqual(breaker.state(), { _tag: "Usable" })
      assert.isUndefined(breaker.unwritable())
      assert.isTrue(breaker.readable())
    })).pipe(Effect.provide(Disk)))

  it.effect.each(["ECONNREFUSED", "ECONNRESET", "ENOTCONN", "EPIPE", "ETIMEDOUT"])(
    "opens at once for %s, which no other chunk of the store is spared",
    (errno) =>
      onBreaker(Effect.gen(function*() {
        const breaker = yield* DiskBreaker
        yield* breaker.report(ofFile(errno, "a"))
        assert.strictEqual(breaker.unwritable()?.errno, errno)
      })).pipe(Effect.provide(Disk))
  )

  const first: ReadonlyArray<readonly [errno: string, state: string, readable: boolean]> = [
    ["EROFS", "ReadOnly", true],
    ["EACCES", "ReadOnly", true],
    ["ENOSPC", "Full", true],
    ["EIO", "Failing", false]
  ]
  it.effect.each(first)(
    "opens when the first probe finds %s, and is %s",
    ([errno, state, readable]) =>
      Effect.gen(function*() {
        const faults = yield* Faults
        yield* faults.add({ operation: "write", fault: errno })
        yield* onBreaker(Effect.gen(function*() {
          const breaker = yield* DiskBreaker
          assert.strictEqual(breaker.state()._tag, state)
          assert.strictEqual(breaker.unwritable()?.errno, errno)
          assert.strictEqual(breaker.readable(), readable)
          yield* faults.clear
          yield* pass(300)
          assert.strictEqual(yield* tagOf, "Usable")
        }))
      }).pipe(Effect.provide(Disk))
  )

  it.effect("starts on a disk that hangs, counts it as failing after a second, and closes when it responds", () =>
    Effect.gen(function*() {
      const faults = yield* Faults
      yield* faults.add({ operation: "sync", fault: "hang" })
      yield* onBreaker(Effect.gen(function*() {
        const breaker = yield* DiskBreaker
        assert.strictEqual(breaker.unwritable()?.errno, "TIMEOUT")
        const disk = yield* MemoryDisk
        yield* pass(20_000)
        // Later probes wait for the one that hangs.
        assert.strictEqual(disk.handles(), 1)
        yield* faults.clear
        yield* pass(5000)
        assert.strictEqual(yield* tagOf, "Usable")
        assert.strictEqual(disk.handles(), 0)
      }))
    }).pipe(Effect.provide(Disk)))

  it.effect("counts a disk as failing whose writes hang while other calls end", () =>
    onBreaker(Effect.gen(function*() {
      const breaker = yield* DiskBreaker
      const faults = yield* Faults
      const store = yield* ChunkStore
      yield* Effect.forkChild(Effect.forever(Effect.andThen(store.contents("0".repeat(32)), Effect.sleep(100))))
      yield* faults.add({ operation: "sync", fault: "hang" })
      yield* breaker.report(ofFile("EIO", "a"))
      yield* pass(1500)
      assert.strictEqual(yield* tagOf, "Usable")
      yield* pass(1000)
      assert.strictEqual(breaker.unwritable()?.errno, "TIMEOUT")
      assert.isFalse(breaker.readable())
      yield* faults.clear
    })).pipe(Effect.provide(Disk)))

  it.effect("stays closed when one file fails and a probe succeeds, and logs that", () =>
    onBreaker(Effect.gen(function*() {
      lines.length = 0
      const breaker = yield* DiskBreaker
      const times = yield* probeTimes
      for (let round = 0; round < 5; round++) {
        yield* breaker.report(ofFile("EIO", "a"))
        yield* pass(1000)
        assert.strictEqual(yield* tagOf, "Usable")
      }
      assert.strictEqual(times.length, 5)
      assert.deepStrictEqual(lines, ["A file of the cache fails, the disk works"])
    })).pipe(Effect.provide(Layer.merge(Disk, Lines))))

  it.effect("opens when one file fails and a probe fails too", () =>
    onBreaker(Effect.gen(function*() {
      const breaker = yield* DiskBreaker
      const faults = yield* Faults
      yield* faults.add({ operation: "read", fault: "EIO" })
      yield* breaker.report(ofFile("EIO", "a"))
      yield* pass(100)
      assert.strictEqual(yield* tagOf, "Failing")
      assert.include(breaker.unwritable()?.path, "probe")
    })).pipe(Effect.provide(Disk)))

  it.effect("opens when three files fail in a row, although probes succeed", () =>
    onBreaker(Effect.gen(function*() {
      const breaker = yield* DiskBreaker
      for (const name of ["a", "b"]) yield* breaker.report(ofFile("EIO", name))
      assert.strictEqual(yield* tagOf, "Usable")
      yield* breaker.report(ofFile("EIO", "c"))
      assert.strictEqual(yield* tagOf, "Failing")
    })).pipe(Effect.provide(Disk)))

  it.effect("counts files anew after a success in the same direction", () =>
    onBreaker(Effect.gen(function*() {
      const breaker = yield* DiskBreaker
      for (const name of ["a", "b"]) yield* breaker.report(ofFile("EIO", name))
      breaker.succeeded("read")
      for (const name of ["c", "d"]) yield* breaker.report(ofFile("EIO", name))
      breaker.succeeded("write")
      assert.strictEqual(yield* tagOf, "Usable")
      yield* breaker.report(ofFile("EIO", "e"))
      assert.strictEqual(yield* tagOf, "Failing")
    })).pipe(Effect.provide(Disk)))

  it.effect("stays closed on a busy disk", () =>
    onBreaker(Effect.gen(function*() {
      const breaker = yield* DiskBreaker
      const busy = new DiskBusy({ errno: "BUSY", operation: "read", path: "/cache/v1/a" })
      yield* breaker.report(busy)
      yield* breaker.open(busy)
      assert.strictEqual(yield* tagOf, "Usable")
    })).pipe(Effect.provide(Disk)))

  it.effect("probes a full disk with a chunk, and closes when one fits", () =>
    onBreaker(Effect.gen(function*() {
      const breaker = yield* DiskBreaker
      const disk = yield* MemoryDisk
      const times = yield* probeTimes
      const used = disk.usage().total - disk.usage().free
      disk.capacity = used + 2 * 4096
      yield* breaker.report(ofFile("ENOSPC", "a", "write"))
      yield* pass(10_000)
      assert.strictEqual(yield* tagOf, "Full")
      assert.isTrue(breaker.readable())
      disk.capacity = used + 2 * CHUNK
      yield* pass(5000)
      assert.strictEqual(yield* tagOf, "Usable")
      const { length } = times
      yield* pass(10_000)
      assert.strictEqual(times.length, length)
    })).pipe(Effect.provide(Disk)))

  it.effect("stays open while the file system has no room for a chunk", () =>
    onBreaker(Effect.gen(function*() {
      const breaker = yield* DiskBreaker
      const free = (free: number) => Effect.flatMap(Knob, (knob) => Ref.update(knob, (usage) => ({ ...usage, free })))
      yield* free(CHUNK)
      yield* breaker.report(ofFile("ENOSPC", "a", "write"))
      yield* pass(10_000)
      assert.strictEqual(yield* tagOf, "Full")
      yield* free(2 * CHUNK)
      yield* pass(5000)
      assert.strictEqual(yield* tagOf, "Usable")
    })).pipe(Effect.provide(Disk)))

  it.effect("probes less and less often, at most 5 s apart", () =>
    onBreaker(Effect.gen(function*() {
      const breaker = yield* DiskBreaker
      const faults = yield* Faults
      const times = yield* probeTimes
      yield* faults.add({ operation: "read", fault: "EIO" })
      const start = yield* Clock.currentTimeMillis
      yield* breaker.open(ofFile("EIO", "a"))
      yield* pass(18_000)
      const pauses = times.map((at, index) => at - (times[index - 1] ?? start))
      assert.deepStrictEqual(pauses, [250, 500, 1000, 2000, 4000, 5000, 5000])
    })).pipe(Effect.provide(Disk)))

  it.effect("logs and publishes each new cause once, and the recovery", () =>
    onBreaker(Effect.gen(function*() {
      lines.length = 0
      const breaker = yield* DiskBreaker
      const states = yield* Effect.forkChild(Stream.runCollect(Stream.take(breaker.changes, 4)))
      yield* Effect.yieldNow
      yield* breaker.report(ofFile("ENOSPC", "a", "write"))
      yield* breaker.report(ofFile("ENOSPC", "b", "write"))
      yield* breaker.report(ofFile("EROFS", "b", "write"))
      yield* pass(5000)
      const tags = (yield* Fiber.join(states)).map(({ _tag }) => _tag)
      assert.deepStrictEqual(tags, ["Usable", "Full", "ReadOnly", "Usable"])
      assert.deepStrictEqual(lines, [
        "Cache unusable: streaming from the origin",
        "The cache has another fault now",
        "Cache usable again"
      ])
    })).pipe(Effect.provide(Layer.merge(Disk, Lines))))

  it.effect("stays open while a condition of the cache is unmet, and takes it as the cause", () => {
    let unmet: CacheError | undefined
    return onBreaker(
      Effect.gen(function*() {
        const breaker = yield* DiskBreaker
        unmet = fromErrno("EDQUOT", "reserve", "/cache")
        yield* breaker.report(ofFile("ENOSPC", "a", "write"))
        yield* pass(10_000)
        assert.strictEqual(breaker.unwritable()?.errno, "EDQUOT")
        unmet = undefined
        yield* pass(5000)
        assert.strictEqual(yield* tagOf, "Usable")
      }),
      DirectoryLock.layerNone,
      () => unmet
    ).pipe(Effect.provide(Disk))
  })

  it.effect("opens within 30 s when another process has taken the lock, and closes when that has ended", () =>
    Effect.gen(function*() {
      const takes = yield* ObservedValue.make(1)
      let isTaken = false
      const lock = Layer.succeed(DirectoryLock, {
        acquire: Effect.suspend(() => isTaken ? Effect.fail(ofFile("LOCKED", "lock", "open")) : Effect.void),
        takes: takes.changes
      })
      yield* onBreaker(
        Effect.gen(function*() {
          const breaker = yield* DiskBreaker
          isTaken = true
          yield* pass(31_000)
          assert.strictEqual(breaker.unwritable()?.errno, "LOCKED")
          assert.isFalse(breaker.readable())
          isTaken = false
          yield* pass(5000)
          assert.strictEqual(yield* tagOf, "Usable")
        }),
        lock
      )
    }).pipe(Effect.provide(Disk)))
})
