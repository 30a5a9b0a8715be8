import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Stream } from "effect"
import { TestClock } from "effect/testing"
import { make as makeResource } from "../../../../src/domain/Resource.ts"
import { outcomeOf } from "../../../../src/domain/rfc/CacheStatus.ts"
import { Recorder } from "../../../../src/services/cache/Recorder.ts"
import { CacheHealth } from "../../../../src/services/disk/CacheHealth.ts"
import { MediaStream } from "../../../../src/services/media/MediaStream.ts"
import { Activity } from "../../../../src/services/observe/Activity.ts"
import { Traffic } from "../../../../src/services/observe/Traffic.ts"
import { CAPACITY, Failures } from "../../../../src/services/operate/Failures.ts"
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
const watch = (each: Effect.Effect<void, never, Activity>) =>
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
      const activity = yield* Activity
      const faults = yield* Faults
      const recorder = yield* Recorder
      const positions: Array<number> = []
      const sources = new Set<string>()
      const look = Effect.gen(function*() {
        assert.strictEqual(activity.count(), 1)
        const [stream] = activity.streams()
        assert.deepInclude(stream, { url, start: 0, end: film.length, size: film.length, viewer: "192.0.2.1" })
        positions.push(stream!.position)
        sources.add(stream!.detail === undefined ? stream!.source : `${stream!.source} ${stream!.detail}`)
        yield* TestClock.adjust("1 second")
      })
      yield* watch(look)
      assert.deepStrictEqual([...sources], ["origin"])
      assert.deepStrictEqual(positions, positions.toSorted((a, b) => a - b))
      assert.strictEqual(positions.at(-1), film.length)
      assert.deepStrictEqual(activity.streams(), [])
      yield* ticking(recorder.idle)

      sources.clear()
      yield* watch(look)
      assert.deepStrictEqual([...sources], ["disk"])

      sources.clear()
      yield* faults.add({ operation: "open", fault: "EMFILE" })
      yield* ticking(watch(look))
      assert.deepStrictEqual([...sources], ["passthrough IO_ERROR"])
      assert.deepStrictEqual((yield* Traffic).totals().bytes, {
        memory: 0,
        disk: film.length,
        origin: film.length,
        passthrough: film.length
      })
    }).pipe(Effect.provide(stack("faulty"))))

  it.effect("tell their rate over the last time that it was asked", () =>
    Effect.gen(function*() {
      const activity = yield* Activity
      const rate = () => activity.streams()[0]!.bytesPerSecond
      const stream = yield* activity.begin({ url, resource: "a", start: 1000, end: 10_000, size: 10_000 })
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
      const traffic = yield* Traffic
      yield* view(url)
      assert.deepInclude(traffic.totals(), { originRequests: 1, originBytes: film.length, evictions: 0 })
    }).pipe(Effect.provide(stack("memory"))))

  it.effect("counts what is evicted, and what is not written", () =>
    Effect.gen(function*() {
      yield* putFilm
      const traffic = yield* Traffic
      const faults = yield* Faults
      const recorder = yield* Recorder
      yield* view(url)
      yield* ticking(recorder.idle)
      assert.deepInclude(traffic.totals(), { evictions: 3, droppedChunks: 0 })
      yield* faults.add({ operation: "open", fault: "EIO" })
      yield* ticking(view(url))
      yield* ticking(recorder.idle)
      assert.strictEqual(traffic.totals().droppedChunks, 4)
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
      const failures = yield* Failures
      const faults = yield* Faults
      const health = yield* CacheHealth
      yield* putFilm
      yield* ticking(Effect.yieldNow)
      yield* faults.add({ operation: "sync", fault: "EROFS" })
      yield* view(url)
      yield* ticking(Effect.repeat(Effect.yieldNow, { until: () => failures.recent().length > 0, times: 100_000 }))
      const [failure] = failures.recent()
      assert.deepInclude(failure, { kind: "PermissionDenied", errno: "EROFS", operation: "sync" })
      assert.isUndefined(failure!.recoveredAt)
      yield* faults.clear
      yield* ticking(
        Effect.repeat(Effect.yieldNow, { until: () => health.unwritable() === undefined, times: 100_000 })
      )
      yield* ticking(
        Effect.repeat(Effect.yieldNow, { until: () => failures.recent()[0]?.recoveredAt !== undefined, times: 100_000 })
      )
      assert.isAbove(failures.recent()[0]!.recoveredAt!, failure!.at)
      assert.lengthOf(failures.recent(), 1)
    }).pipe(Effect.provide(stack("faulty"))))

  it.effect("of an origin that no viewer noticed are told, without the query", () =>
    Effect.gen(function*() {
      const origin = yield* putFilm
      origin.behaviour = (_, index) => index === 0 ? { _tag: "Reset", after: 10_000 } : undefined
      const failures = yield* Failures
      const { bytes } = yield* ticking(view(url))
      assert.lengthOf(bytes, film.length)
      const [failure, ...others] = failures.recent()
      assert.deepInclude(failure, { kind: "OriginBodyFailed", url: "http://origin.test/film.mp4?…" })
      assert.isDefined(failure!.recoveredAt)
      assert.lengthOf(others, 0)
    }).pipe(Effect.provide(stack("memory"))))

  it.effect("that go on are one, and the oldest go", () =>
    Effect.gen(function*() {
      const origin = yield* putFilm
      const failures = yield* Failures
      origin.behaviour = () => ({ _tag: "Refuse" })
      yield* ticking(Effect.flip(view(url)))
      assert.isAbove(origin.requests.length, 1)
      assert.deepStrictEqual(failures.recent().map(({ kind }) => kind), ["OriginUnreachable"])
      assert.deepInclude(failures.recent()[0], {
        errno: "ECONNREFUSED",
        message: `${url}: no answer from the origin: connection refused (ECONNREFUSED)`,
        advice: "Start the origin, or correct host and port of its URL"
      })
      for (let i = 0; i < CAPACITY; i++) {
        origin.files.set(`http://${i}.test/`, { bytes: film, etag: "\"1\"" })
        yield* ticking(Effect.flip(view(`http://${i}.test/`)))
      }
      assert.lengthOf(failures.recent(), CAPACITY)
      assert.strictEqual(failures.recent()[0]!.url, `http://${CAPACITY - 1}.test/`)
      assert.isTrue(failures.recent().every((failure) => failure.url !== url))
    }).pipe(Effect.provide(stack("memory"))))
})
