import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Layer, type Scope, Stream } from "effect"
import { TestClock } from "effect/testing"
import { make as makeResource } from "../../../../src/domain/Resource.ts"
import { defaultPolicy, type RoutePolicy } from "../../../../src/domain/RoutePolicy.ts"
import { MediaStream } from "../../../../src/services/media/MediaStream.ts"
import type { Source } from "../../../../src/services/origin/askOrigin.ts"
import { MemoryOrigin, type Misbehaviour } from "../../../../src/testing/MemoryOrigin.ts"
import { restartable, specOf, World } from "../../../support/stack.ts"
import { MiB, randomBytes } from "../../../support/TestOrigin.ts"

const STEP_MILLIS = 50
const SLICE = 64 * 1024
const STALL: Misbehaviour = { _tag: "Stall", after: 5 * SLICE, millis: 20_000 }
const url = "http://origin.test/film.mp4"
const film = randomBytes(2 * MiB)

/** An origin that sends a slice every 100 ms, and misbehaves at the requests for bytes with these numbers, counted from 0. */
const begin = Effect.fnUntraced(function*(faults: Readonly<Record<number, Misbehaviour>>) {
  const origin = yield* MemoryOrigin
  origin.files.set(url, { bytes: film, etag: "\"1\"", headers: { "cache-control": "max-age=3600" } })
  origin.sliceBytes = SLICE
  origin.latency = () => 100
  origin.behaviour = (_, index) => faults[index]
  return origin
})

/** Runs `effect` while time passes; `each` is called after each step. */
const timed = Effect.fnUntraced(function*<A, E, R>(effect: Effect.Effect<A, E, R>, each: () => void = () => {}) {
  const fiber = yield* Effect.forkChild(effect, { startImmediately: true })
  let steps = 0
  while (fiber.pollUnsafe() === undefined) {
    yield* TestClock.adjust(STEP_MILLIS)
    each()
    assert.isBelow(steps++, 5000)
  }
  return yield* Fiber.await(fiber)
})

const routeOf = (policy: Partial<RoutePolicy>): RoutePolicy => ({
  ...defaultPolicy(new URL("http://origin.test")),
  ...policy
})

/** The film from `start` on, for a viewer who checks each byte. */
const open = Effect.fnUntraced(function*(route: RoutePolicy, start: number, at: string) {
  const media = yield* MediaStream
  const source: Source = { fields: {}, locate: () => Effect.succeed({ url: at, headers: {}, route }) }
  const opened = yield* media.open({
    resource: makeResource(at),
    source,
    ranges: [specOf({ start, end: film.length })]
  })
  const body = opened._tag === "Media" ? yield* opened.parts[0]!.bytes : undefined
  if (body === undefined || body instanceof Uint8Array) return yield* Effect.die("no stream")
  const pull = yield* Stream.toPull(body)
  let offset = start
  return {
    offset: () => offset,
    takeTo: Effect.fnUntraced(function*(target: number) {
      while (offset < target) {
        for (const bytes of yield* pull) {
          assert.isTrue(Buffer.from(bytes).equals(film.subarray(offset, offset + bytes.length)), `at ${offset}`)
          offset += bytes.length
        }
      }
    })
  }
})

/** Watches the film to its end while time passes, and returns the longest time without a byte, in milliseconds. */
const watch = Effect.fnUntraced(function*(route: RoutePolicy = routeOf({}), start = 0, at = url) {
  let offset = () => start
  let before = start
  let longest = 0
  let pause = 0
  const watching = Effect.scoped(Effect.gen(function*() {
    const viewer = yield* open(route, start, at)
    offset = viewer.offset
    yield* viewer.takeTo(film.length)
  }))
  const exit = yield* timed(watching, () => {
    pause = offset() > before ? 0 : pause + STEP_MILLIS
    before = offset()
    longest = Math.max(longest, pause)
  })
  return { longest, isWhole: Exit.isSuccess(exit) }
})

/** The end of a body takes a moment after its last byte. */
const assertAllEnded = (origin: MemoryOrigin["Service"]) =>
  Effect.map(TestClock.adjust("1 second"), () => assert.strictEqual(origin.open, 0))

const layer = Layer.provideMerge(restartable(), World)

const test = (
  name: string,
  body: Effect.Effect<void, unknown, Scope.Scope | Layer.Success<typeof layer>>
) => it.effect(name, () => body.pipe(Effect.scoped, Effect.provide(layer)))

describe("a silent origin", () => {
  test(
    "is asked again at the exact byte, and the viewer sees a pause of hedge-after and a round trip",
    Effect.gen(function*() {
      const origin = yield* begin({ 0: STALL })
      const { isWhole, longest } = yield* watch()
      assert.isTrue(isWhole)
      assert.isAtMost(longest, 3500)
      assert.deepStrictEqual(origin.requests.map(({ headers }) => headers["range"]), [
        `bytes=0-${film.length - 1}`,
        `bytes=${5 * SLICE}-${film.length - 1}`
      ])
      assert.isTrue(origin.requests[1]!.background)
      yield* assertAllEnded(origin)
    })
  )

  test(
    "is asked again if it sends no header for a range",
    Effect.gen(function*() {
      const origin = yield* begin({ 0: { _tag: "Silent", millis: 20_000 } })
      const { isWhole, longest } = yield* watch(routeOf({ hedgeAfter: 1000 }), MiB)
      assert.isTrue(isWhole)
      assert.isAtMost(longest, 1500)
      assert.lengthOf(origin.requests, 2)
      yield* assertAllEnded(origin)
    })
  )

  test(
    "goes on if it sends first, and the other request is ended",
    Effect.gen(function*() {
      const origin = yield* begin({ 1: { _tag: "Silent", millis: 20_000 } })
      let isSlow = true
      origin.latency = () => {
        const millis = isSlow && origin.requests[0]?.sent === 5 * SLICE ? 5000 : 100
        isSlow &&= millis === 100
        return millis
      }
      const { isWhole, longest } = yield* watch()
      assert.isTrue(isWhole)
      assert.isAtLeast(longest, 4500)
      assert.isAtMost(longest, 5500)
      assert.lengthOf(origin.requests, 2)
      assert.strictEqual(origin.requests[0]!.sent, film.length)
      yield* assertAllEnded(origin)
    })
  )

  test(
    "isn't replaced by another version",
    Effect.gen(function*() {
      const origin = yield* begin({ 0: STALL })
      origin.struck = () => origin.files.set(url, { bytes: randomBytes(film.length, 2), etag: "\"2\"", headers: {} })
      const { isWhole, longest } = yield* watch()
      assert.isFalse(isWhole)
      assert.isAtLeast(longest, 19_000)
    })
  )

  for (const [name, policy] of [["0", { hedgeAfter: 0 }], ["long polls", { longPolls: true }]] as const) {
    test(
      `is asked once with ${name}`,
      Effect.gen(function*() {
        const origin = yield* begin({ 0: STALL })
        const { isWhole, longest } = yield* watch(routeOf(policy))
        assert.isTrue(isWhole)
        assert.isAtLeast(longest, 19_500)
        assert.lengthOf(origin.requests, 2)
      })
    )
  }

  test(
    "isn't asked again while nobody waits",
    Effect.gen(function*() {
      const origin = yield* begin({ 0: { _tag: "Stall", after: MiB + 2 * SLICE, millis: 20_000 } })
      let viewer: Effect.Success<ReturnType<typeof open>>
      yield* timed(Effect.gen(function*() {
        viewer = yield* open(routeOf({}), 0, url)
        yield* viewer.takeTo(4 * SLICE)
        yield* Effect.sleep("10 seconds")
      }))
      assert.lengthOf(origin.requests, 1)
      // The viewer comes to the byte that is missing, for which the origin has been silent for long enough.
      let millis = 0
      yield* timed(viewer!.takeTo(film.length - 4 * SLICE), () => millis += STEP_MILLIS)
      assert.lengthOf(origin.requests, 2)
      assert.isAtMost(millis, 3000)
    })
  )

  test(
    "is asked again for five requests at once at most, and for one in twenty",
    Effect.gen(function*() {
      const origin = yield* begin({})
      const route = routeOf({ hedgeAfter: 500 })
      let isSilent = true
      origin.behaviour = ({ background }) =>
        isSilent && background !== true ? { _tag: "Silent", millis: 2000 } : undefined
      const hedges = () => origin.requests.filter(({ background }) => background === true).length
      const watchOthers = Effect.fnUntraced(function*(count: number) {
        for (let i = 0; i < count; i++) {
          const at = `${url}?${origin.requests.length}`
          origin.files.set(at, origin.files.get(url)!)
          yield* watch(route, film.length - SLICE, at)
        }
      })
      yield* watchOthers(8)
      assert.strictEqual(hedges(), 5)
      isSilent = false
      yield* watchOthers(20)
      isSilent = true
      yield* watchOthers(3)
      assert.strictEqual(hedges(), 6)
    })
  )
})
