import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Scope, Stream } from "effect"
import { loggable, OriginBodyFailed } from "../../../../src/domain/OriginError.ts"
import { READ_AHEAD_BYTES } from "../../../../src/domain/RoutePolicy.ts"
import { toPull } from "../../../../src/effects/pieces.ts"
import {
  MAX_UNMEASURED_BYTES,
  UNMEASURED_WINDOW_BYTES,
  UnmeasuredBody
} from "../../../../src/services/transfer/UnmeasuredBody.ts"

const PIECE = 256 * 1024
const URL = "http://origin.test/a"

const piece = (n: number) => Buffer.alloc(PIECE, n)

const lost = new OriginBodyFailed({ url: loggable(URL), offset: 0, cause: "reset" })

/** A viewer who takes pieces one at a time: the first byte of each. */
const join = (body: UnmeasuredBody) =>
  Effect.map(toPull(body.stream), (pull) => Effect.map(pull, ([bytes]) => bytes[0]!))

const collect = (body: UnmeasuredBody) =>
  Effect.map(Stream.runCollect(body.stream), (pieces) => pieces.map((bytes) => bytes[0]!))

describe("UnmeasuredBody", () => {
  it.effect("gives each viewer all pieces from the first one", () =>
    Effect.gen(function*() {
      const body = new UnmeasuredBody(URL, false)
      const early = yield* Effect.forkChild(collect(body))
      yield* Effect.yieldNow
      body.add([piece(1), piece(2)], MAX_UNMEASURED_BYTES)
      const late = yield* Effect.forkChild(collect(body))
      yield* Effect.yieldNow
      body.add([piece(3)], MAX_UNMEASURED_BYTES)
      assert.lengthOf(body.whole!, 3 * PIECE)
      body.end(undefined)
      assert.deepStrictEqual(yield* Fiber.join(early), [1, 2, 3])
      assert.deepStrictEqual(yield* Fiber.join(late), [1, 2, 3])
    }))

  it.effect("fails its viewers, after what has arrived, if its transfer fails", () =>
    Effect.gen(function*() {
      const body = new UnmeasuredBody(URL, false)
      body.add([piece(1)], MAX_UNMEASURED_BYTES)
      const next = yield* join(body)
      body.end(lost)
      assert.strictEqual(yield* next, 1)
      assert.strictEqual(yield* Effect.flip(next), lost)
    }).pipe(Effect.scoped))

  it.effect("waits when it is far enough ahead of its fastest viewer", () =>
    Effect.gen(function*() {
      const body = new UnmeasuredBody(URL, false)
      const next = yield* join(body)
      for (let n = 0; n * PIECE < READ_AHEAD_BYTES; n++) {
        assert.isTrue(yield* body.awaitDemand)
        body.add([piece(n)], MAX_UNMEASURED_BYTES)
      }
      const demand = yield* Effect.forkChild(body.awaitDemand)
      yield* Effect.yieldNow
      assert.isUndefined(demand.pollUnsafe())
      yield* next
      assert.isTrue(yield* Fiber.join(demand))
    }).pipe(Effect.scoped))

  it.effect("is abandoned when its last viewer leaves, unless it is to be stored without viewers", () =>
    Effect.gen(function*() {
      for (const isBackground of [false, true]) {
        let isAbandoned = false
        const body = new UnmeasuredBody(URL, isBackground)
        body.onAbandoned = () => isAbandoned = true
        const scopes = [yield* Scope.make(), yield* Scope.make()]
        for (const scope of scopes) {
          const pull = yield* Scope.provide(toPull(body.stream), scope)
          yield* Effect.forkChild(pull)
          yield* Effect.yieldNow
        }
        yield* Scope.close(scopes[0]!, Exit.void)
        assert.isFalse(isAbandoned)
        yield* Scope.close(scopes[1]!, Exit.void)
        assert.strictEqual(isAbandoned, !isBackground)
      }
    }))

  it.effect("beyond its limit, keeps a window, and fails viewers who are behind it", () =>
    Effect.gen(function*() {
      const body = new UnmeasuredBody(URL, false)
      const [fast, slow] = [yield* join(body), yield* join(body)]
      body.add([piece(0)], MAX_UNMEASURED_BYTES)
      assert.deepStrictEqual([yield* fast, yield* slow], [0, 0])
      const count = MAX_UNMEASURED_BYTES / PIECE + 1
      for (let n = 1; n < count; n++) {
        body.add([piece(n)], MAX_UNMEASURED_BYTES)
        assert.strictEqual(yield* fast, n)
      }
      assert.isFalse(body.isJoinable)
      assert.isUndefined(body.whole)
      assert.isAtMost(body.held, UNMEASURED_WINDOW_BYTES)
      assert.instanceOf(yield* Effect.flip(slow), OriginBodyFailed)
      body.add([piece(7)], MAX_UNMEASURED_BYTES)
      assert.strictEqual(yield* fast, 7)
    }).pipe(Effect.scoped))
})
