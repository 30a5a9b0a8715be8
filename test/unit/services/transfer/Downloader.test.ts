import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Exit, Fiber, Latch, Layer, Scope, Stream } from "effect"
import { TestClock } from "effect/testing"
import { fromHead, type Representation } from "../../../../src/domain/Representation.ts"
import { make as makeResource } from "../../../../src/domain/Resource.ts"
import type { ByteRange } from "../../../../src/domain/rfc/ByteRange.ts"
import { toPull } from "../../../../src/effects/pieces.ts"
import { ChunkCache } from "../../../../src/services/cache/ChunkCache.ts"
import { ChunkMemory, HandedPieces } from "../../../../src/services/cache/ChunkMemory.ts"
import { plainSource } from "../../../../src/services/origin/askOrigin.ts"
import { Downloader } from "../../../../src/services/transfer/Downloader.ts"
import { MemoryOrigin } from "../../../../src/testing/MemoryOrigin.ts"
import { restartable, World } from "../../../support/stack.ts"
import { MiB, randomBytes } from "../../../support/TestOrigin.ts"

const CHUNK = 64 * 1024
const SLICE = 16 * 1024
const JOIN_BYTES = 64 * 1024
const READ_AHEAD_BYTES = MiB
const url = "http://origin.test/film.mp4"
const resource = makeResource(url)
const source = plainSource(resource)
const film = randomBytes(4 * MiB + 100)
const head = { status: 206, headers: { "etag": "\"1\"", "content-range": `bytes 0-9/${film.length}` } }
const representation = fromHead(resource, head, CHUNK) as Representation
const keyAt = (index: number) => ({ resource: representation.resource, representation: representation.id, index })
const whole: ByteRange = { start: 0, end: film.length }

/** The film at an origin that sends a slice each `latency` milliseconds, or at once. */
const begin = Effect.fnUntraced(function*(latency?: number) {
  const origin = yield* MemoryOrigin
  origin.files.set(url, { bytes: film, etag: "\"1\"" })
  if (latency !== undefined) origin.latency = () => latency
  return origin
})

/** A reader that takes bytes when the test says so, and checks that they are the film's. */
const open = Effect.fnUntraced(function*(range: ByteRange) {
  const cache = yield* ChunkCache
  const downloader = yield* Downloader
  const reader = yield* downloader.read(
    representation,
    range,
    source,
    new HandedPieces(yield* ChunkMemory, range.end, true)
  )
  const pull = yield* toPull(reader.stream)
  const take = Effect.map(pull, (pieces) => {
    for (const bytes of pieces) {
      assert.isTrue(Buffer.from(bytes).equals(film.subarray(reader.offset, reader.offset + bytes.length)))
      reader.advance(bytes.length)
    }
  })
  /** Passes over a chunk that is cached. */
  const skip = Effect.sync(() => {
    const index = Math.floor(reader.offset / CHUNK)
    assert.isTrue(cache.has(keyAt(index)))
    reader.advance(Math.min((index + 1) * CHUNK, film.length) - reader.offset)
  })
  return {
    reader,
    /** Takes bytes up to `offset` at least. */
    takeTo: Effect.fnUntraced(function*(offset: number) {
      while (reader.offset < offset) yield* take
    }),
    /** The same, with the help of the cache. */
    viewTo: Effect.fnUntraced(function*(offset: number) {
      while (reader.offset < offset) yield* Effect.catchIf(take, Cause.isDone, () => skip)
    }),
    pull
  }
})

/** Reads until the stream ends: the offset where it does. */
const readAll = (range: ByteRange) =>
  Effect.scoped(Effect.gen(function*() {
    const { reader, takeTo } = yield* open(range)
    yield* Effect.catchIf(takeTo(Infinity), Cause.isDone, () => Effect.void)
    return reader.offset
  }))

/** Lets the origin send all that it would at once. */
const settle = Effect.forEach(Array.from({ length: 500 }), () => Effect.yieldNow, { discard: true })

/** Has a chunk in the cache. */
const keep = Effect.fnUntraced(function*(index: number) {
  const cache = yield* ChunkCache
  const key = keyAt(index)
  cache.keep(representation, key, film.subarray(index * CHUNK, (index + 1) * CHUNK))
  assert.isTrue(cache.has(key))
})

type Services = Downloader | MemoryOrigin | ChunkCache

const test = (name: string, body: Effect.Effect<void, unknown, Scope.Scope | Services>) =>
  it.effect(
    name,
    () => body.pipe(Effect.scoped, Effect.provide(Layer.provideMerge(restartable({ memory: 32 * MiB }), World)))
  )

describe("Downloader", () => {
  describe("a reader", () => {
    test(
      "starts a fetch at its exact byte, and has the front of that chunk filled in later",
      Effect.gen(function*() {
        const origin = yield* begin()
        const start = 5 * CHUNK + 123
        assert.strictEqual(yield* readAll({ start, end: 7 * CHUNK - 1 }), 7 * CHUNK - 1)
        yield* settle
        const ranges = origin.requests.map(({ background, headers }) => [headers["range"], background])
        assert.deepStrictEqual(ranges, [
          [`bytes=${start}-${7 * CHUNK - 1}`, false],
          [`bytes=${5 * CHUNK}-${start - 1}`, true]
        ])
        const cache = yield* ChunkCache
        assert.isTrue(cache.hasAll(representation, { start: 5 * CHUNK, end: 7 * CHUNK }))
      })
    )

    test(
      "joins a fetch that is close behind its byte",
      Effect.gen(function*() {
        const origin = yield* begin(10)
        const first = yield* open(whole)
        yield* Effect.forkChild(first.takeTo(MiB))
        yield* TestClock.adjust(60)
        const position = origin.requests[0]!.sent
        assert.isAbove(position, 0)
        const second = yield* open({ start: position + JOIN_BYTES, end: film.length })
        const taking = yield* Effect.forkChild(second.takeTo(position + 2 * JOIN_BYTES), { startImmediately: true })
        yield* TestClock.adjust("1 second")
        yield* Fiber.join(taking)
        assert.lengthOf(origin.requests, 1)
      })
    )

    test(
      "starts its own fetch when the next one is further behind",
      Effect.gen(function*() {
        const origin = yield* begin(10)
        const first = yield* open(whole)
        yield* Effect.forkChild(first.takeTo(MiB))
        yield* TestClock.adjust(60)
        const start = origin.requests[0]!.sent + JOIN_BYTES + SLICE
        const second = yield* open({ start, end: film.length })
        const taking = yield* Effect.forkChild(second.takeTo(start + 1), { startImmediately: true })
        yield* TestClock.adjust(40)
        yield* Fiber.join(taking)
        assert.lengthOf(origin.requests, 2)
        assert.strictEqual(origin.requests[1]!.headers["range"], `bytes=${start}-${film.length - 1}`)
      })
    )

    test(
      "does not wait for a slow one",
      Effect.gen(function*() {
        const origin = yield* begin()
        const [slow, fast] = [yield* open(whole), yield* open(whole)]
        yield* slow.takeTo(1)
        yield* fast.takeTo(film.length)
        assert.lengthOf(origin.requests, 1)
        assert.strictEqual(origin.requests[0]!.sent, film.length)
        // What the slow one needs next is still in memory.
        yield* slow.takeTo(READ_AHEAD_BYTES)
        assert.lengthOf(origin.requests, 1)
      })
    )

    test(
      "fetches a chunk again that could not be read from the cache",
      Effect.gen(function*() {
        const origin = yield* begin()
        yield* keep(2)
        const { pull, reader, takeTo } = yield* open({ start: 2 * CHUNK, end: 3 * CHUNK })
        assert.isTrue(Cause.isDone(yield* Effect.flip(pull)))
        assert.lengthOf(origin.requests, 0)
        reader.bypassCache()
        yield* takeTo(3 * CHUNK)
        assert.lengthOf(origin.requests, 1)
      })
    )
  })

  describe("a fetch", () => {
    test(
      "stays at most its read-ahead before its reader, and goes on with it",
      Effect.gen(function*() {
        const origin = yield* begin()
        const { takeTo } = yield* open(whole)
        for (const offset of [1, 2 * MiB]) {
          yield* takeTo(offset)
          yield* settle
          const { sent } = origin.requests[0]!
          assert.isAtLeast(sent, offset + READ_AHEAD_BYTES)
          assert.isAtMost(sent, offset + READ_AHEAD_BYTES + 2 * SLICE)
        }
        assert.lengthOf(origin.requests, 1)
      })
    )

    test(
      "frees its connection after seconds of throttling; its reader goes on at the exact byte",
      Effect.gen(function*() {
        const origin = yield* begin()
        const { takeTo, viewTo } = yield* open(whole)
        yield* takeTo(1)
        yield* settle
        yield* TestClock.adjust("5 seconds")
        assert.strictEqual(origin.open, 1)
        yield* TestClock.adjust("1 second")
        assert.strictEqual(origin.open, 0)
        yield* viewTo(2 * MiB)
        const [first, second] = origin.requests
        assert.strictEqual(second!.headers["range"], `bytes=${first!.sent}-${film.length - 1}`)
      })
    )

    test(
      "ends when its last reader leaves",
      Effect.gen(function*() {
        const origin = yield* begin(10)
        const downloader = yield* Downloader
        const scopes = [yield* Scope.make(), yield* Scope.make()]
        for (const scope of scopes) {
          const { takeTo } = yield* Scope.provide(open(whole), scope)
          yield* Effect.forkIn(takeTo(MiB), scope, { startImmediately: true })
        }
        yield* TestClock.adjust(100)
        yield* Scope.close(scopes[0]!, Exit.interrupt())
        yield* TestClock.adjust(100)
        const { sent } = origin.requests[0]!
        assert.strictEqual(origin.open, 1)
        assert.isTrue(downloader.isRunning(representation, sent))
        yield* Scope.close(scopes[1]!, Exit.interrupt())
        yield* TestClock.adjust("1 second")
        assert.strictEqual(origin.open, 0)
        assert.isFalse(downloader.isRunning(representation, sent))
        assert.lengthOf(origin.requests, 1)
        assert.strictEqual(origin.requests[0]!.sent, sent)
      })
    )

    test(
      "is retried from the exact byte after a failure",
      Effect.gen(function*() {
        const origin = yield* begin()
        origin.behaviour = (_, index) => index < 2 ? { _tag: "Reset", after: CHUNK + 7 } : undefined
        const reading = yield* Effect.forkChild(readAll({ start: 0, end: MiB }), { startImmediately: true })
        yield* settle
        yield* TestClock.adjust("1 second")
        assert.strictEqual(yield* Fiber.join(reading), MiB)
        const starts = [0, 1, 2].map((i) => i * (CHUNK + 7))
        const ranges = origin.requests.map(({ headers }) => headers["range"])
        assert.deepStrictEqual(ranges, starts.map((start) => `bytes=${start}-${MiB - 1}`))
      })
    )

    test(
      "fails with RepresentationChanged when the file has changed, and emits no byte of the other",
      Effect.gen(function*() {
        const origin = yield* begin()
        origin.behaviour = (_, index) => index === 0 ? { _tag: "Reset", after: CHUNK } : undefined
        origin.struck = () => origin.files.set(url, { bytes: randomBytes(film.length, 7), etag: "\"2\"" })
        const { reader, takeTo } = yield* open(whole)
        const taking = yield* Effect.forkChild(Effect.flip(takeTo(film.length)), { startImmediately: true })
        yield* settle
        yield* TestClock.adjust("1 second")
        const error = yield* Fiber.join(taking)
        assert.strictEqual("_tag" in error && error._tag, "RepresentationChanged")
        assert.strictEqual(reader.offset, CHUNK)
        // It was not only one of several servers.
        assert.lengthOf(origin.requests, 4)
      })
    )

    test(
      "continues at the server that has its version, if another one of the same name has another",
      Effect.gen(function*() {
        const origin = yield* begin()
        const other = { bytes: randomBytes(film.length, 7), etag: "\"2\"" }
        const own = origin.files.get(url)!
        // The first response breaks off, and then each server breaks off once more.
        origin.behaviour = (_, index) => {
          origin.files.set(url, index % 3 === 0 ? own : other)
          return index === 0 || index === 3 ? { _tag: "Reset", after: CHUNK + 7 } : undefined
        }
        const reading = yield* Effect.forkChild(readAll(whole), { startImmediately: true })
        yield* settle
        yield* TestClock.adjust("2 seconds")
        assert.strictEqual(yield* Fiber.join(reading), film.length)
        assert.lengthOf(origin.requests, 7)
      })
    )

    test(
      "requests nothing from a cached chunk on",
      Effect.gen(function*() {
        const origin = yield* begin()
        yield* keep(3)
        assert.strictEqual(yield* readAll({ start: 0, end: 6 * CHUNK }), 3 * CHUNK)
        assert.deepStrictEqual(origin.requests.map(({ headers }) => headers["range"]), [`bytes=0-${3 * CHUNK - 1}`])
      })
    )

    test(
      "ends at a chunk that has been cached meanwhile",
      Effect.gen(function*() {
        const origin = yield* begin(10)
        const { takeTo, viewTo } = yield* open({ start: 0, end: 6 * CHUNK })
        const taking = yield* Effect.forkChild(takeTo(1), { startImmediately: true })
        yield* TestClock.adjust(50)
        yield* keep(3)
        yield* TestClock.adjust("1 second")
        yield* Fiber.join(taking)
        assert.isAtMost(origin.requests[0]!.sent, 3 * CHUNK + SLICE)
        assert.strictEqual(origin.open, 0)
        const viewing = yield* Effect.forkChild(viewTo(6 * CHUNK), { startImmediately: true })
        yield* TestClock.adjust("1 second")
        yield* Fiber.join(viewing)
        assert.strictEqual(origin.requests[1]!.headers["range"], `bytes=${4 * CHUNK}-${6 * CHUNK - 1}`)
      })
    )
  })

  test(
    "adopts an open response, unless a fetch is about to deliver its bytes",
    Effect.gen(function*() {
      const origin = yield* begin()
      const downloader = yield* Downloader
      const range = { start: 0, end: 4 * CHUNK }
      let open = 0
      const ask = Effect.gen(function*() {
        const scope = yield* Scope.make()
        yield* Scope.provide(
          Effect.acquireRelease(Effect.sync(() => open++), () => Effect.sync(() => open--)),
          scope
        )
        const headers = { "etag": "\"1\"", "content-range": `bytes 0-${range.end - 1}/${film.length}` }
        const pieces = Stream.make(film.subarray(0, CHUNK), film.subarray(CHUNK, range.end))
        const body = Stream.mapEffect(pieces, (bytes) => Effect.as(Effect.yieldNow, bytes))
        return { response: { status: 206, headers, setCookie: [], body }, scope, mode: "plain" as const }
      })
      const [first, second] = [yield* ask, yield* ask]
      assert.isTrue(downloader.adopt(representation, first, range, source))
      assert.isFalse(downloader.adopt(representation, second, range, source))
      yield* Scope.close(second.scope, Exit.void)
      assert.strictEqual(yield* readAll(range), 4 * CHUNK)
      yield* settle
      assert.lengthOf(origin.requests, 0)
      assert.strictEqual(open, 0)
    })
  )

  test(
    "continues an open response whose reader has found its first bytes in memory",
    Effect.gen(function*() {
      const origin = yield* begin()
      const downloader = yield* Downloader
      const range = { start: 0, end: 4 * CHUNK }
      const rest = yield* Latch.make()
      const headers = { "etag": "\"1\"", "content-range": `bytes 0-${range.end - 1}/${film.length}` }
      const pieces = [film.subarray(0, SLICE), film.subarray(SLICE, CHUNK), film.subarray(CHUNK, range.end)]
      const body = Stream.mapEffect(
        Stream.fromIterable(pieces),
        (bytes) => Effect.as(bytes === pieces[0] ? Effect.void : Effect.andThen(rest.await, Effect.yieldNow), bytes)
      )
      const response = { status: 206, headers, setCookie: [], body }
      downloader.adopt(representation, { response, scope: yield* Scope.make(), mode: "plain" }, range, source)
      yield* settle
      const { takeTo, viewTo } = yield* open(range)
      yield* takeTo(SLICE)
      yield* rest.open
      yield* settle
      yield* viewTo(range.end)
      assert.lengthOf(origin.requests, 0)
    })
  )
})
