import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Schedule } from "effect"
import { TestClock } from "effect/testing"
import { besideFile, make as makeResource } from "../../src/domain/Resource.ts"
import { chunksIn, ChunkStore } from "../../src/services/disk/ChunkStore.ts"
import { story } from "../support/cacheStatus.ts"
import { bytes, makeGate, maxAge, type Reply, SIZE, start, until, withTime } from "./Site.ts"
import { makeTestProxy } from "./TestProxy.ts"

const KEPT_BYTES = 64 * 1024

describe("an answer without a file", () => {
  const kept: ReadonlyArray<readonly [number, Record<string, string>]> = [
    [404, {}],
    [410, {}],
    [301, { location: "https://elsewhere.example/" }],
    [308, { location: "https://elsewhere.example/" }],
    [405, { allow: "GET" }],
    [414, {}],
    [501, {}],
    // Not by a guess, but by the origin's word.
    [302, { location: "https://elsewhere.example/" }],
    [403, {}],
    [505, {}]
  ]

  it.effect.each(kept)(
    "is stored as long as it is fresh: %i (RFC 9111 §3)",
    ([status, headers]) =>
      Effect.gen(function*() {
        const { answer, ask, at, seen } = yield* start()
        answer(
          "/a",
          () => ({ status, headers: { ...maxAge(60), "content-type": "text/plain", ...headers }, body: "no" })
        )
        const first = yield* ask("/a")
        assert.strictEqual(story(first.headers), "spillway; fwd=uri-miss; stored")
        assert.notProperty(first.headers, "age")
        for (const age of [0, 30, 59]) {
          yield* TestClock.setTime(Date.parse(at(age)))
          for (const options of [{}, { headers: { range: "bytes=0-0" } }, { method: "HEAD" }]) {
            const again = yield* ask("/a", options)
            assert.strictEqual(again.status, status)
            assert.strictEqual(again.body.toString(), "method" in options ? "" : "no")
            assert.strictEqual(again.headers["content-type"], "text/plain")
            assert.strictEqual(again.headers["content-length"], "2")
            assert.strictEqual(again.headers["age"], String(age))
            assert.strictEqual(again.headers["date"], at(0))
            assert.match(String(again.headers["cache-status"]), new RegExp(`^spillway; hit; ttl=${60 - age}; key="`))
            for (const [name, value] of Object.entries(headers)) assert.strictEqual(again.headers[name], value)
          }
        }
        assert.strictEqual(seen("/a").length, 1)
        yield* TestClock.adjust("1 second")
        assert.strictEqual(story((yield* ask("/a")).headers), "spillway; fwd=stale; stored")
        assert.strictEqual(seen("/a").length, 2)
      })
  )

  const notKept: ReadonlyArray<readonly [string, Reply]> = [
    ["without a word about freshness", { status: 404 }],
    ["302 without a word about freshness", { status: 302, headers: { location: "https://elsewhere.example/" } }],
    ["403 by a guess", { status: 403, headers: { "last-modified": "Tue, 01 Jan 2019 00:00:00 GMT" } }],
    ["with max-age=0", { status: 404, headers: maxAge(0) }],
    ["with no-cache", { status: 404, headers: maxAge(60, "no-cache") }],
    ["with no-store", { status: 404, headers: maxAge(60, "no-store") }],
    ["private", { status: 404, headers: maxAge(60, "private") }],
    ["500", { status: 500, headers: maxAge(60) }],
    ["502", { status: 502, headers: maxAge(60) }],
    ["503", { status: 503, headers: { ...maxAge(60), "retry-after": "60" } }],
    ["504", { status: 504, headers: maxAge(60) }],
    ["206 to no range", { status: 206, headers: maxAge(60) }],
    ["304 to no condition", { status: 304, headers: maxAge(60) }],
    ["416 to no range", { status: 416, headers: maxAge(60) }]
  ]

  it.effect.each(notKept)("is not stored: %s (RFC 9111 §3)", ([, reply]) =>
    Effect.gen(function*() {
      const { answer, ask, file } = yield* start()
      answer("/a", () => reply)
      // What nobody asked for is no answer.
      const status = reply.status === 206 || reply.status === 304 ? 502 : reply.status
      for (let i = 0; i < 2; i++) {
        const answered = yield* ask("/a")
        assert.strictEqual(answered.status, status)
        if (reply.body !== undefined) assert.isTrue(answered.body.equals(Buffer.from(reply.body)))
        assert.notInclude(answered.headers["cache-status"], "; hit")
        assert.notInclude(answered.headers["cache-status"], "; stored")
      }
      file("/a")
      assert.isTrue((yield* ask("/a")).body.equals(bytes))
    }))

  it.effect("is stored with heuristic freshness when its status allows it (RFC 9111 §4.2.2)", () =>
    Effect.gen(function*() {
      const { answer, ask, at } = yield* start()
      answer("/a", () => ({ status: 300, headers: { "last-modified": at(-1000) }, body: "choose" }))
      yield* ask("/a")
      yield* TestClock.adjust("99 seconds")
      assert.include((yield* ask("/a")).headers["cache-status"], "spillway; hit; ttl=1;")
      yield* TestClock.adjust("1 second")
      assert.include((yield* ask("/a")).headers["cache-status"], "fwd=stale")
    }))

  it.effect.each([404, 405, 410, 414, 501])(
    "%i is not stored with heuristic freshness",
    (status) =>
      Effect.gen(function*() {
        const { answer, ask, at, file } = yield* start()
        answer("/a", () => ({ status, headers: { "last-modified": at(-100_000) }, body: "no" }))
        assert.strictEqual((yield* ask("/a")).status, status)
        file("/a")
        assert.strictEqual((yield* ask("/a")).status, 200)
      })
  )

  it.effect("is stored when its body without a length turns out to be short", () =>
    Effect.gen(function*() {
      const { answer, ask, seen } = yield* start()
      answer("/a", () => ({
        status: 404,
        headers: { ...maxAge(60), "transfer-encoding": "chunked" },
        body: Buffer.alloc(KEPT_BYTES, "no")
      }))
      for (let i = 0; i < 2; i++) {
        const { body, headers } = yield* ask("/a")
        assert.strictEqual(body.length, KEPT_BYTES)
        assert.strictEqual(headers["content-length"], String(KEPT_BYTES))
      }
      assert.strictEqual(seen("/a").length, 1)
    }))

  it.effect("is requested once for viewers who ask at the same time", () =>
    Effect.gen(function*() {
      const { answer, ask, file, seen } = yield* start()
      const gate = makeGate()
      answer("/a", async () => {
        await gate.opened
        return { status: 404, body: "no" }
      })
      file("/ping")
      const viewers: Array<Fiber.Fiber<string, Error>> = []
      for (let i = 0; i < 3; i++) {
        viewers.push(yield* Effect.forkChild(Effect.map(ask("/a"), ({ headers }) => story(headers))))
        yield* ask("/ping")
      }
      yield* until("the request", () => seen("/a").length > 0)
      gate.open()
      const stories = yield* Effect.forEach(viewers, Fiber.join)
      assert.deepStrictEqual(stories, [
        "spillway; fwd=uri-miss; detail=STATUS",
        "spillway; fwd=uri-miss; collapsed; detail=STATUS",
        "spillway; fwd=uri-miss; collapsed; detail=STATUS"
      ])
      assert.strictEqual(seen("/a").length, 1)
    }))

  it.effect("is requested again when the request wants a younger one (RFC 9111 §5.2.1)", () =>
    Effect.gen(function*() {
      const { answer, ask, seen } = yield* start()
      answer("/a", () => ({ status: 404, headers: maxAge(60), body: "no" }))
      yield* ask("/a")
      yield* TestClock.adjust("20 seconds")
      for (const directives of ["no-cache", "max-age=19", "min-fresh=41"]) {
        const before = seen("/a").length
        yield* TestClock.adjust("20 seconds")
        yield* ask("/a", { headers: { "cache-control": directives } })
        assert.strictEqual(seen("/a").length, before + 1, directives)
        assert.strictEqual((yield* ask("/a")).headers["age"], "0", directives)
      }
    }))

  it.effect("is not used again once there is a file (RFC 9111 §4)", () =>
    Effect.gen(function*() {
      const { answer, ask, file } = yield* start()
      answer("/a", () => ({ status: 404, headers: maxAge(3600), body: "no" }))
      yield* ask("/a")
      file("/a")
      yield* ask("/a", { headers: { "cache-control": "no-cache" } })
      assert.strictEqual((yield* ask("/a")).status, 200)
      yield* TestClock.adjust("61 seconds")
      const { headers, status } = yield* ask("/a")
      assert.strictEqual(status, 200)
      assert.strictEqual(story(headers), "spillway; fwd=stale; fwd-status=304")
    }))

  it.effect("is used instead of a file that has become stale (RFC 9111 §4)", () =>
    Effect.gen(function*() {
      const { answer, ask, file, seen } = yield* start()
      file("/a")
      yield* ask("/a")
      yield* TestClock.adjust("61 seconds")
      answer("/a", () => ({ status: 410, headers: maxAge(60), body: "no" }))
      for (let i = 0; i < 2; i++) assert.strictEqual((yield* ask("/a")).status, 410)
      assert.strictEqual(seen("/a").length, 2)
    }))

  it.effect("is not used for viewers with a cookie, unless it is public (RFC 9111 §7)", () =>
    Effect.gen(function*() {
      const { answer, ask, seen } = yield* start()
      answer("/a", ({ headers }) => ({ status: 404, headers: maxAge(60), body: `none for ${headers.cookie}` }))
      yield* ask("/a")
      for (let i = 0; i < 2; i++) {
        const { body, headers } = yield* ask("/a", { headers: { cookie: "a" } })
        assert.strictEqual(body.toString(), "none for a")
        assert.strictEqual(story(headers), "spillway; fwd=bypass; detail=COOKIE")
      }
      assert.strictEqual(story((yield* ask("/a")).headers), "spillway; hit")
      assert.strictEqual(seen("/a").length, 3)
      answer("/b", () => ({ status: 404, headers: maxAge(60, "public"), body: "none" }))
      yield* ask("/b", { headers: { cookie: "a" } })
      for (const cookie of ["a", "b"]) {
        assert.strictEqual(story((yield* ask("/b", { headers: { cookie } })).headers), "spillway; hit")
      }
      assert.strictEqual(story((yield* ask("/b")).headers), "spillway; hit")
    }))

  it.effect("is stored whatever its length, and by variant (RFC 9111 §4.1)", () =>
    Effect.gen(function*() {
      const { answer, ask, seen } = yield* start()
      answer("/a", ({ headers }) => ({
        status: 404,
        headers: { ...maxAge(60), vary: "x-language" },
        body: headers["x-language"] === "de" ? Buffer.alloc(SIZE, "nein") : "no"
      }))
      for (const [language, length] of [["de", SIZE], ["en", 2], ["de", SIZE], ["en", 2]] as const) {
        const { body, status } = yield* ask("/a", { headers: { "x-language": language } })
        assert.strictEqual(status, 404)
        assert.lengthOf(body, length)
      }
      assert.lengthOf(seen("/a"), 2)
    }))

  it.effect("is used after a restart", () =>
    Effect.gen(function*() {
      const store = yield* ChunkStore
      const first = yield* start()
      const before = { origin: first.origin, store }
      const site = yield* start({ before })
      site.answer(
        "/a",
        () => ({ status: 301, headers: { ...maxAge(60), location: "https://elsewhere.example/" }, body: "moved" })
      )
      yield* site.ask("/a")
      const { id } = besideFile(makeResource(`${site.origin.url}/a`))
      yield* withTime(Effect.repeat(Effect.map(store.contents(id), chunksIn), {
        until: (keys) => keys.length === 1,
        schedule: Schedule.spaced("10 millis")
      }))
      const again = yield* makeTestProxy({ before })
      const { body, headers, status } = yield* again.ask("/a")
      assert.deepStrictEqual([status, headers["location"], body.toString()], [
        301,
        "https://elsewhere.example/",
        "moved"
      ])
      assert.strictEqual(story(headers), "spillway; hit")
      assert.lengthOf(site.seen("/a"), 1)
    }).pipe(Effect.provide(ChunkStore.layerMemory)))

  it.effect("does not supersede the file, which is used again when the origin has it", () =>
    Effect.gen(function*() {
      const { answer, ask, file, seen } = yield* start()
      file("/a")
      yield* ask("/a")
      yield* TestClock.adjust("61 seconds")
      answer("/a", () => ({ status: 403, headers: maxAge(60), body: "no" }))
      assert.strictEqual((yield* ask("/a")).status, 403)
      file("/a")
      yield* TestClock.adjust("61 seconds")
      const { body, headers } = yield* ask("/a")
      assert.isTrue(body.equals(bytes))
      assert.include(headers["cache-status"], "fwd-status=304")
      assert.strictEqual(seen("/a").at(-1)!.headers["if-none-match"], "\"v1\"")
    }))

  it.effect("is used while the origin fails, and within max-stale (RFC 9111 §4.2.4, §5.2.1.2)", () =>
    Effect.gen(function*() {
      const { answer, ask, origin, seen } = yield* start()
      answer("/a", () => ({ status: 301, headers: { ...maxAge(60), location: "https://elsewhere.example/" } }))
      answer(
        "/b",
        () => ({ status: 301, headers: { ...maxAge(60), location: "https://elsewhere.example/" }, body: "b" })
      )
      yield* ask("/a")
      yield* ask("/b")
      yield* TestClock.adjust("70 seconds")
      const maxStale = { headers: { "cache-control": "max-stale=20" } }
      assert.strictEqual(story((yield* ask("/b", maxStale)).headers), "spillway; hit")
      assert.lengthOf(seen("/b"), 1)
      yield* origin.close
      for (const path of ["/a", "/b"]) {
        const { headers, status } = yield* ask(path)
        assert.strictEqual(status, 301)
        assert.strictEqual(headers["location"], "https://elsewhere.example/")
        assert.include(headers["cache-status"], "detail=ORIGIN_UNREACHABLE")
      }
    }))

  it.effect("is found by only-if-cached (RFC 9111 §5.2.1.7)", () =>
    Effect.gen(function*() {
      const { answer, ask } = yield* start()
      answer("/a", () => ({ status: 404, headers: maxAge(60), body: "no" }))
      const onlyIfCached = { headers: { "cache-control": "only-if-cached" } }
      assert.strictEqual((yield* ask("/a", onlyIfCached)).status, 504)
      yield* ask("/a")
      assert.strictEqual((yield* ask("/a", onlyIfCached)).status, 404)
    }))

  it.effect("ignores preconditions (RFC 9110 §13.2.1)", () =>
    Effect.gen(function*() {
      const { answer, ask } = yield* start()
      answer("/a", () => ({ status: 404, headers: { ...maxAge(60), etag: "\"1\"" }, body: "no" }))
      yield* ask("/a")
      for (const headers of [{ "if-none-match": "\"1\"" }, { "if-match": "\"2\"" }]) {
        const { body, status } = yield* ask("/a", { headers })
        assert.deepStrictEqual([status, body.toString()], [404, "no"])
      }
    }))

  const passedOn: ReadonlyArray<readonly [number, Record<string, string>]> = [
    [301, { "location": "https://elsewhere.example/b?c=d" }],
    [302, { "location": "https://elsewhere.example/b" }],
    [307, { "location": "//elsewhere.example/b" }],
    [401, { "www-authenticate": "Basic realm=\"a\"" }],
    [403, { "x-own": "1" }],
    [404, {}],
    [410, {}],
    [429, { "retry-after": "5" }],
    [500, {}],
    [503, { "retry-after": "7", "cache-control": "no-store" }]
  ]

  it.effect.each(passedOn)(
    "%i is passed on with its fields, cookies and body each time",
    ([status, own]) =>
      Effect.gen(function*() {
        const { answer, ask, file, seen } = yield* start()
        const fields = { ...own, "content-type": "text/html; charset=utf-8" }
        const cookies = ["a=1; Path=/; HttpOnly", "b=2; Expires=Tue, 01 Jan 2030 12:00:00 GMT"]
        answer("/a", () => ({
          status,
          headers: { ...fields, "set-cookie": cookies, "connection": "x-hop", "x-hop": "1" },
          body: `<p>${status}</p>`
        }))
        for (const options of [{}, {}, { headers: { range: "bytes=0-1" } }, { method: "HEAD" }]) {
          const answered = yield* ask("/a", options)
          assert.strictEqual(answered.status, status)
          assert.strictEqual(answered.body.toString(), "method" in options ? "" : `<p>${status}</p>`)
          assert.deepInclude(answered.headers, { ...fields, "set-cookie": cookies })
          assert.notProperty(answered.headers, "x-hop")
          assert.match(story(answered.headers), /^spillway; fwd=(?:miss|bypass; detail=STATUS)$/)
        }
        assert.isAtLeast(seen("/a").length, 4)
        file("/a")
        assert.isTrue((yield* ask("/a")).body.equals(bytes))
      })
  )

  it.effect("204 is passed on without a body", () =>
    Effect.gen(function*() {
      const { ask, origin } = yield* start()
      origin.handlers.set("/a", (_, response) => void response.writeHead(204, { "x-own": "1" }).end())
      const { body, headers, status } = yield* ask("/a")
      assert.strictEqual(status, 204)
      assert.strictEqual(headers["x-own"], "1")
      assert.strictEqual(body.length, 0)
    }))
})
