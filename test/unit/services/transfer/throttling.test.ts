import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { TestClock } from "effect/testing"
import { READ_AHEAD_BYTES } from "../../../../src/domain/RoutePolicy.ts"
import { makeAwaitDemand } from "../../../../src/services/transfer/throttling.ts"
import { newDownload, newFetch, newReader } from "../../../support/transfer.ts"

/** A fetch whose reader has enough, waiting for demand. */
const throttled = Effect.fnUntraced(function*(sequential = false) {
  const context = yield* Effect.context()
  const awaitDemand = makeAwaitDemand((effect) => Effect.runForkWith(context)(effect))
  const fetch = newFetch(newDownload(), 0, { sequential })
  fetch.download.fetches.move(fetch, 3 * READ_AHEAD_BYTES)
  const reader = newReader(fetch.download, 0)
  fetch.join(reader)
  const fiber = yield* Effect.forkChild(awaitDemand(fetch), { startImmediately: true })
  return { fetch, reader, fiber }
})

describe("awaitDemand", () => {
  it.effect("throttles a fetch while its readers have enough", () =>
    Effect.gen(function*() {
      const { fetch, fiber, reader } = yield* throttled()
      assert.strictEqual(fetch.throttledTicks(2), 2)
      yield* TestClock.adjust("4 seconds")
      reader.advance(2 * READ_AHEAD_BYTES)
      assert.isUndefined(fiber.pollUnsafe())
      reader.advance(1)
      assert.isTrue(yield* Fiber.join(fiber))
      assert.strictEqual(fetch.throttledTicks(9), 0)
      assert.isUndefined(fetch.wake)
      yield* TestClock.adjust("1 minute")
      assert.isTrue(fetch.isActive)
    }))

  it.effect("preempts a fetch that has been throttled for five seconds", () =>
    Effect.gen(function*() {
      const { fetch } = yield* throttled()
      yield* TestClock.adjust("5 seconds")
      assert.isTrue(fetch.isActive)
      yield* TestClock.adjust("1 second")
      assert.isTrue(fetch.isStopping)
    }))

  it.effect("leaves a sequential fetch alone", () =>
    Effect.gen(function*() {
      const { fetch } = yield* throttled(true)
      yield* TestClock.adjust("1 minute")
      assert.isTrue(fetch.isActive)
      assert.strictEqual(fetch.throttledTicks(9), 9)
    }))
})
