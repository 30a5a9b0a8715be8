import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Stream } from "effect"
import { TestClock } from "effect/testing"
import { make as makeResource } from "../../../../src/domain/Resource.ts"
import { outcomeOf } from "../../../../src/domain/rfc/CacheStatus.ts"
import { ChunkWriter } from "../../../../src/services/cache/ChunkWriter.ts"
import { DiskBreaker } from "../../../../src/services/disk/DiskBreaker.ts"
import { MediaStream } from "../../../../src/services/media/MediaStream.ts"
import { ActiveStreams } from "../../../../src/services/observe/ActiveStreams.ts"
import { Counters } from "../../../../src/services/observe/Counters.ts"
import { CAPACITY, FailureLog } from "../../../../src/services/operate/FailureLog.ts"
import { Faults } from "../../../../src/testing/FaultyFileSystem.ts"
import { MemoryOrigin } from "../../../../src/testing/MemoryOrigin.ts"
import { CHUNK, stack, view } from "../../../support/stack.ts"
import { randomBytes } from "../../../support/TestOrigin.ts"

const url = "http://origin.test/film.mp4?key=1"
const film = randomBytes(4 * CHUNK)

const putFilm = Effect.gen(function*() {
  const origin = yield* MemoryOrigin
  origin.files.set(url, { bytes: film, etag: "\"1\"", headers: { "cache-control": "max-age=3600" } })
  return origin
})

/** Lets time pass for as long as `effect` runs, so that what waits for a clock goes on. */
const ticking = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.gen(function*() {
    const fiber = yield* Effect.forkChild(
      Effect.forever(Effect.andThen(TestClock.adjust("100 millis"), Effect.promise(() => new Promise(setImmediate))))
    )
    return yield* Effect.ensuring(effect, Fiber.interrupt(fiber))
  })

/** Reads the film a piece at a time; `each` sees what is listed after each piece. */
const watch = (each: Effect.Effect<void, never, ActiveStreams>) =>
  Effect.scoped(Effect.gen(function*() {
    const media = yield* MediaStream
    const opened = yield* media.open({ resource: makeResource(url), viewer: "192.0.2.1" })
    assert(opened._tag === "Media")
    const bytes = yield* opened.parts[0]!.bytes
    assert(!(bytes instanceof Uint8Array))
    yield* Stream.runForEach(bytes, () => each)
  }))

describe("streams", () => {
  it.effect("are listed while they run, with what they are fed from", () =>
    Effect.gen(function*() {
      yield* putFilm
      const activeStreams = yield* ActiveStreams
      const faults = yield* Faults
      const writer = yield* ChunkWriter
      const positions: Array<number> = []
      const sources = new Set<string>()
      const look = Effect.gen(function*() {
        assert.strictEqual(activeStreams.count(), 1)
        const [stream] = activeStreams.streams()
        assert.deepInclude(stream, { url, start: 0, end: film.length, size: film.length, viewer: "192.0.2.1" })
        positions.push(stream!.position)
        sources.add(stream!.detail === undefined ? stream!.source : `${stream!.source} ${stream!.detail}`)
        yield* TestClock.adjust("1 second")
      })
      yield* watch(look)
      assert.deepStrictEqual([...sources], ["origin"])
      assert.deepStrictEqual(positions, positions.toSorted((a, b) => a - b))
      assert.strictEqual(positions.at(-1), film.length)
      assert.deepStrictEqual(activeStreams.streams(), [])
      yield* ticking(writer.idle)

      sources.clear()
      yield* watch(look)
      assert.deepStrictEqual([...sources], ["disk"])

      sources.clear()
      yield* faults.add({ operation: "open", fault: "EMFILE" })
      yield* ticking(watch(look))
      assert.deepStrictEqual([...sources], ["passthrough IO_ERROR"])
      assert.deepStrictEqual((yield* Counters).totals().bytes, {
        memory: 0,
        disk: film.length,
        origin: film.length,
        passthrough: film.length
      })
    }).pipe(Effect.provide(stack("faulty"))))

  it.effect("tell their rate over the last time that it was asked", () =>
    Effect.gen(function*() {
      const activeStreams = yield* ActiveStreams
      const rate = () => activeStreams.streams()[0]!.bytesPerSecond
      const stream = yield* activeStreams.begin({ url, resource: "a", start: 1000, end: 10_000, size: 10_000 })
      assert.strictEqual(rate(), 0)
      stream.advance(3000, "origin")
      yield* TestClock.adjust("2 seconds")
      assert.strictEqual(rate(), 1500)
      stream.advance(1000, "disk")
      yield* TestClock.adjust("100 millis")
      assert.strictEqual(rate(), 1500)
      yield* TestClock.adjust("900 millis")
      assert.strictEqual(rate(), 1000)
    }).pipe(Effect.scoped, Effect.provide(stack("memory"))))
})

describe("traffic", () => {
  it.effect("counts what origins were asked for and gave", () =>
    Effect.gen(function*() {
      yield* putFilm
      const counters = yield* Counters
      yield* view(url)
      assert.deepInclude(counters.totals(), { originRequests: 1, originBytes: film.length, evictions: 0 })
    }).pipe(Effect.provide(stack("memory"))))

  it.effect("counts what is evicted, and what is not written", () =>
    Effect.gen(function*() {
      yield* putFilm
      const counters = yield* Counters
      const faults = yield* Faults
      const writer = yield* ChunkWriter
      yield* view(url)
      yield* ticking(writer.idle)
      assert.deepInclude(counters.totals(), { evictions: 3, droppedChunks: 0 })
      yield* faults.add({ operation: "open", fault: "EIO" })
      yield* ticking(view(url))
      yield* ticking(writer.idle)
      assert.strictEqual(counters.totals().droppedChunks, 4)
    }).pipe(Effect.provide(stack("faulty", { maxSize: 2 * CHUNK + 24 * 1024 }))))

  it("tells a request's outcome from what the cache did", () => {
    assert.strictEqual(outcomeOf({ hit: true, ttl: 1 }), "hit")
    assert.strictEqual(outcomeOf({ hit: true, detail: "OFFLINE" }), "stale")
    assert.strictEqual(outcomeOf({ hit: true, detail: "ORIGIN_UNREACHABLE" }), "stale")
    assert.strictEqual(outcomeOf({ fwd: "uri-miss", stored: true }), "miss")
    assert.strictEqual(outcomeOf({ fwd: "request" }), "miss")
    assert.strictEqual(outcomeOf({ fwd: "partial" }), "partial")
    assert.strictEqual(outcomeOf({ fwd: "stale", fwdStatus: 304 }), "stale")
    assert.strictEqual(outcomeOf({ fwd: "bypass", detail: "DISK_FULL" }), "bypass")
    assert.strictEqual(outcomeOf({ fwd: "method" }), "other")
    assert.strictEqual(outcomeOf({ detail: "NOT_CACHED" }), "other")
  })
})

describe("failures", () => {
  it.effect("of the disk are told with their cause, and when they passed", () =>
    Effect.gen(function*() {
      const failureLog = yield* FailureLog
      const faults = yield* Faults
      const breaker = yield* DiskBreaker
      yield* putFilm
      yield* ticking(Effect.yieldNow)
      yield* faults.add({ operation: "sync", fault: "EROFS" })
      yield* view(url)
      yield* ticking(Effect.repeat(Effect.yieldNow, { until: () => failureLog.recent().length > 0, times: 100_000 }))
      const [failure] = failureLog.recent()
      assert.deepInclude(failure, { kind: "PermissionDenied", errno: "EROFS", operation: "sync" })
      assert.isUndefined(failure!.recoveredAt)
      yield* faults.clear
      yield* ticking(
        Effect.repeat(Effect.yieldNow, { until: () => breaker.unwritable() === undefined, times: 100_000 })
      )
      yield* ticking(
        Effect.repeat(Effect.yieldNow, {
          until: () => failureLog.recent()[0]?.recoveredAt !== undefined,
          times: 100_000
        })
      )
      assert.isAbove(failureLog.recent()[0]!.recoveredAt!, failure!.at)
      assert.lengthOf(failureLog.recent(), 1)
    }).pipe(Effect.provide(stack("faulty"))))

  it.effect("of an origin that no viewer noticed are told, without the query", () =>
    Effect.gen(function*() {
      const origin = yield* putFilm
      origin.behaviour = (_, index) => index === 0 ? { _tag: "Reset", after: 10_000 } : undefined
      const failureLog = yield* FailureLog
      const { bytes } = yield* ticking(view(url))
      assert.lengthOf(bytes, film.length)
      const [failure, ...others] = failureLog.recent()
      assert.deepInclude(failure, { kind: "OriginBodyFailed", url: "http://origin.test/film.mp4?…" })
      assert.isDefined(failure!.recoveredAt)
      assert.lengthOf(others, 0)
    }).pipe(Effect.provide(stack("memory"))))

  it.effect("that go on are one, and the oldest go", () =>
    Effect.gen(function*() {
      const origin = yield* putFilm
      const failureLog = yield* FailureLog
      origin.behaviour = () => ({ _tag: "Refuse" })
      yield* ticking(Effect.flip(view(url)))
      assert.isAbove(origin.requests.length, 1)
      assert.deepStrictEqual(failureLog.recent().map(({ kind }) => kind), ["OriginUnreachable"])
      assert.deepInclude(failureLog.recent()[0], {
        errno: "ECONNREFUSED",
        message: `${url}: no answer from the origin: connection refused (ECONNREFUSED)`,
        advice: "Start the origin, or correct host and port of its URL"
      })
      for (let i = 0; i < CAPACITY; i++) {
        origin.files.set(`http://${i}.test/`, { bytes: film, etag: "\"1\"" })
        yield* ticking(Effect.flip(view(`http://${i}.test/`)))
      }
      assert.lengthOf(failureLog.recent(), CAPACITY)
      assert.strictEqual(failureLog.recent()[0]!.url, `http://${CAPACITY - 1}.test/`)
      assert.isTrue(failureLog.recent().every((failure) => failure.url !== url))
    }).pipe(Effect.provide(stack("memory"))))
})
