import { assert, describe, it } from "@effect/vitest"
import { Clock, Deferred, Effect, Exit, Fiber, Layer, Stream } from "effect"
import { TestClock } from "effect/testing"
import { type CacheError, IoError } from "../../../../src/domain/CacheError.ts"
import { make as makeResource } from "../../../../src/domain/Resource.ts"
import { ChunkWriter } from "../../../../src/services/cache/ChunkWriter.ts"
import { DiskBreaker } from "../../../../src/services/disk/DiskBreaker.ts"
import { DiskLimiter } from "../../../../src/services/disk/DiskLimiter.ts"
import { MediaStream } from "../../../../src/services/media/MediaStream.ts"
import { MemoryDisk } from "../../../../src/testing/MemoryFileSystem.ts"
import { MemoryOrigin } from "../../../../src/testing/MemoryOrigin.ts"
import { restartable, World } from "../../../support/stack.ts"
import { randomBytes, sha256 } from "../../../support/TestOrigin.ts"

/** How many calls are let through: half of Node's pool, as it is in tests. */
const PERMITS = Math.max(2, Math.floor((Number(process.env["UV_THREADPOOL_SIZE"]) || 4) / 2))
const PATIENCE = 250

const errnoOf = (exit: Exit.Exit<unknown, CacheError> | undefined): string | undefined => {
  const error = exit === undefined ? undefined : Exit.findErrorOption(exit)
  return error?._tag === "Some" ? `${error.value._tag} ${error.value.errno}` : undefined
}

/** Starts calls that take so long each; the fibers that wait for them. */
const start = Effect.fnUntraced(function*(count: number, millis: number, name = "file") {
  const limiter = yield* DiskLimiter
  const fibers: Array<Fiber.Fiber<string, CacheError>> = []
  for (let index = 0; index < count; index++) {
    const call = Effect.as(Effect.sleep(millis), `${name}${index}`)
    fibers.push(yield* Effect.forkChild(limiter.passWithin(PATIENCE, `${name}${index}`, call)))
  }
  yield* TestClock.adjust(0)
  return fibers
})

const outcomes = (fibers: ReadonlyArray<Fiber.Fiber<string, CacheError>>) =>
  fibers.map((fiber) => {
    const exit = fiber.pollUnsafe()
    return exit === undefined ? "waits" : Exit.isSuccess(exit) ? "done" : errnoOf(exit)
  })

const times = <A>(count: number, value: A): Array<A> => Array.from({ length: count }, () => value)

describe("DiskLimiter", () => {
  it.effect("has a read on a disk that does nothing fail with TIMEOUT when the viewer's patience is over", () =>
    Effect.gen(function*() {
      const fibers = yield* start(PERMITS, 10_000)
      yield* TestClock.adjust(PATIENCE - 1)
      assert.deepStrictEqual(outcomes(fibers), times(PERMITS, "waits"))
      yield* TestClock.adjust(1)
      assert.deepStrictEqual(outcomes(fibers), times(PERMITS, "IoError TIMEOUT"))
    }).pipe(Effect.provide(DiskLimiter.layer)))

  it.effect("calls a late read busy while the disk does other things", () =>
    Effect.gen(function*() {
      const limiter = yield* DiskLimiter
      const steps = yield* Effect.forkChild(
        Effect.forever(Effect.andThen(Effect.sleep(60), Effect.sync(limiter.progressed)))
      )
      const fibers = yield* start(1, 400)
      yield* TestClock.adjust(PATIENCE)
      assert.deepStrictEqual(outcomes(fibers), ["DiskBusy TIMEOUT"])
      yield* Fiber.interrupt(steps)
    }).pipe(Effect.provide(DiskLimiter.layer)))

  it.effect("refuses at once what would be late, and takes more when the line is shorter", () =>
    Effect.gen(function*() {
      const limiter = yield* DiskLimiter
      // It has learnt how long a read takes.
      for (let round = 0; round < 12; round++) {
        yield* start(PERMITS, 100)
        yield* TestClock.adjust(100)
      }
      assert.isFalse(limiter.isBusy(PATIENCE))
      const fibers = yield* start(4 * PERMITS, 100)
      const refused = outcomes(fibers).filter((outcome) => outcome === "DiskBusy BUSY").length
      assert.isAtLeast(refused, 2 * PERMITS)
      assert.isTrue(limiter.isBusy(PATIENCE))
      yield* TestClock.adjust(PATIENCE - 1)
      // Whoever is let in is in time.
      assert.deepStrictEqual(
        outcomes(fibers).filter((outcome) => outcome !== "done"),
        times(refused, "DiskBusy BUSY")
      )
      assert.strictEqual(limiter.inFlight(), 0)
      assert.isFalse(limiter.isBusy(PATIENCE))
    }).pipe(Effect.provide(DiskLimiter.layer)))

  it.effect("has no second viewer wait for a disk that is too slow, and asks it in the background", () =>
    Effect.gen(function*() {
      const limiter = yield* DiskLimiter
      const steps = yield* Effect.forkChild(
        Effect.forever(Effect.andThen(Effect.sleep(60), Effect.sync(limiter.progressed)))
      )
      const [first] = yield* start(1, 1000, "slow")
      yield* TestClock.adjust(1000)
      assert.strictEqual(errnoOf(yield* Fiber.await(first!)), "DiskBusy TIMEOUT")
      for (let round = 0; round < 5; round++) {
        const refused = yield* start(PERMITS, 300, `slow${round}-`)
        assert.deepStrictEqual(outcomes(refused), times(PERMITS, "DiskBusy BUSY"))
        assert.strictEqual(limiter.inFlight(), 1)
        yield* TestClock.adjust(300)
        assert.strictEqual(limiter.inFlight(), 0)
      }
      // It is fast again.
      yield* start(1, 1)
      yield* TestClock.adjust(1)
      const later = yield* start(PERMITS, 1)
      yield* TestClock.adjust(1)
      assert.deepStrictEqual(outcomes(later), times(PERMITS, "done"))
      yield* Fiber.interrupt(steps)
    }).pipe(Effect.provide(DiskLimiter.layer)))

  it.effect("forgets how slow the disk was when nobody has read for a while", () =>
    Effect.gen(function*() {
      const limiter = yield* DiskLimiter
      const steps = yield* Effect.forkChild(
        Effect.forever(Effect.andThen(Effect.sleep(60), Effect.sync(limiter.progressed)))
      )
      yield* start(1, 300, "slow")
      yield* TestClock.adjust(300)
      yield* Fiber.interrupt(steps)
      assert.isTrue(limiter.isBusy(PATIENCE))
      yield* TestClock.adjust(5000)
      assert.isFalse(limiter.isBusy(PATIENCE))
    }).pipe(Effect.provide(DiskLimiter.layer)))

  it.effect("finds in the background that a slow disk hangs, and tells the next viewer at once", () =>
    Effect.gen(function*() {
      const gate = yield* DiskLimiter
      const steps = yield* Effect.forkChild(
        Effect.forever(Effect.andThen(Effect.sleep(60), Effect.sync(gate.progressed)))
      )
      yield* start(1, 300, "slow")
      yield* TestClock.adjust(300)
      yield* Fiber.interrupt(steps)
      assert.deepStrictEqual(outcomes(yield* start(1, 1000, "hung")), ["DiskBusy BUSY"])
      yield* TestClock.adjust(PATIENCE)
      assert.deepStrictEqual(outcomes(yield* start(1, 1, "other")), ["IoError TIMEOUT"])
      yield* TestClock.adjust(1000)
      assert.strictEqual(gate.inFlight(), 0)
      assert.notDeepEqual(outcomes(yield* start(1, 1, "other")), ["IoError TIMEOUT"])
    }).pipe(Effect.provide(DiskLimiter.layer)))

  it.effect("takes out of the line whoever leaves", () =>
    Effect.gen(function*() {
      const gate = yield* DiskLimiter
      const held = yield* Effect.forEach(times(PERMITS, 0), () => Effect.forkChild(gate.pass(Effect.sleep(150))))
      yield* TestClock.adjust(0)
      let began = 0
      const call = Effect.sync(() => void (began += 1))
      const fibers = yield* Effect.forEach(times(20, 0), (_, index) =>
        Effect.forkChild(gate.passWithin(PATIENCE, `file${index}`, call)))
      yield* TestClock.adjust(10)
      yield* Effect.forEach(fibers.slice(1), (fiber) =>
        Fiber.interrupt(fiber))
      yield* TestClock.adjust(140)
      yield* Effect.forEach(held, Fiber.join)
      assert.strictEqual(began, 1)
    }).pipe(Effect.provide(DiskLimiter.layer)))

  it.effect("forgets whoever leaves at once", () =>
    Effect.gen(function*() {
      const gate = yield* DiskLimiter
      for (let round = 0; round < 12; round++) {
        yield* start(PERMITS, 200, `slow${round}-`)
        yield* TestClock.adjust(200)
      }
      const held = yield* start(PERMITS, 100, "held")
      for (let index = 0; index < 100; index++) {
        const fiber = yield* Effect.forkChild(gate.passWithin(PATIENCE, `left${index}`, Effect.void))
        yield* Fiber.interrupt(fiber)
      }
      yield* TestClock.adjust(100)
      assert.deepStrictEqual(outcomes(held), times(PERMITS, "done"))
      assert.strictEqual(gate.inFlight(), 0)
      assert.isFalse(gate.isBusy(PATIENCE))
    }).pipe(Effect.provide(DiskLimiter.layer)))

  it.effect("does not read a file again whose read is late, and gives its error to the next viewer", () =>
    Effect.gen(function*() {
      const gate = yield* DiskLimiter
      const answer = yield* Deferred.make<string, CacheError>()
      let calls = 0
      const read = gate.passWithin(
        PATIENCE,
        "bad",
        Effect.suspend(() => {
          calls += 1
          return Deferred.await(answer)
        })
      )
      const first = yield* Effect.forkChild(Effect.exit(read))
      yield* TestClock.adjust(PATIENCE)
      assert.strictEqual(errnoOf(yield* Fiber.join(first)), "IoError TIMEOUT")
      assert.strictEqual(errnoOf(yield* Effect.exit(read)), "DiskBusy BUSY")
      yield* Deferred.fail(answer, new IoError({ errno: "EIO", operation: "read", path: "bad" }))
      yield* TestClock.adjust(0)
      assert.strictEqual(errnoOf(yield* Effect.exit(read)), "IoError EIO")
      assert.strictEqual(calls, 1)
    }).pipe(Effect.provide(DiskLimiter.layer)))

  it.effect("reads other files while the read of one is late for good", () =>
    Effect.gen(function*() {
      const gate = yield* DiskLimiter
      const bad = yield* start(1, 60_000, "bad")
      yield* TestClock.adjust(PATIENCE)
      assert.deepStrictEqual(outcomes(bad), ["IoError TIMEOUT"])
      // The first one goes ahead in the background.
      yield* start(1, 1, "other")
      yield* TestClock.adjust(1)
      const others = yield* start(PERMITS - 1, 1, "other")
      yield* TestClock.adjust(1)
      assert.deepStrictEqual(outcomes(others), times(PERMITS - 1, "done"))
      assert.deepStrictEqual(outcomes(yield* start(1, 1, "bad")), ["DiskBusy BUSY"])
      assert.strictEqual(gate.inFlight(), 1)
    }).pipe(Effect.provide(DiskLimiter.layer)))

  it.effect("finds a disk stalled only when calls are under way and nothing is done", () =>
    Effect.gen(function*() {
      const gate = yield* DiskLimiter
      const stalled = yield* Effect.forkChild(gate.stalled(5000))
      yield* TestClock.adjust("1 minute")
      assert.isUndefined(stalled.pollUnsafe())
      const call = yield* Effect.forkChild(gate.pass(Effect.sleep("1 hour")))
      for (let round = 0; round < 10; round++) {
        yield* TestClock.adjust(4000)
        gate.progressed()
      }
      assert.isUndefined(stalled.pollUnsafe())
      yield* TestClock.adjust(6000)
      assert.isDefined(stalled.pollUnsafe())
      yield* Fiber.interrupt(call)
    }).pipe(Effect.provide(DiskLimiter.layer)))

  it.effect("does not count time in which the process was held up", () =>
    Effect.gen(function*() {
      const clock = yield* Clock.Clock
      let heldUp = BigInt(0)
      const held = { ...clock, monotonicTimeNanosUnsafe: () => clock.monotonicTimeNanosUnsafe() + heldUp }
      yield* Effect.gen(function*() {
        const fibers = yield* start(PERMITS, 100)
        heldUp = BigInt(10_000_000_000)
        yield* TestClock.adjust(100)
        assert.deepStrictEqual(outcomes(fibers), times(PERMITS, "done"))
        const gate = yield* DiskLimiter
        assert.isFalse(gate.isBusy(PATIENCE))
      }).pipe(
        Effect.provide(DiskLimiter.layer, { local: true }),
        Effect.provideService(Clock.Clock, held as unknown as Clock.Clock)
      )
    }))
})

describe("a disk that is slower than its viewers", () => {
  const CHUNK = 64 * 1024
  const VIEWERS = 8 * PERMITS

  it.effect("serves as far as it goes, the origin the rest, and the breaker stays closed", () =>
    Effect.gen(function*() {
      const disk = yield* MemoryDisk
      const gate = yield* DiskLimiter
      const breaker = yield* DiskBreaker
      const media = yield* MediaStream
      const origin = yield* MemoryOrigin
      const watch = Effect.fnUntraced(function*(index: number) {
        const url = `http://origin.test/film${index}`
        const opened = yield* media.open({ resource: makeResource(url) })
        assert.strictEqual(opened._tag, "Media")
        if (opened._tag !== "Media") return
        const body = yield* opened.parts[0]!.bytes
        const bytes = body instanceof Uint8Array ? body : yield* Stream.mkUint8Array(body)
        assert.strictEqual(sha256(bytes), sha256(origin.files.get(url)!.bytes))
      }, Effect.scoped)
      for (let index = 0; index < VIEWERS; index++) {
        const bytes = randomBytes(CHUNK, index + 1)
        origin.files.set(`http://origin.test/film${index}`, {
          bytes,
          etag: "\"1\"",
          headers: { "cache-control": "max-age=86400" }
        })
        yield* watch(index)
      }
      yield* (yield* ChunkWriter).idle
      origin.requests.length = 0
      disk.latency = () => 30
      for (let round = 0; round < 10; round++) {
        const viewers = yield* Effect.forkChild(
          Effect.forEach(Array.from({ length: VIEWERS }, (_, index) => index), watch, { concurrency: "unbounded" })
        )
        for (let step = 0; step < 40; step++) {
          yield* TestClock.adjust(10)
          yield* Effect.promise(() => new Promise(setImmediate))
          assert.isUndefined(breaker.unwritable())
        }
        assert.isDefined(viewers.pollUnsafe())
        yield* Fiber.join(viewers)
      }
      const sent = origin.requests.reduce((sum, request) => sum + request.sent, 0)
      // Without the origin, the last viewer of a round would wait for 480 ms.
      assert.isAbove(sent, 0)
      assert.isBelow(sent, 0.7 * 10 * VIEWERS * CHUNK)
      disk.latency = undefined
      yield* TestClock.adjust("1 second")
      assert.strictEqual(gate.inFlight(), 0)
      origin.requests.length = 0
      yield* Effect.forEach(Array.from({ length: VIEWERS }, (_, index) => index), watch)
      assert.strictEqual(origin.requests.length, 0)
    }).pipe(Effect.provide(Layer.provideMerge(Layer.provideMerge(restartable(), World), DiskLimiter.layer))))
})
