import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Layer, Logger, Scope, Stream } from "effect"
import { TestClock } from "effect/testing"
import { join } from "node:path"
import { type CacheError, fromErrno } from "../../../../src/domain/CacheError.ts"
import type { DiskUsage } from "../../../../src/domain/DiskStatus.ts"
import { CacheConfig, defaults } from "../../../../src/services/config/CacheConfig.ts"
import { DiskLimiter } from "../../../../src/services/disk/DiskLimiter.ts"
import { DiskMonitor, NODES_PER_WRITE } from "../../../../src/services/disk/DiskMonitor.ts"
import { temporaryDirectory } from "../../../support/disks.ts"

const TOTAL = 1e12
const MIN_FREE = 1e9

/** Free shares of a disk of 1 TB, and what they are called. */
const statuses: ReadonlyArray<readonly [number, string]> = [
  [0.2, "Healthy"],
  [0.19, "Info"],
  [0.09, "Warning"],
  [0.04, "Critical"]
]

const config = (directory = "/cache") => Layer.succeed(CacheConfig, { ...defaults, directory, minFree: MIN_FREE })

/** A disk that a test changes. `failure` makes readings fail. */
const disk = { usage: { free: 0, total: 0, freeNodes: 0, totalNodes: 0 }, failure: undefined as CacheError | undefined }
const reset = (usage: Partial<DiskUsage> = {}) => {
  disk.failure = undefined
  disk.usage = { free: TOTAL, total: TOTAL, freeNodes: 0, totalNodes: 0, ...usage }
}

const lines: Array<string> = []
const Lines = Logger.layer([Logger.make(({ logLevel, message }) => void lines.push(`${logLevel} ${String(message)}`))])

const onDisk = <A, E>(usage: Partial<DiskUsage>, test: Effect.Effect<A, E, DiskMonitor | Scope.Scope>) =>
  Effect.suspend(() => {
    reset(usage)
    lines.length = 0
    const reading = Effect.suspend(() =>
      disk.failure === undefined ? Effect.succeed(disk.usage) : Effect.fail(disk.failure)
    )
    return Effect.scoped(test).pipe(
      Effect.provide(Layer.provideMerge(DiskMonitor.layerUsage(reading).pipe(Layer.provide(config())), Lines))
    )
  })

const outcome = <A, R>(effect: Effect.Effect<A, CacheError, R>) =>
  Effect.match(effect, { onSuccess: () => "OK", onFailure: ({ _tag, errno }) => `${_tag} ${errno}` })

const polled = TestClock.adjust("2 seconds")

describe("DiskMonitor.status", () => {
  it.effect("is Healthy before the first reading, and Healthy on an empty disk", () =>
    onDisk(
      {},
      Effect.gen(function*() {
        const monitor = yield* DiskMonitor
        assert.strictEqual(monitor.status(), "Healthy")
        assert.isUndefined(monitor.latest())
        yield* TestClock.adjust(0)
        assert.strictEqual(monitor.status(), "Healthy")
        assert.deepStrictEqual(monitor.latest(), disk.usage)
        assert.deepStrictEqual(lines, [])
      })
    ))

  it.effect("follows the free space, every two seconds", () =>
    onDisk(
      {},
      Effect.gen(function*() {
        const monitor = yield* DiskMonitor
        yield* TestClock.adjust(0)
        for (const [share, status] of statuses) {
          const before = monitor.status()
          reset({ free: share * TOTAL })
          yield* TestClock.adjust("1900 millis")
          assert.strictEqual(monitor.status(), before)
          yield* TestClock.adjust("100 millis")
          assert.strictEqual(monitor.status(), status)
        }
      })
    ))

  it.effect("publishes and logs each change once, as a warning when room is short", () =>
    onDisk(
      {},
      Effect.gen(function*() {
        const monitor = yield* DiskMonitor
        const seen = yield* Effect.forkChild(Stream.runCollect(Stream.take(monitor.changes, 6)))
        yield* TestClock.adjust(0)
        for (const share of [0.19, 0.09, 0.09, 0.04, 0.09, 1]) {
          reset({ free: share * TOTAL })
          yield* polled
        }
        assert.deepStrictEqual(yield* Fiber.join(seen), [
          "Healthy",
          "Info",
          "Warning",
          "Critical",
          "Warning",
          "Healthy"
        ])
        assert.deepStrictEqual(lines, [
          "Info Cache disk is Info",
          "Warn Cache disk is Warning",
          "Warn Cache disk is Critical",
          "Warn Cache disk is Warning",
          "Info Cache disk is Healthy"
        ])
      })
    ))

  it.effect("is Critical below minFree", () =>
    onDisk(
      { total: 4 * MIN_FREE, free: MIN_FREE - 1 },
      Effect.gen(function*() {
        yield* TestClock.adjust(0)
        assert.strictEqual((yield* DiskMonitor).status(), "Critical")
      })
    ))

  it.effect("keeps its last value while the disk can't be read, and continues afterwards", () =>
    onDisk(
      { free: 0.09 * TOTAL },
      Effect.gen(function*() {
        const monitor = yield* DiskMonitor
        yield* TestClock.adjust(0)
        const before = monitor.latest()
        disk.failure = fromErrno("EIO", "stat", "/cache")
        yield* TestClock.adjust("1 minute")
        assert.strictEqual(monitor.status(), "Warning")
        assert.strictEqual(monitor.latest(), before)
        assert.strictEqual(yield* outcome(monitor.usage), "IoError EIO")
        assert.deepStrictEqual(lines, ["Warn Cache disk is Warning"])
        reset()
        yield* polled
        assert.strictEqual(monitor.status(), "Healthy")
      })
    ))

  it.effect("is read again by usage", () =>
    onDisk(
      {},
      Effect.gen(function*() {
        const monitor = yield* DiskMonitor
        yield* TestClock.adjust(0)
        reset({ free: 0.04 * TOTAL })
        assert.strictEqual((yield* monitor.usage).free, 0.04 * TOTAL)
        assert.strictEqual(monitor.status(), "Critical")
      })
    ))
})

describe("DiskMonitor.reserve", () => {
  it.effect("promises bytes down to minFree, and no more", () =>
    onDisk(
      { free: MIN_FREE + 100 },
      Effect.gen(function*() {
        const { reserve } = yield* DiskMonitor
        assert.strictEqual(yield* outcome(Effect.scoped(reserve(100))), "OK")
        assert.strictEqual(yield* outcome(Effect.scoped(reserve(101))), "DiskFull ENOSPC")
      })
    ))

  it.effect("counts promises until their scope closes", () =>
    onDisk(
      { free: MIN_FREE + 100 },
      Effect.gen(function*() {
        const { reserve } = yield* DiskMonitor
        const scope = yield* Scope.make()
        yield* Scope.provide(reserve(60), scope)
        assert.strictEqual(yield* outcome(Effect.scoped(reserve(60))), "DiskFull ENOSPC")
        assert.strictEqual(yield* outcome(Effect.scoped(reserve(40))), "OK")
        yield* Scope.close(scope, Exit.void)
        assert.strictEqual(yield* outcome(Effect.scoped(reserve(100))), "OK")
      })
    ))

  it.effect("takes back a promise that fails", () =>
    onDisk(
      { free: MIN_FREE + 100 },
      Effect.gen(function*() {
        const { reserve } = yield* DiskMonitor
        yield* outcome(Effect.scoped(reserve(1000)))
        disk.failure = fromErrno("EIO", "stat", "/cache")
        assert.strictEqual(yield* outcome(Effect.scoped(reserve(100))), "IoError EIO")
        reset({ free: MIN_FREE + 100 })
        assert.strictEqual(yield* outcome(Effect.scoped(reserve(100))), "OK")
      })
    ))

  it.effect("keeps file nodes free, and counts those of other promises", () =>
    onDisk(
      // Of 6400 nodes, 100 stay free.
      { freeNodes: 100 + 2 * NODES_PER_WRITE, totalNodes: 6400 },
      Effect.gen(function*() {
        const { reserve } = yield* DiskMonitor
        yield* reserve(1)
        yield* reserve(1)
        assert.strictEqual(yield* outcome(Effect.scoped(reserve(1))), "DiskFull ENOSPC")
      })
    ))

  it.effect("ignores file nodes where the file system counts none", () =>
    onDisk(
      { freeNodes: 0, totalNodes: 0 },
      Effect.gen(function*() {
        assert.strictEqual(yield* outcome(Effect.scoped((yield* DiskMonitor).reserve(1))), "OK")
      })
    ))
})

describe("DiskMonitor.layer", () => {
  it.live("reads the file system of the nearest directory that exists", () =>
    Effect.gen(function*() {
      const directory = yield* temporaryDirectory
      const usageOf = (at: string) =>
        Effect.flatMap(DiskMonitor, ({ usage }) => usage).pipe(
          Effect.provide(Layer.fresh(DiskMonitor.layer.pipe(Layer.provide([config(at), DiskLimiter.layer]))))
        )
      const [existing, missing] = [yield* usageOf(directory), yield* usageOf(join(directory, "not", "there"))]
      assert.isAbove(existing.total, 0)
      assert.strictEqual(missing.total, existing.total)
    }))
})
