import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { TestClock } from "effect/testing"
import { story } from "../support/cacheStatus.ts"
import { bytes, maxAge, otherBytes, start, withTime } from "./Site.ts"
import { CHUNK_BYTES } from "./TestProxy.ts"

const says = (cacheControl: string) => ({ headers: { "cache-control": cacheControl } })

const HIT = "spillway; hit"

/** A site with a file at `/a` that has been viewed, some seconds ago, and was fresh for a minute. */
const startAfter = Effect.fnUntraced(function*(seconds: number, ...directives: ReadonlyArray<string>) {
  const site = yield* start()
  site.file("/a", { headers: maxAge(60, ...directives) })
  yield* site.ask("/a")
  yield* TestClock.adjust(`${seconds} seconds`)
  return site
})

describe("a request", () => {
  const cases: ReadonlyArray<readonly [string, number, Record<string, string>, string, string?]> = [
    ["no-cache (§5.2.1.4)", 20, { "cache-control": "no-cache" }, "spillway; fwd=request; fwd-status=304"],
    ["Pragma (§5.4)", 20, { "pragma": "no-cache" }, "spillway; fwd=request; fwd-status=304"],
    ["Pragma beside Cache-Control (§5.4)", 20, { "pragma": "no-cache", "cache-control": "max-age=30" }, HIT],
    ["max-age, not exceeded (§5.2.1.1)", 20, { "cache-control": "max-age=20" }, HIT],
    ["max-age, exceeded (§5.2.1.1)", 20, { "cache-control": "max-age=19" }, "spillway; fwd=request; fwd-status=304"],
    ["max-age=0 (§5.2.1.1)", 1, { "cache-control": "max-age=0" }, "spillway; fwd=request; fwd-status=304"],
    ["min-fresh, met (§5.2.1.3)", 20, { "cache-control": "min-fresh=40" }, HIT],
    ["min-fresh, not met (§5.2.1.3)", 20, { "cache-control": "min-fresh=41" }, "spillway; fwd=request; fwd-status=304"],
    ["max-stale, within (§5.2.1.2)", 70, { "cache-control": "max-stale=10" }, HIT],
    ["max-stale, beyond (§5.2.1.2)", 70, { "cache-control": "max-stale=9" }, "spillway; fwd=stale; fwd-status=304"],
    ["any max-stale (§5.2.1.2)", 7000, { "cache-control": "max-stale" }, HIT],
    [
      "max-stale if the origin forbids it (§5.2.1.2)",
      70,
      { "cache-control": "max-stale" },
      "spillway; fwd=stale; fwd-status=304",
      "must-revalidate"
    ],
    ["no-transform (§5.2.1.6)", 20, { "cache-control": "no-transform" }, HIT],
    ["an unknown directive (§5.2.3)", 20, { "cache-control": "refresh, max-age=x" }, HIT]
  ]

  it.effect.each(cases)("%s", ([, seconds, headers, expected, directive]) =>
    Effect.gen(function*() {
      const { ask } = yield* startAfter(seconds, ...(directive === undefined ? [] : [directive]))
      for (const method of ["GET", "HEAD"]) {
        const answer = yield* ask("/a", { method, headers })
        assert.strictEqual(answer.status, 200)
        if (method === "GET") {
          assert.strictEqual(story(answer.headers), expected)
          assert.isTrue(answer.body.equals(bytes))
        }
      }
    }))

  it.effect("is passed on with its directives (§5.2.1)", () =>
    Effect.gen(function*() {
      const { ask, file, seen } = yield* start()
      file("/a")
      const directives = "no-cache, max-age=0, community=\"UCI\""
      yield* ask("/a", { headers: { "cache-control": directives, "pragma": "no-cache" } })
      assert.strictEqual(seen("/a")[0]!.headers["cache-control"], directives)
      assert.strictEqual(seen("/a")[0]!.headers.pragma, "no-cache")
    }))

  it.effect("with no-cache fetches a file that has changed (§5.2.1.4)", () =>
    Effect.gen(function*() {
      const { ask, file } = yield* startAfter(20)
      file("/a", { bytes: otherBytes, etag: "\"v2\"" })
      assert.isTrue((yield* ask("/a")).body.equals(bytes))
      const answer = yield* ask("/a", says("no-cache"))
      assert.isTrue(answer.body.equals(otherBytes))
      assert.strictEqual(story(answer.headers), "spillway; fwd=request; stored")
      assert.isTrue((yield* ask("/a")).body.equals(otherBytes))
    }))

  it.effect("with no-cache gets the stored file when the origin is down (§5.2.1.4)", () =>
    Effect.gen(function*() {
      const { ask, origin } = yield* startAfter(20)
      yield* origin.close
      const answer = yield* ask("/a", says("no-cache"))
      assert.isTrue(answer.body.equals(bytes))
      assert.strictEqual(story(answer.headers), "spillway; hit; detail=ORIGIN_UNREACHABLE")
    }))

  it.effect("with no-store is not stored (§5.2.1.5)", () =>
    Effect.gen(function*() {
      const { ask, file, seen } = yield* start()
      file("/a")
      for (let i = 0; i < 2; i++) {
        const { body, headers } = yield* ask("/a", says("no-store"))
        assert.isTrue(body.equals(bytes))
        assert.strictEqual(story(headers), "spillway; fwd=bypass; detail=NO_STORE")
      }
      assert.strictEqual(seen("/a").length, 2)
      assert.strictEqual(story((yield* ask("/a")).headers), "spillway; fwd=uri-miss; stored")
    }))

  it.effect("with no-store is answered from the cache, in memory and on disk (§5.2.1.5)", () =>
    Effect.gen(function*() {
      for (const memory of [0, 1024 ** 2]) {
        const { ask, file } = yield* start({ cache: { memory } })
        file("/a")
        yield* ask("/a")
        assert.strictEqual(story((yield* ask("/a", says("no-store"))).headers), HIT)
        assert.strictEqual(story((yield* ask("/a", { method: "HEAD", ...says("no-store") })).headers), HIT)
        yield* TestClock.adjust("61 seconds")
        const failed = yield* ask("/a", { headers: { "cache-control": "no-store", "if-match": "\"v0\"" } })
        assert.strictEqual(story(failed.headers), "spillway; fwd=bypass; detail=NO_STORE")
        const stale = yield* ask("/a", says("no-store"))
        assert.strictEqual(story(stale.headers), "spillway; fwd=bypass; detail=NO_STORE")
      }
    }))
})

describe("only-if-cached", () => {
  it.effect("is answered from the cache or with 504, without a request (§5.2.1.7)", () =>
    Effect.gen(function*() {
      const { ask, file, seen } = yield* start()
      file("/a")
      const missing = yield* ask("/a", says("only-if-cached"))
      assert.strictEqual(missing.status, 504)
      assert.strictEqual(story(missing.headers), "spillway; detail=NOT_CACHED")
      assert.strictEqual(seen("/a").length, 0)
      yield* ask("/a")
      assert.strictEqual(story((yield* ask("/a", says("only-if-cached"))).headers), HIT)
      assert.strictEqual((yield* ask("/a", says("only-if-cached, no-cache"))).status, 504)
      assert.strictEqual((yield* ask("/a", says("only-if-cached, no-store"))).status, 200)
      yield* TestClock.adjust("61 seconds")
      assert.strictEqual((yield* ask("/a", says("only-if-cached"))).status, 504)
      assert.strictEqual(story((yield* ask("/a", says("only-if-cached, max-stale"))).headers), HIT)
      assert.strictEqual(seen("/a").length, 1)
    }))

  it.effect("gets only the cached part of a file, and its head (§5.2.1.7)", () =>
    Effect.gen(function*() {
      const { ask, file, seen } = yield* start()
      file("/a")
      yield* ask("/a", { headers: { range: `bytes=0-${CHUNK_BYTES - 1}` } })
      const part = yield* ask("/a", { headers: { "cache-control": "only-if-cached", "range": "bytes=5-9" } })
      assert.isTrue(part.body.equals(bytes.subarray(5, 10)))
      for (const headers of [{}, { range: "bytes=-5" }, { range: "bytes=0-9, -5" }]) {
        const answer = yield* ask("/a", { headers: { "cache-control": "only-if-cached", ...headers } })
        assert.strictEqual(answer.status, 504)
      }
      assert.strictEqual((yield* ask("/a", { method: "HEAD", ...says("only-if-cached") })).status, 200)
      assert.strictEqual(seen("/a").length, 1)
    }))

  it.effect("is answered with a stored error (§5.2.1.7)", () =>
    Effect.gen(function*() {
      const { answer, ask, seen } = yield* start()
      answer("/a", () => ({ status: 404, headers: maxAge(60), body: "gone" }))
      assert.strictEqual((yield* ask("/a", says("only-if-cached"))).status, 504)
      yield* ask("/a")
      assert.strictEqual((yield* ask("/a", says("only-if-cached"))).status, 404)
      assert.strictEqual(seen("/a").length, 1)
    }))

  it.effect("makes no request with credentials either (§5.2.1.7)", () =>
    Effect.gen(function*() {
      const { ask, seen } = yield* startAfter(20)
      const headers = { "cache-control": "only-if-cached", "authorization": "a" }
      assert.strictEqual((yield* ask("/a", { headers })).status, 504)
      assert.strictEqual(seen("/a").length, 1)
    }))

  it.effect("is answered 412 without a request if the stored file fails a precondition (§5.2.1.7)", () =>
    Effect.gen(function*() {
      const { ask, seen } = yield* startAfter(20)
      const headers = { "cache-control": "only-if-cached", "if-match": "\"v0\"" }
      assert.strictEqual((yield* ask("/a", { headers })).status, 412)
      assert.strictEqual(seen("/a").length, 1)
    }))

  it.effect("is answered 504 for a stale file, which other requests get if the origin fails (§5.2.1.7)", () =>
    Effect.gen(function*() {
      const { ask, origin } = yield* startAfter(61)
      yield* origin.close
      assert.strictEqual((yield* ask("/a", says("only-if-cached"))).status, 504)
      assert.strictEqual((yield* withTime(ask("/a"))).status, 200)
    }))
})
