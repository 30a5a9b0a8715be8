import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Layer, Scope, Stream } from "effect"
import { TestClock } from "effect/testing"
import { make as makeResource } from "../../../../src/domain/Resource.ts"
import { defaultPolicy, READ_AHEAD_BYTES, type RoutePolicy } from "../../../../src/domain/RoutePolicy.ts"
import { CacheIndex } from "../../../../src/services/cache/CacheIndex.ts"
import { ChunkCache } from "../../../../src/services/cache/ChunkCache.ts"
import { ChunkWriter } from "../../../../src/services/cache/ChunkWriter.ts"
import type { CacheOptions } from "../../../../src/services/config/CacheConfig.ts"
import { bytesOnDisk } from "../../../../src/services/disk/ChunkStore.ts"
import { MediaStream } from "../../../../src/services/media/MediaStream.ts"
import type { Source } from "../../../../src/services/origin/askOrigin.ts"
import { Faults, operations } from "../../../../src/testing/FaultyFileSystem.ts"
import { MemoryOrigin } from "../../../../src/testing/MemoryOrigin.ts"
import { CHUNK, restartable, specOf, World } from "../../../support/stack.ts"
import { MiB, randomBytes } from "../../../support/TestOrigin.ts"

const SLICE = 64 * 1024
const STEP_MILLIS = 20

const url = "http://origin.test/film.mp4"
const film = randomBytes(16 * MiB + 100)

const sourceOf = (policy: Partial<RoutePolicy>): Source => {
  const route = { ...defaultPolicy(new URL("http://origin.test")), ...policy }
  return { fields: {}, locate: () => Effect.succeed({ url, headers: {}, route }) }
}

const begin = Effect.map(MemoryOrigin, (origin) => {
  origin.files.set(url, { bytes: film, etag: "\"1\"", headers: { "cache-control": "max-age=3600" } })
  origin.sliceBytes = SLICE
  origin.latency = () => 2
  return origin
})

/** Lets time pass. Whatever waits for a part of it goes on. */
const pass = Effect.fnUntraced(function*(millis: number) {
  for (let passed = 0; passed < millis; passed += STEP_MILLIS) yield* TestClock.adjust(STEP_MILLIS)
})

/** Runs `effect` while time passes, and returns how long it has taken, in milliseconds. */
const taken = Effect.fnUntraced(function*<A, E, R>(effect: Effect.Effect<A, E, R>) {
  const fiber = yield* Effect.forkChild(effect, { startImmediately: true })
  let millis = 0
  while (fiber.pollUnsafe() === undefined) {
    yield* TestClock.adjust(STEP_MILLIS)
    millis += STEP_MILLIS
    assert.isBelow(millis, 120_000, "takes too long")
  }
  yield* Fiber.join(fiber)
  return millis
})

/** A viewer who takes bytes when the test says so, and checks that they are the film's. */
const watch = Effect.fnUntraced(function*(policy: Partial<RoutePolicy>, start = 0, end = film.length) {
  const scope = yield* Scope.fork(yield* Effect.scope)
  const media = yield* MediaStream
  const cache = yield* ChunkCache
  const open = Effect.gen(function*() {
    const request = { resource: makeResource(url), source: sourceOf(policy), ranges: [specOf({ start, end })] }
    const opened = yield* media.open(request)
    const body = opened._tag === "Media" ? yield* opened.parts[0]!.bytes : undefined
    if (opened._tag !== "Media" || body === undefined) return yield* Effect.die("no stream")
    const bytes = body instanceof Uint8Array ? Stream.make(body) : body
    return { representation: opened.entry.representation, pull: yield* Stream.toPull(bytes) }
  })
  let offset = start
  let opened: Effect.Success<typeof open> | undefined
  return {
    /** Watches up to `target` at least. */
    takeTo: Effect.fnUntraced(function*(target: number) {
      opened ??= yield* Scope.provide(open, scope)
      while (offset < target) {
        for (const bytes of yield* opened.pull) {
          assert.isTrue(Buffer.from(bytes).equals(film.subarray(offset, offset + bytes.length)), `at ${offset}`)
          offset += bytes.length
        }
      }
    }),
    offset: () => offset,
    /** How far the film is cached from an offset on. */
    cachedTo: (start: number) => cache.endOfCached(opened!.representation, { start, end: film.length }),
    leave: Scope.close(scope, Exit.interrupt())
  }
})

/** Has a part of the film in the cache. */
const keep = Effect.fnUntraced(function*(start: number, end: number) {
  const { leave, takeTo } = yield* watch({}, start, end)
  yield* taken(takeTo(end))
  yield* leave
  yield* pass(100)
})

const startsOf = (requests: MemoryOrigin["Service"]["requests"]) =>
  requests.map(({ headers }) => Number(/=(\d+)/.exec(headers["range"]!)![1]))

const sentIn = (requests: MemoryOrigin["Service"]["requests"]) => requests.reduce((sum, { sent }) => sum + sent, 0)

const layer = (options: Partial<CacheOptions>) => Layer.provideMerge(restartable(options), World)

const test = (
  name: string,
  body: Effect.Effect<void, unknown, Scope.Scope | Layer.Success<ReturnType<typeof layer>>>,
  options: Partial<CacheOptions> = {}
) => it.effect(name, () => body.pipe(Effect.scoped, Effect.provide(layer(options))))

describe("a read-ahead", () => {
  test(
    "fills the cache up to its bytes ahead of the viewer, on the viewer's own fetch",
    Effect.gen(function*() {
      const origin = yield* begin
      const { cachedTo, takeTo } = yield* watch({ readAhead: 4 * MiB })
      for (const offset of [1, 3 * MiB]) {
        yield* taken(takeTo(offset))
        yield* pass(2000)
        const { sent } = origin.requests[0]!
        assert.isAtLeast(sent, offset + 4 * MiB)
        assert.isAtMost(sent, offset + 4 * MiB + MiB)
        assert.isAtLeast(cachedTo(0), offset + 4 * MiB - CHUNK)
      }
      assert.lengthOf(origin.requests, 1)
    })
  )

  test(
    "is a mebibyte by default",
    Effect.gen(function*() {
      const origin = yield* begin
      const { takeTo } = yield* watch({})
      yield* taken(takeTo(1))
      yield* pass(2000)
      assert.isAtMost(origin.requests[0]!.sent, READ_AHEAD_BYTES + 128 * 1024)
    })
  )

  test(
    "begins in the cached part of a file, behind viewers' requests, and starts again when half of it is used",
    Effect.gen(function*() {
      const origin = yield* begin
      yield* keep(0, MiB)
      const before = origin.requests.length
      const { cachedTo, takeTo } = yield* watch({ readAhead: 4 * MiB })
      yield* taken(takeTo(1))
      yield* pass(10_000)
      const later = () => origin.requests.slice(before)
      assert.deepStrictEqual(startsOf(later()), [MiB])
      assert.isTrue(later()[0]!.background)
      assert.strictEqual(origin.open, 0)
      assert.isAtLeast(cachedTo(0), 4 * MiB - CHUNK)
      yield* taken(takeTo(MiB))
      yield* pass(1000)
      assert.lengthOf(later(), 1)
      yield* taken(takeTo(2 * MiB + 2 * CHUNK))
      yield* pass(1000)
      assert.lengthOf(later(), 2)
      assert.isAtLeast(cachedTo(0), 6 * MiB)
    })
  )

  test(
    "hides an outage of the origin that is shorter than what it has fetched",
    Effect.gen(function*() {
      const origin = yield* begin
      const { takeTo } = yield* watch({ readAhead: 8 * MiB })
      yield* taken(takeTo(1))
      yield* pass(2000)
      let isDown = true
      origin.behaviour = () => isDown ? { _tag: "Refuse" } : undefined
      yield* pass(7000)
      // A mebibyte in half a second.
      for (let offset = 0; offset < 5 * MiB; offset += CHUNK) {
        assert.isBelow(yield* taken(takeTo(offset + CHUNK)), 100)
        yield* pass(30)
      }
      const failed = origin.requests.length
      assert.isAbove(failed, 4)
      assert.isBelow(failed, 20)
      isDown = false
      yield* pass(2000)
      for (let offset = 5 * MiB; offset < film.length; offset += CHUNK) {
        assert.isBelow(yield* taken(takeTo(Math.min(film.length, offset + CHUNK))), 100)
        yield* pass(30)
      }
    })
  )

  test(
    "ends with its last viewer, and is shared by those who watch the same part",
    Effect.gen(function*() {
      const origin = yield* begin
      origin.latency = () => 60
      const [first, second] = [yield* watch({ readAhead: 8 * MiB }), yield* watch({ readAhead: 8 * MiB })]
      yield* taken(Effect.all([first.takeTo(1), second.takeTo(1)]))
      yield* pass(4000)
      assert.isAbove(origin.requests[0]!.sent, READ_AHEAD_BYTES + MiB)
      yield* first.leave
      yield* pass(1000)
      assert.strictEqual(origin.open, 1)
      yield* second.leave
      yield* pass(1000)
      assert.strictEqual(origin.open, 0)
      assert.lengthOf(origin.requests, 1)
      assert.isBelow(origin.requests[0]!.sent, 8 * MiB)
    })
  )

  test(
    "completes the file after its last viewer if its route says so, in spite of a failing origin",
    Effect.gen(function*() {
      const origin = yield* begin
      const { cachedTo, leave, takeTo } = yield* watch({ finish: true }, 5 * MiB + 17)
      yield* taken(takeTo(5 * MiB + 18))
      origin.behaviour = (_, index) => index < 12 ? { _tag: "Refuse" } : undefined
      yield* leave
      yield* pass(60_000)
      assert.strictEqual(cachedTo(0), film.length)
      assert.strictEqual(origin.open, 0)
      assert.isTrue(origin.requests.slice(2).every(({ background }) => background === true))
    })
  )

  test(
    "gives up to complete a file if the origin has failed for long",
    Effect.gen(function*() {
      const origin = yield* begin
      const { leave, takeTo } = yield* watch({ finish: true })
      yield* taken(takeTo(1))
      yield* leave
      origin.behaviour = () => ({ _tag: "Refuse" })
      yield* pass(60_000)
      const tries = origin.requests.length
      assert.isAbove(tries, 10)
      yield* TestClock.adjust("10 minutes")
      assert.lengthOf(origin.requests, tries)
    })
  )

  test(
    "is a mebibyte while the disk fails, and goes on when it works again",
    Effect.gen(function*() {
      const origin = yield* begin
      const faults = yield* Faults
      for (const operation of operations) yield* faults.add({ operation, fault: "EIO" })
      const { cachedTo, takeTo } = yield* watch({ readAhead: 8 * MiB })
      // Enough for the cache to notice.
      yield* taken(takeTo(2 * MiB))
      yield* pass(2000)
      const cache = yield* ChunkCache
      assert.isDefined(cache.failure())
      assert.isAtMost(Math.max(...origin.requests.map(({ sent }) => sent)), 3 * MiB + 128 * 1024)
      yield* faults.clear
      yield* pass(120_000)
      assert.isUndefined(cache.failure())
      yield* taken(takeTo(3 * MiB))
      yield* pass(20_000)
      assert.isAtLeast(cachedTo(4 * MiB), 8 * MiB)
    })
  )

  test(
    "goes less far if the cache is too small for all that is read ahead",
    Effect.gen(function*() {
      const origin = yield* begin
      const index = yield* CacheIndex
      const writer = yield* ChunkWriter
      const viewers = yield* Effect.forEach([0, 8 * MiB], (start) => watch({ readAhead: 3 * MiB }, start))
      for (let step = 0; step < 6 * MiB; step += CHUNK) {
        for (const { offset, takeTo } of viewers) yield* taken(takeTo(offset() + CHUNK))
        yield* writer.idle
        yield* pass(100)
      }
      assert.isAtMost(index.bytes(), 64 * bytesOnDisk(CHUNK))
      // All that both have watched once, their buffers, and little twice.
      assert.isAtMost(sentIn(origin.requests), 2 * (6 + 3 + 2) * MiB)
    }),
    { maxSize: 64 * bytesOnDisk(CHUNK), memory: 0 }
  )

  test(
    "has several fetches at a time if the route says so, for origins that throttle each one",
    Effect.gen(function*() {
      const origin = yield* begin
      origin.latency = () => 40
      let most = 0
      origin.behaviour = () => {
        most = Math.max(most, origin.open)
        return undefined
      }
      const millisOf = Effect.fnUntraced(function*(parallel: number) {
        origin.files.set(url, { ...origin.files.get(url)!, etag: `"${parallel}"`, headers: {} })
        most = 0
        const { leave, takeTo } = yield* watch({ parallel })
        const millis = yield* taken(takeTo(film.length))
        yield* leave
        yield* pass(1000)
        assert.strictEqual(origin.open, 0)
        return { millis, most }
      })
      const [one, four, eight] = [yield* millisOf(1), yield* millisOf(4), yield* millisOf(8)]
      assert.strictEqual(one.most, 1)
      assert.strictEqual(four.most, 4)
      assert.isAtMost(eight.most, 8)
      assert.isAtLeast(one.millis / four.millis, 3.5)
      // Each byte once, and what was under way when one of them came to the stretch of another.
      assert.isAtMost(sentIn(origin.requests), 3 * (film.length + 2 * SLICE))
    })
  )

  test(
    "doesn't fetch a file several times from an origin without ranges",
    Effect.gen(function*() {
      const origin = yield* begin
      origin.files.set(url, { ...origin.files.get(url)!, acceptsRanges: false })
      const { takeTo } = yield* watch({ parallel: 4, readAhead: 8 * MiB })
      yield* taken(takeTo(film.length))
      yield* pass(1000)
      assert.isAtMost(sentIn(origin.requests), film.length + 4 * 2 * SLICE)
    })
  )

  test(
    "passes over what is cached",
    Effect.gen(function*() {
      const origin = yield* begin
      const kept = [20, 21, 40]
      for (const index of kept) yield* keep(index * CHUNK, (index + 1) * CHUNK)
      const before = origin.requests.length
      const { cachedTo, takeTo } = yield* watch({ readAhead: 4 * MiB })
      yield* taken(takeTo(1))
      yield* pass(5000)
      assert.isAtLeast(cachedTo(0), 4 * MiB - CHUNK)
      const later = origin.requests.slice(before)
      assert.deepStrictEqual(startsOf(later).map((start) => start / CHUNK), [0, 22, 41])
      assert.isAtMost(sentIn(later), 4 * MiB - kept.length * CHUNK + 3 * SLICE)
    })
  )
})
