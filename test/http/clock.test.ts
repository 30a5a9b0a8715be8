import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect } from "effect"
import { TestClock } from "effect/testing"
import { ChunkStore } from "../../src/services/disk/ChunkStore.ts"
import { story } from "../support/cacheStatus.ts"
import { makeTestOrigin } from "../support/TestOrigin.ts"
import { bytes, maxAge, start, withTime } from "./Site.ts"

const DAY_MILLIS = 86_400_000

/** A test's clock takes its time to go ahead: it wakes up all that sleeps on the way. */
const HOUR_MILLIS = 3_600_000

/** Sets the clock ahead, or back when negative. */
const turn = (millis: number) => Effect.flatMap(Clock.currentTimeMillis, (now) => TestClock.setTime(now + millis))

const HIT = "spillway; hit"
const VALIDATED = "spillway; fwd=stale; fwd-status=304"

describe("a clock that is set back", () => {
  it.effect.each([["by a day", DAY_MILLIS], ["by a second", 1000]] as const)(
    "%s causes a fresh file to be revalidated once",
    ([, millis]) =>
      Effect.gen(function*() {
        const { ask, file } = yield* start()
        file("/a")
        yield* ask("/a")
        assert.strictEqual(story((yield* ask("/a")).headers), HIT)
        yield* turn(-millis)
        const again = yield* ask("/a")
        assert.strictEqual(story(again.headers), VALIDATED)
        assert.isTrue(again.body.equals(bytes))
        assert.strictEqual(story((yield* ask("/a")).headers), HIT)
        yield* TestClock.adjust("61 seconds")
        assert.strictEqual(story((yield* ask("/a")).headers), VALIDATED)
      })
  )

  it.effect("prevents stale use with must-revalidate and stale-if-error, and allows it without", () =>
    Effect.gen(function*() {
      const { ask, file, origin } = yield* start()
      file("/strict", { headers: maxAge(600, "must-revalidate") })
      file("/bounded", { headers: maxAge(600, "stale-if-error=600") })
      file("/a")
      for (const path of ["/strict", "/bounded", "/a"]) yield* ask(path)
      yield* turn(-DAY_MILLIS)
      yield* origin.close
      assert.strictEqual((yield* withTime(ask("/strict"))).status, 502)
      assert.strictEqual((yield* withTime(ask("/bounded"))).status, 502)
      const stale = yield* withTime(ask("/a"))
      assert.isTrue(stale.body.equals(bytes))
      assert.strictEqual(story(stale.headers), "spillway; hit; detail=ORIGIN_UNREACHABLE")
    }))

  it.effect("makes stored errors stale", () =>
    Effect.gen(function*() {
      const { answer, ask, file } = yield* start()
      answer("/a", () => ({ status: 404, headers: maxAge(600), body: "no" }))
      yield* ask("/a")
      file("/a")
      assert.strictEqual((yield* ask("/a")).status, 404)
      yield* turn(-DAY_MILLIS)
      assert.strictEqual((yield* ask("/a")).status, 200)
    }))

  it.effect("makes the memory of an uncacheable resource stale", () =>
    Effect.gen(function*() {
      const { ask, file } = yield* start()
      file("/a", { headers: { "cache-control": "private" } })
      yield* ask("/a")
      file("/a")
      assert.include(story((yield* ask("/a")).headers), "detail=PRIVATE")
      yield* turn(-DAY_MILLIS)
      yield* ask("/a")
      assert.strictEqual(story((yield* ask("/a")).headers), HIT)
    }))

  it.effect("while the program is stopped causes files on disk to be revalidated", () =>
    Effect.gen(function*() {
      const origin = yield* makeTestOrigin
      const store = yield* Effect.provide(ChunkStore, ChunkStore.layerMemory)
      yield* Effect.scoped(Effect.gen(function*() {
        const { ask, file } = yield* start({ before: { origin, store } })
        yield* turn(HOUR_MILLIS)
        file("/a", { headers: maxAge(600) })
        yield* ask("/a")
      }))
      // Starts the clock an hour earlier.
      const after = yield* start({ before: { origin, store } })
      const again = yield* after.ask("/a")
      assert.strictEqual(story(again.headers), VALIDATED)
      assert.isTrue(again.body.equals(bytes))
      assert.strictEqual(story((yield* after.ask("/a")).headers), HIT)
    }))
})

describe("a clock that jumps ahead", () => {
  it.effect("causes files to be revalidated, but not fetched again", () =>
    Effect.gen(function*() {
      const { ask, file, origin } = yield* start()
      file("/a")
      yield* ask("/a")
      const sent = origin.bodyBytes()
      yield* turn(HOUR_MILLIS)
      assert.strictEqual(story((yield* ask("/a")).headers), VALIDATED)
      assert.strictEqual(story((yield* ask("/a")).headers), HIT)
      assert.strictEqual(origin.bodyBytes(), sent)
    }))
})

describe("an origin whose clock is a day ahead", () => {
  it.effect.each(
    [
      ["max-age", () => maxAge(60)],
      ["Expires", (at: (seconds: number) => string) => ({ expires: at(86_460) })]
    ] as const
  )("has its %s count from its own Date", ([, fields]) =>
    Effect.gen(function*() {
      const { ask, at, file } = yield* start()
      file("/a", { headers: { ...fields(at), date: at(86_400) } })
      yield* ask("/a")
      yield* TestClock.adjust("59 seconds")
      assert.strictEqual(story((yield* ask("/a")).headers), HIT)
      yield* TestClock.adjust("1 second")
      assert.strictEqual(story((yield* ask("/a")).headers), VALIDATED)
    }))
})
