import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Stream } from "effect"
import { TestClock } from "effect/testing"
import { type OriginError, OriginForbidden } from "../../src/domain/OriginError.ts"
import { make as makeResource } from "../../src/domain/Resource.ts"
import { MediaStream } from "../../src/services/media/MediaStream.ts"
import type { Location, Source } from "../../src/services/origin/askOrigin.ts"
import { MemoryOrigin, type MemoryRequest, type Misbehaviour } from "../../src/testing/MemoryOrigin.ts"
import { CHUNK, specOf, stack, view } from "../support/stack.ts"
import { randomBytes } from "../support/TestOrigin.ts"

const url = "http://origin.test/film.mp4"
const film = randomBytes(4 * CHUNK)
const second = { start: CHUNK, end: 2 * CHUNK }
const LATENCY = 100

const sourceOf = (
  fields: Record<string, string>,
  locate: Effect.Effect<Location, OriginError> = Effect.succeed({ url, headers: {} })
): Source => ({ fields, locate: () => locate })

const stranger = sourceOf({ "x-evil": "1" })
const honest = (name: number) => sourceOf({ "user-agent": `player/${name}` })

/** The film, of which all but the second chunk is cached, at an origin whose answers take `LATENCY` milliseconds. */
const begin = Effect.gen(function*() {
  const origin = yield* MemoryOrigin
  origin.files.set(url, { bytes: film, etag: "\"1\"", headers: { "cache-control": "max-age=3600" } })
  yield* view(url, specOf({ start: 0, end: CHUNK }))
  yield* view(url, specOf({ start: 2 * CHUNK, end: 4 * CHUNK }))
  origin.requests.length = 0
  origin.latency = () => LATENCY
  return origin
})

/** The second chunk, as it comes to a viewer. */
const watch = Effect.fnUntraced(function*(source: Source) {
  const opened = yield* (yield* MediaStream).open({ resource: makeResource(url), ranges: [specOf(second)], source })
  assert.strictEqual(opened._tag, "Media")
  const body = opened._tag === "Media" ? yield* opened.parts[0]!.bytes : new Uint8Array()
  return body instanceof Uint8Array ? body : yield* Stream.mkUint8Array(body)
}, Effect.scoped)

const start = (source: Source) => Effect.forkChild(watch(source), { startImmediately: true })

const assertSecond = (exit: Exit.Exit<Uint8Array, OriginError>): void => {
  assert.isTrue(Exit.isSuccess(exit))
  if (Exit.isSuccess(exit)) assert.isTrue(Buffer.from(exit.value).equals(film.subarray(second.start, second.end)))
}

const isEvil = ({ headers }: MemoryRequest) => headers["x-evil"] !== undefined

describe("a viewer who shares another viewer's transfer", () => {
  const refusals: ReadonlyArray<readonly [string, Misbehaviour, number]> = [
    ...[400, 401, 403, 404, 410, 416, 451].map((status) => [`${status}`, { _tag: "Status", status }, 0] as const),
    ["429 with Retry-After", { _tag: "Status", status: 429, headers: { "retry-after": "3600" } }, 0],
    ["503 with Retry-After", { _tag: "Status", status: 503, headers: { "retry-after": "5" } }, 0],
    ["503", { _tag: "Status", status: 503 }, 2000],
    ["no answer", { _tag: "Silent", millis: 20_000 }, 20_000],
    ["a closed connection", { _tag: "Refuse" }, 2000],
    ["a broken body", { _tag: "Reset", after: 0 }, 2000],
    ["the bytes of another place", { _tag: "Displace", by: 10 }, 0]
  ]

  it.effect.each(refusals)(
    "gets the bytes with its own request when the origin answers the other one with %s",
    ([, misbehaviour, delay]) =>
      Effect.gen(function*() {
        const origin = yield* begin
        origin.behaviour = (request) => isEvil(request) ? misbehaviour : undefined
        const evil = yield* start(stranger)
        yield* TestClock.adjust(LATENCY / 2)
        const viewers = yield* Effect.forEach([1, 2, 3, 4, 5], (name) => start(honest(name)))
        yield* TestClock.adjust(delay + 10 * LATENCY)
        for (const viewer of viewers) assertSecond(yield* Fiber.await(viewer))
        // The first of them asked for all.
        assert.lengthOf(origin.requests.filter((request) => !isEvil(request)), 1)
        yield* Fiber.interrupt(evil)
      }).pipe(Effect.provide(stack("memory")))
  )

  it.effect("gets the bytes when the other one's location cannot be resolved", () =>
    Effect.gen(function*() {
      const origin = yield* begin
      const lost = Effect.andThen(Effect.sleep(LATENCY), Effect.fail(new OriginForbidden({ url })))
      const evil = yield* start(sourceOf({}, lost))
      yield* TestClock.adjust(LATENCY / 2)
      const viewer = yield* start(honest(1))
      yield* TestClock.adjust(10 * LATENCY)
      assert.isTrue(Exit.isFailure(yield* Fiber.await(evil)))
      assertSecond(yield* Fiber.await(viewer))
      assert.lengthOf(origin.requests, 1)
    }).pipe(Effect.provide(stack("memory"))))

  it.effect("gets the bytes when the other one gets another file", () =>
    Effect.gen(function*() {
      const origin = yield* begin
      const other = "http://origin.test/other.mp4"
      origin.files.set(other, { bytes: randomBytes(4 * CHUNK, 7), etag: "\"2\"" })
      const evil = yield* start(sourceOf({}, Effect.succeed({ url: other, headers: {} })))
      yield* TestClock.adjust(LATENCY / 2)
      const viewer = yield* start(honest(1))
      yield* TestClock.adjust(10 * LATENCY)
      assert.isTrue(Exit.isFailure(yield* Fiber.await(evil)))
      assertSecond(yield* Fiber.await(viewer))
    }).pipe(Effect.provide(stack("memory"))))

  it.effect("gets the bytes among many whom the origin refuses", () =>
    Effect.gen(function*() {
      const origin = yield* begin
      origin.behaviour = (request) => isEvil(request) ? { _tag: "Status", status: 403 } : undefined
      const evil = Array.from({ length: 40 }, (_, i) => sourceOf({ "x-evil": String(i) }))
      yield* Effect.forEach(evil.slice(0, 20), start)
      yield* TestClock.adjust(LATENCY / 2)
      const viewer = yield* start(honest(1))
      yield* Effect.forEach(evil.slice(20), start)
      yield* TestClock.adjust(20 * LATENCY)
      assertSecond(yield* Fiber.await(viewer))
    }).pipe(Effect.provide(stack("memory"))))

  it.effect("fails when its own request fails too, with at most one request for each viewer", () =>
    Effect.gen(function*() {
      const origin = yield* begin
      let atOnce = 0
      origin.behaviour = () => {
        atOnce = Math.max(atOnce, origin.open)
        return { _tag: "Status", status: 403 }
      }
      const viewers = yield* Effect.forEach(Array.from({ length: 50 }, (_, i) => i), (i) => start(honest(i)))
      yield* TestClock.adjust(100 * LATENCY)
      for (const viewer of viewers) assert.isTrue(Exit.isFailure(yield* Fiber.await(viewer)))
      assert.lengthOf(origin.requests, 50)
      assert.isAtMost(atOnce, 8)
    }).pipe(Effect.provide(stack("memory"))))
})

describe("a source that is kept apart", () => {
  const apart: Source = { ...honest(1), isApart: true }

  /** The origin answers the first request after a minute only. */
  const beginSlowly = Effect.map(begin, (origin) => {
    origin.behaviour = (_, index) => index === 0 ? { _tag: "Silent", millis: 60_000 } : undefined
    return origin
  })

  it.effect.each([["the viewer came first", honest(1), apart], ["the viewer came later", apart, honest(1)]] as const)(
    "doesn't wait for a viewer, nor a viewer for it: %s",
    ([, first, second]) =>
      Effect.gen(function*() {
        const origin = yield* beginSlowly
        const waiting = yield* start(first)
        yield* TestClock.adjust(LATENCY / 2)
        const other = yield* start(second)
        yield* TestClock.adjust(10 * LATENCY)
        assertSecond(yield* Fiber.await(other))
        assert.lengthOf(origin.requests, 2)
        yield* Fiber.interrupt(waiting)
      }).pipe(Effect.provide(stack("memory")))
  )

  it.effect("doesn't wait for what viewers ask the origin about a file", () =>
    Effect.gen(function*() {
      const origin = yield* beginSlowly
      const unknown = "http://origin.test/unknown.mp4"
      origin.files.set(unknown, origin.files.get(url)!)
      const ask = Effect.fnUntraced(function*(source: Source) {
        const opened = yield* (yield* MediaStream).open({ resource: makeResource(unknown), source })
        return opened._tag
      })
      const at: Location = { url: unknown, headers: {} }
      const waiting = yield* Effect.forkChild(ask(sourceOf({}, Effect.succeed(at))), { startImmediately: true })
      yield* TestClock.adjust(LATENCY / 2)
      const other = yield* Effect.forkChild(ask({ ...sourceOf({}, Effect.succeed(at)), isApart: true }))
      yield* TestClock.adjust(10 * LATENCY)
      assert.strictEqual(yield* Fiber.join(other), "Media")
      assert.lengthOf(origin.requests, 2)
      yield* Fiber.interrupt(waiting)
    }).pipe(Effect.provide(stack("memory"))))

  it.effect("shares the transfer of another one", () =>
    Effect.gen(function*() {
      const origin = yield* begin
      const both = yield* Effect.forEach([apart, apart], start)
      yield* TestClock.adjust(10 * LATENCY)
      for (const one of both) assertSecond(yield* Fiber.await(one))
      assert.lengthOf(origin.requests, 1)
    }).pipe(Effect.provide(stack("memory"))))
})
