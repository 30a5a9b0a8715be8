import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { TestClock } from "effect/testing"
import { ChunkStore } from "../../src/services/disk/ChunkStore.ts"
import { story } from "../support/cacheStatus.ts"
import { makeTestOrigin } from "../support/TestOrigin.ts"
import { bytes, makeGate, maxAge, otherBytes, type Reply, type Site, SIZE, start, until, withTime } from "./Site.ts"
import { CHUNK_BYTES } from "./TestProxy.ts"

/** A site with a file at `/a` that has been viewed, and is stale by one second since. */
const startStale = Effect.fnUntraced(function*(headers: Record<string, string>) {
  const site = yield* start()
  site.file("/a", { headers })
  yield* site.ask("/a")
  yield* TestClock.adjust("61 seconds")
  return site
})

const failing = (site: Site, status: number): void => site.answer("/a", () => ({ status, body: "failed" }))

describe("an origin that cannot be reached", () => {
  it.effect("has the stored file served stale if nothing forbids it (§4.2.4)", () =>
    Effect.gen(function*() {
      const { ask, origin } = yield* startStale(maxAge(60))
      yield* origin.close
      for (const method of ["GET", "HEAD"]) {
        const { body, headers, status } = yield* ask("/a", { method })
        assert.strictEqual(status, 200)
        assert.strictEqual(story(headers), "spillway; hit; detail=ORIGIN_UNREACHABLE")
        assert.include(headers["cache-status"], "; ttl=-1;")
        assert.strictEqual(headers["age"], "61")
        if (method === "GET") assert.isTrue(body.equals(bytes))
      }
    }))

  const forbidden = ["must-revalidate", "proxy-revalidate", "s-maxage=60", "no-cache"]

  it.effect.each(forbidden)(
    "has no stale file served with %s (§5.2.2.2, §5.2.2.8, §5.2.2.10, §5.2.2.4)",
    (directive) =>
      Effect.gen(function*() {
        const { ask, origin } = yield* startStale(maxAge(60, directive))
        yield* origin.close
        const { headers, status } = yield* withTime(ask("/a"))
        assert.strictEqual(status, 502)
        assert.strictEqual(story(headers), "spillway; fwd=miss; detail=ORIGIN_UNREACHABLE")
        yield* origin.listen
        assert.strictEqual(story((yield* ask("/a")).headers), "spillway; fwd=stale; fwd-status=304")
      })
  )

  it.effect("is not noticed while the stored file is fresh (§4)", () =>
    Effect.gen(function*() {
      const { ask, file, origin } = yield* start()
      file("/a", { headers: maxAge(60, "must-revalidate") })
      yield* ask("/a")
      yield* origin.close
      yield* TestClock.adjust("59 seconds")
      assert.strictEqual(story((yield* ask("/a")).headers), "spillway; hit")
    }))

  it.effect("has the stored file served within stale-if-error, and no longer (RFC 5861 §4)", () =>
    Effect.gen(function*() {
      const { ask, origin } = yield* startStale(maxAge(60, "stale-if-error=30"))
      yield* origin.close
      yield* TestClock.adjust("28 seconds")
      assert.strictEqual(story((yield* ask("/a")).headers), "spillway; hit; detail=ORIGIN_UNREACHABLE")
      yield* TestClock.adjust("1 second")
      assert.strictEqual((yield* withTime(ask("/a"))).status, 502)
    }))

  it.effect("has the stored file served within the stale-if-error of the request (RFC 5861 §4)", () =>
    Effect.gen(function*() {
      const { ask, origin } = yield* startStale(maxAge(60, "stale-if-error=0"))
      yield* origin.close
      const headers = { "cache-control": "stale-if-error=30" }
      assert.strictEqual((yield* ask("/a", { headers })).status, 200)
      assert.strictEqual((yield* withTime(ask("/a"))).status, 502)
    }))
})

describe("an origin that answers 5xx to a revalidation", () => {
  it.effect.each([500, 502, 503, 504])(
    "has the stored file served stale: %i (§4.3.3)",
    (status) =>
      Effect.gen(function*() {
        const site = yield* startStale(maxAge(60))
        failing(site, status)
        const answer = yield* site.ask("/a")
        assert.strictEqual(answer.status, 200)
        assert.isTrue(answer.body.equals(bytes))
        assert.strictEqual(story(answer.headers), `spillway; fwd=stale; fwd-status=${status}; detail=ORIGIN_ERROR`)
        assert.strictEqual(answer.headers["age"], "61")
        assert.strictEqual(site.seen("/a").length, 2)
      })
  )

  it.effect.each(["must-revalidate", "stale-if-error=0"])(
    "has its answer passed on with %s (§4.3.3)",
    (directive) =>
      Effect.gen(function*() {
        const site = yield* startStale(maxAge(60, directive))
        failing(site, 503)
        const { body, headers, status } = yield* site.ask("/a")
        assert.strictEqual(status, 503)
        assert.strictEqual(body.toString(), "failed")
        assert.match(story(headers), /^spillway; fwd=stale/)
      })
  )

  it.effect("is asked again for the next request (§4.3.3)", () =>
    Effect.gen(function*() {
      const site = yield* startStale(maxAge(60))
      failing(site, 500)
      yield* site.ask("/a")
      site.file("/a")
      assert.strictEqual(story((yield* site.ask("/a")).headers), "spillway; fwd=stale; fwd-status=304")
    }))

  it.effect("has the stored file discarded by a 404, even if it fails later (§4.3.3)", () =>
    Effect.gen(function*() {
      const site = yield* startStale(maxAge(60))
      failing(site, 404)
      assert.strictEqual((yield* site.ask("/a")).status, 404)
      yield* site.origin.close
      assert.strictEqual((yield* withTime(site.ask("/a"))).status, 502)
    }))
})

describe("stale-while-revalidate", () => {
  /** Holds back the origin's next answers for `/a`. */
  const hold = (site: Site, reply: Reply) => {
    const gate = makeGate()
    site.answer("/a", async () => {
      await gate.opened
      return reply
    })
    return gate
  }

  it.effect("serves the stored file at once and revalidates it once in the background (RFC 5861 §3)", () =>
    Effect.gen(function*() {
      const site = yield* startStale(maxAge(60, "stale-while-revalidate=30"))
      const gate = hold(site, { status: 304, headers: { ...maxAge(60), "etag": "\"v1\"" } })
      for (let i = 0; i < 3; i++) {
        const { body, headers } = yield* site.ask("/a")
        assert.isTrue(body.equals(bytes))
        assert.strictEqual(story(headers), "spillway; hit; detail=REVALIDATING")
        assert.strictEqual(headers["age"], "61")
      }
      yield* until("the request behind", () => site.seen("/a").length > 1)
      gate.open()
      const stories: Array<string> = []
      while (stories.at(-1) !== "spillway; hit") stories.push(story((yield* site.ask("/a")).headers))
      assert.strictEqual(site.seen("/a").length, 2)
      assert.strictEqual(site.seen("/a")[1]!.headers["if-none-match"], "\"v1\"")
    }))

  it.effect("fetches a changed file in the background (RFC 5861 §3)", () =>
    Effect.gen(function*() {
      const site = yield* startStale(maxAge(60, "stale-while-revalidate=30"))
      site.file("/a", { bytes: otherBytes, etag: "\"v2\"" })
      assert.isTrue((yield* site.ask("/a")).body.equals(bytes))
      while ((yield* site.ask("/a")).headers["etag"] !== "\"v2\"");
      assert.isTrue((yield* site.ask("/a")).body.equals(otherBytes))
    }))

  it.effect("waits for the origin after its time (RFC 5861 §3)", () =>
    Effect.gen(function*() {
      const site = yield* startStale(maxAge(60, "stale-while-revalidate=30"))
      yield* TestClock.adjust("29 seconds")
      assert.strictEqual(story((yield* site.ask("/a")).headers), "spillway; fwd=stale; fwd-status=304")
    }))

  it.effect("waits for the origin with must-revalidate, and if the request wants a younger answer (RFC 5861 §3)", () =>
    Effect.gen(function*() {
      const strict = yield* startStale(maxAge(60, "stale-while-revalidate=30", "must-revalidate"))
      assert.strictEqual(story((yield* strict.ask("/a")).headers), "spillway; fwd=stale; fwd-status=304")
      const site = yield* startStale(maxAge(60, "stale-while-revalidate=30"))
      const headers = { "cache-control": "max-age=30" }
      assert.strictEqual(story((yield* site.ask("/a", { headers })).headers), "spillway; fwd=stale; fwd-status=304")
    }))

  it.effect("continues while background revalidation fails (RFC 5861 §3)", () =>
    Effect.gen(function*() {
      const site = yield* startStale(maxAge(60, "stale-while-revalidate=30"))
      failing(site, 500)
      for (let i = 2; i < 5; i++) {
        assert.strictEqual(story((yield* site.ask("/a")).headers), "spillway; hit; detail=REVALIDATING")
        yield* until("the request behind", () => site.seen("/a").length >= i)
      }
    }))
})

describe("offline mode", () => {
  /** Has a proxy store what `ask` asks for, and starts one in its place that may not ask the origin. */
  const startOffline = Effect.fnUntraced(function*(prepare: (site: Site) => Effect.Effect<unknown, Error>) {
    const origin = yield* makeTestOrigin
    const store = yield* Effect.provide(ChunkStore, ChunkStore.layerMemory)
    const before = { origin, store }
    yield* Effect.scoped(Effect.flatMap(start({ before }), prepare))
    origin.reset()
    return yield* start({ before, origins: { offline: true } })
  })

  it.effect("serves all cached files, however old, without a request", () =>
    Effect.gen(function*() {
      const site = yield* startOffline((site) => {
        site.file("/a")
        site.file("/b", { headers: { "cache-control": "no-cache" } })
        return Effect.andThen(site.ask("/a"), site.ask("/b"))
      })
      assert.strictEqual(story((yield* site.ask("/a")).headers), "spillway; hit")
      yield* TestClock.adjust("2 hours")
      for (const path of ["/a", "/b"]) {
        for (const headers of [{}, { "cache-control": "no-cache" }, { "cache-control": "max-age=0" }]) {
          const whole = yield* site.ask(path, { headers })
          assert.isTrue(whole.body.equals(bytes))
          assert.strictEqual(story(whole.headers), "spillway; hit; detail=OFFLINE")
          assert.strictEqual(whole.headers["age"], "7200")
          const part = yield* site.ask(path, { headers: { ...headers, range: "bytes=100000-100009, 5-9" } })
          assert.strictEqual(part.status, 206)
          const same = yield* site.ask(path, { headers: { ...headers, "if-none-match": "\"v1\"" } })
          assert.strictEqual(same.status, 304)
          const changed = yield* site.ask(path, { headers: { ...headers, "if-match": "\"v0\"" } })
          assert.strictEqual(changed.status, 412)
        }
      }
      assert.strictEqual(site.origin.requests.length, 0)
    }))

  it.effect("answers 504 to files cached in part, except for that part and the head", () =>
    Effect.gen(function*() {
      const site = yield* startOffline((site) => {
        site.file("/a")
        return site.ask("/a", { headers: { range: `bytes=0-${CHUNK_BYTES - 1}` } })
      })
      for (const time of ["1 second", "2 hours"] as const) {
        yield* TestClock.adjust(time)
        const whole = yield* site.ask("/a")
        assert.strictEqual(whole.status, 504)
        assert.strictEqual(story(whole.headers), "spillway; detail=NOT_CACHED")
        const part = yield* site.ask("/a", { headers: { range: "bytes=5-9" } })
        assert.isTrue(part.body.equals(bytes.subarray(5, 10)))
        assert.match(story(part.headers), /^spillway; hit/)
        assert.strictEqual((yield* site.ask("/a", { headers: { range: "bytes=5-9, -5" } })).status, 504)
        const head = yield* site.ask("/a", { method: "HEAD" })
        assert.strictEqual(head.status, 200)
        assert.strictEqual(head.headers["content-length"], String(SIZE))
        assert.match(story(head.headers), /^spillway; hit/)
      }
      assert.strictEqual(site.origin.requests.length, 0)
    }))

  it.effect("answers 504 to uncached files and 502 to other methods, without a request", () =>
    Effect.gen(function*() {
      const { ask, origin } = yield* start({ origins: { offline: true } })
      for (const options of [{}, { method: "HEAD" }, { headers: { authorization: "Basic YTpi" } }]) {
        const { headers, status } = yield* ask("/a", options)
        assert.strictEqual(status, 504)
        assert.strictEqual(story(headers), "spillway; detail=NOT_CACHED")
      }
      assert.strictEqual((yield* withTime(ask("/a", { method: "POST", body: "a" }))).status, 502)
      assert.strictEqual(origin.requests.length, 0)
    }))
})
