import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { TestClock } from "effect/testing"
import { makeGate, maxAge, type Site, start, until, withTime } from "./Site.ts"
import { type Ask, CHUNK_BYTES } from "./TestProxy.ts"

/** The whole field, but for the key. */
const told = (site: Site, path: string, options?: Ask) =>
  Effect.map(
    site.ask(path, options),
    ({ headers }) => String(headers["cache-status"]).replace(/; key="[^"]*"/, "; key")
  )

describe("Cache-Status", () => {
  it.effect("has the outcome, the ttl and the key of a file (RFC 9211 §2)", () =>
    Effect.gen(function*() {
      const site = yield* start()
      site.file("/a")
      assert.strictEqual(yield* told(site, "/a"), "spillway; fwd=uri-miss; ttl=60; stored; key")
      yield* TestClock.adjust("20 seconds")
      assert.strictEqual(yield* told(site, "/a"), "spillway; hit; ttl=40; key")
      const noCache = { headers: { "cache-control": "no-cache" } }
      assert.strictEqual(yield* told(site, "/a", noCache), "spillway; fwd=request; fwd-status=304; ttl=60; key")
      yield* TestClock.adjust("61 seconds")
      assert.strictEqual(yield* told(site, "/a"), "spillway; fwd=stale; fwd-status=304; ttl=60; key")
      yield* TestClock.adjust("61 seconds")
      yield* site.origin.close
      assert.strictEqual(yield* told(site, "/a"), "spillway; hit; ttl=-1; key; detail=ORIGIN_UNREACHABLE")
    }))

  it.effect("is a hit only without the origin, and a miss only with it (RFC 9211 §2.1, §2.2)", () =>
    Effect.gen(function*() {
      const site = yield* start()
      site.file("/a")
      // An answer to HEAD is not stored.
      for (let i = 0; i < 2; i++) {
        assert.strictEqual(yield* told(site, "/a", { method: "HEAD" }), "spillway; fwd=uri-miss; ttl=60; key")
      }
      yield* site.ask("/a", { headers: { range: `bytes=${3 * CHUNK_BYTES}-` } })
      assert.strictEqual(yield* told(site, "/a", { method: "HEAD" }), "spillway; hit; ttl=60; key")
      assert.strictEqual(
        yield* told(site, "/a", { headers: { "if-none-match": "\"v1\"" } }),
        "spillway; hit; ttl=60; key"
      )
      // Its head was fresh, its bytes were not there.
      assert.strictEqual(
        yield* told(site, "/a", { headers: { range: `bytes=0-${CHUNK_BYTES - 1}` } }),
        "spillway; fwd=miss; ttl=60; stored; key"
      )
      assert.strictEqual(yield* told(site, "/a"), "spillway; fwd=partial; ttl=60; stored; key")
      assert.strictEqual(yield* told(site, "/a"), "spillway; hit; ttl=60; key")
    }))

  it.effect("has the origin's status when the viewer gets another one (RFC 9211 §2.3)", () =>
    Effect.gen(function*() {
      const site = yield* start()
      for (const [path, ranges] of [["/ranges", true], ["/none", false]] as const) {
        site.file(path, { ranges })
        assert.strictEqual(
          yield* told(site, path, { headers: { range: "bytes=0-9" } }),
          `spillway; fwd=uri-miss; ${ranges ? "" : "fwd-status=200; "}ttl=60; stored; key`
        )
      }
      site.file("/a")
      const headers = { "if-none-match": "\"v1\"" }
      assert.strictEqual(
        yield* told(site, "/a", { headers }),
        "spillway; fwd=uri-miss; fwd-status=200; ttl=60; stored; key"
      )
      yield* TestClock.adjust("61 seconds")
      assert.strictEqual(yield* told(site, "/a", { headers }), "spillway; fwd=stale; ttl=60; key")
    }))

  it.effect("marks viewers who shared a request (RFC 9211 §2.6)", () =>
    Effect.gen(function*() {
      const site = yield* start()
      const gate = makeGate()
      site.file("/a", { hold: { after: 0, until: gate.opened } })
      site.file("/ping")
      const first = yield* Effect.forkChild(told(site, "/a"))
      yield* site.ask("/ping")
      const second = yield* Effect.forkChild(told(site, "/a"))
      yield* site.ask("/ping")
      yield* until("the request", () => site.seen("/a").length > 0)
      gate.open()
      assert.strictEqual(yield* Fiber.join(first), "spillway; fwd=uri-miss; ttl=60; stored; key")
      assert.strictEqual(yield* Fiber.join(second), "spillway; fwd=uri-miss; ttl=60; stored; collapsed; key")
      assert.strictEqual(site.seen("/a").length, 1)
    }))

  it.effect("has one key for each entry (RFC 9211 §2.7)", () =>
    Effect.gen(function*() {
      const site = yield* start()
      site.file("/a", { headers: { ...maxAge(60), vary: "X-A" } })
      site.file("/b")
      const keyOf = (path: string, options?: Ask) =>
        Effect.map(site.ask(path, options), ({ headers }) => /key="([^"]+)"/.exec(String(headers["cache-status"]))![1])
      const a = yield* keyOf("/a")
      assert.strictEqual(yield* keyOf("/a"), a)
      assert.strictEqual(yield* keyOf("/a", { headers: { range: "bytes=0-9" } }), a)
      assert.strictEqual(yield* keyOf("/a", { method: "HEAD" }), a)
      assert.notStrictEqual(yield* keyOf("/a", { headers: { "x-a": "1" } }), a)
      assert.notStrictEqual(yield* keyOf("/b"), a)
    }))

  it.effect("follows the members of caches nearer to the origin, from the origin and from the cache (RFC 9211 §2)", () =>
    Effect.gen(function*() {
      const site = yield* start()
      const headers = { "cache-status": "shield; hit; ttl=1100, \"a, b\"; fwd=miss" }
      site.file("/a", { headers: { ...maxAge(60), ...headers } })
      site.answer("/none", () => ({ status: 404, headers: { ...maxAge(60), ...headers }, body: "no" }))
      site.answer("/private", () => ({ headers: { "cache-control": "private", ...headers } }))
      const before = "shield; hit; ttl=1100, \"a, b\"; fwd=miss, spillway"
      assert.strictEqual(yield* told(site, "/a"), `${before}; fwd=uri-miss; ttl=60; stored; key`)
      assert.strictEqual(yield* told(site, "/a"), `${before}; hit; ttl=60; key`)
      assert.strictEqual(
        yield* told(site, "/a", { headers: { "if-none-match": "\"v1\"" } }),
        `${before}; hit; ttl=60; key`
      )
      assert.strictEqual(yield* told(site, "/none"), `${before}; fwd=uri-miss; ttl=60; stored; key`)
      assert.strictEqual(yield* told(site, "/none"), `${before}; hit; ttl=60; key`)
      assert.strictEqual(yield* told(site, "/private"), `${before}; fwd=bypass; detail=PRIVATE`)
      assert.strictEqual(yield* told(site, "/private", { method: "POST", body: "a" }), `${before}; fwd=method`)
    }))

  it.effect("has a detail that says why Spillway itself answered (RFC 9211 §2.8)", () =>
    Effect.gen(function*() {
      const site = yield* start()
      yield* site.origin.close
      assert.strictEqual(yield* withTime(told(site, "/a")), "spillway; fwd=miss; detail=ORIGIN_UNREACHABLE")
      const onlyCached = { headers: { "cache-control": "only-if-cached" } }
      assert.strictEqual(yield* told(site, "/a", onlyCached), "spillway; detail=NOT_CACHED")
      assert.strictEqual(yield* told(site, "/a", { method: "TRACE" }), "spillway; fwd=bypass; detail=REFUSED")
    }))
})
