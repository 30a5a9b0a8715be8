import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, type Scope, type Stream } from "effect"
import { TestClock } from "effect/testing"
import type { OriginError } from "../../src/domain/OriginError.ts"
import { make as makeResource } from "../../src/domain/Resource.ts"
import { toPull } from "../../src/effects/pieces.ts"
import { MediaStream } from "../../src/services/media/MediaStream.ts"
import { MemoryOrigin } from "../../src/testing/MemoryOrigin.ts"
import { CHUNK, stack } from "../support/stack.ts"
import { MiB, randomBytes } from "../support/TestOrigin.ts"

const url = "http://origin.test/film.mp4"
const film = randomBytes(4 * MiB + 100)
const file = { bytes: film, etag: "\"1\"", headers: { "cache-control": "max-age=3600" } }

/** A viewer who takes pieces when told to, until the scope closes. */
const reader = Effect.gen(function*() {
  const opened = yield* (yield* MediaStream).open({ resource: makeResource(url) })
  assert.strictEqual(opened._tag, "Media")
  const body = opened._tag === "Media" ? opened.parts[0]!.bytes : new Uint8Array()
  const pull = yield* toPull(yield* body as Effect.Effect<Stream.Stream<Uint8Array, OriginError>, never, Scope.Scope>)
  const pieces: Array<Uint8Array> = []
  const taken = () => pieces.reduce((sum, { length }) => sum + length, 0)
  const take = Effect.fnUntraced(function*(until: number) {
    while (taken() < until) pieces.push(...yield* pull)
  })
  return {
    taken,
    take,
    bytes: () => Buffer.concat(pieces),
    /** What has been taken is what the film has there. */
    assertRight: () => assert.isTrue(Buffer.concat(pieces).equals(film.subarray(0, taken())))
  }
})

/** Lets the origin send what is wanted, which takes no time. */
const settle = Effect.forEach(Array.from({ length: 500 }), () => Effect.yieldNow)

describe("a transfer whose viewers read nothing", () => {
  it.effect("releases its connection after some seconds, and continues at the exact byte", () =>
    Effect.gen(function*() {
      const origin = yield* MemoryOrigin
      origin.files.set(url, file)
      const slow = yield* reader
      yield* slow.take(1)
      yield* settle
      assert.strictEqual(origin.open, 1)
      yield* TestClock.adjust("4 seconds")
      assert.strictEqual(origin.open, 1)
      yield* TestClock.adjust("3 seconds")
      assert.strictEqual(origin.open, 0)
      const [first] = origin.requests
      yield* TestClock.adjust("10 minutes")
      assert.lengthOf(origin.requests, 1)
      yield* slow.take(film.length)
      slow.assertRight()
      assert.lengthOf(origin.requests, 2)
      assert.strictEqual(origin.requests[1]!.headers["range"], `bytes=${first!.sent}-${film.length - 1}`)
      assert.strictEqual(origin.requests[1]!.headers["if-range"], "\"1\"")
      assert.strictEqual(origin.requests.reduce((sum, { sent }) => sum + sent, 0), film.length)
    }).pipe(Effect.provide(stack("memory"))))

  it.effect("cuts the response instead of continuing with another file", () =>
    Effect.gen(function*() {
      const origin = yield* MemoryOrigin
      origin.files.set(url, file)
      const slow = yield* reader
      yield* slow.take(1)
      yield* settle
      yield* TestClock.adjust("7 seconds")
      origin.files.set(url, { ...file, bytes: randomBytes(film.length, 2), etag: "\"2\"" })
      const exit = yield* Effect.exit(slow.take(film.length))
      assert.isTrue(Exit.isFailure(exit))
      slow.assertRight()
      assert.isAbove(slow.taken(), MiB / 2)
    }).pipe(Effect.provide(stack("memory"))))

  it.effect("keeps its connection as long as one viewer reads", () =>
    Effect.gen(function*() {
      const origin = yield* MemoryOrigin
      origin.files.set(url, file)
      const slow = yield* reader
      const quick = yield* reader
      yield* slow.take(1)
      for (let until = CHUNK; until < film.length; until += CHUNK) {
        yield* quick.take(until)
        yield* settle
        yield* TestClock.adjust("4 seconds")
      }
      yield* quick.take(film.length)
      quick.assertRight()
      yield* slow.take(film.length)
      slow.assertRight()
      assert.lengthOf(origin.requests, 1)
    }).pipe(Effect.provide(stack("memory"))))

  it.effect("keeps its connection when the origin has no ranges", () =>
    Effect.gen(function*() {
      const origin = yield* MemoryOrigin
      origin.files.set(url, { ...file, acceptsRanges: false, headers: { ...file.headers, "accept-ranges": "none" } })
      const slow = yield* reader
      yield* slow.take(1)
      yield* settle
      yield* TestClock.adjust("10 minutes")
      assert.strictEqual(origin.open, 1)
      yield* slow.take(film.length)
      slow.assertRight()
      assert.lengthOf(origin.requests, 1)
    }).pipe(Effect.provide(stack("memory"))))

  it.effect("is not resumed for a viewer who has left", () =>
    Effect.gen(function*() {
      const origin = yield* MemoryOrigin
      origin.files.set(url, file)
      yield* Effect.scoped(Effect.gen(function*() {
        const slow = yield* reader
        yield* slow.take(1)
        yield* settle
        yield* TestClock.adjust("7 seconds")
      }))
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(origin.open, 0)
      assert.lengthOf(origin.requests, 1)
    }).pipe(Effect.provide(stack("memory"))))
})
