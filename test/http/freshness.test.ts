import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { TestClock } from "effect/testing"
import { parse as parseTtl, type TtlRule } from "../../src/domain/TtlRule.ts"
import { story } from "../support/cacheStatus.ts"
import type { OriginFile } from "../support/TestOrigin.ts"
import { bytes, makeGate, maxAge, type Site, start, until } from "./Site.ts"

const HOUR = 3600
const DAY = 24 * HOUR

type FileOf = (at: Site["at"]) => Partial<OriginFile>

/** Checks that what is at `path` is used for exactly `lifetime` seconds. */
const assertLifetime = Effect.fnUntraced(function*({ ask, seen }: Site, path: string, lifetime: number) {
  yield* ask(path)
  if (lifetime > HOUR) {
    // A clock that goes on for longer has much to do on its way.
    assert.include((yield* ask(path)).headers["cache-status"], `spillway; hit; ttl=${lifetime};`)
    return
  }
  if (lifetime > 0) {
    yield* TestClock.adjust(`${lifetime - 1} seconds`)
    const { body, headers } = yield* ask(path)
    assert.isTrue(body.equals(bytes))
    assert.strictEqual(headers["cache-status"]!.toString().replace(/; key=.*/, ""), "spillway; hit; ttl=1")
    assert.strictEqual(headers["age"], String(lifetime - 1))
    assert.strictEqual(seen(path).length, 1)
    yield* TestClock.adjust("1 second")
  }
  assert.strictEqual(story((yield* ask(path)).headers), "spillway; fwd=stale; fwd-status=304")
  assert.strictEqual(seen(path).length, 2)
})

describe("the lifetime", () => {
  const file = (headers: Record<string, string>, options: Partial<OriginFile> = {}): FileOf => () => ({
    ...options,
    headers
  })

  const cases: ReadonlyArray<readonly [string, FileOf, number]> = [
    ["max-age (§5.2.2.1)", file(maxAge(60)), 60],
    ["max-age=0 (§5.2.2.1)", file(maxAge(0)), 0],
    ["s-maxage before max-age (§5.2.2.10)", file(maxAge(60, "s-maxage=30")), 30],
    ["Expires, counted from Date (§5.3)", (at) => ({ headers: { "expires": at(40) } }), 40],
    ["max-age before Expires (§5.3)", (at) => ({ headers: { ...maxAge(20), "expires": at(40) } }), 20],
    ["an Expires that is not a date (§5.3)", file({ "expires": "0" }), 0],
    ["the first of two max-age (§4.2.1)", file(maxAge(20, "max-age=60")), 20],
    [
      "a max-age that is not a number (§4.2.1)",
      (at) => ({ headers: { "cache-control": "max-age=1h", "expires": at(40) } }),
      0
    ],
    ["a quoted max-age (§5.2)", file({ "cache-control": "Max-Age=\"20\"" }), 20],
    ["with unknown directives (§5.2.3)", file(maxAge(20, "community=\"UCI, no-store\"")), 20],
    ["zero with no-cache (§5.2.2.4)", file(maxAge(60, "no-cache")), 0],
    ["zero with no-cache for a field (§5.2.2.4)", file(maxAge(60, "no-cache=\"x-own\"")), 0],
    ["Pragma of an answer is ignored (§5.4)", file({ ...maxAge(20), "pragma": "no-cache" }), 20],
    ["CDN-Cache-Control before all others (RFC 9213 §2.2)", (at) => ({
      headers: { "cdn-cache-control": "max-age=20", "cache-control": "no-store", "expires": at(40) }
    }), 20],
    [
      "a CDN-Cache-Control that is malformed (RFC 9213 §2.1)",
      file({ ...maxAge(20), "cdn-cache-control": "max-age=\"" }),
      20
    ],
    ["a tenth of the time since Last-Modified (§4.2.2)", file({}), 100],
    ["an hour at most (§4.2.2)", (at) => ({ headers: {}, lastModified: at(-11 * HOUR) }), HOUR],
    ["no heuristic without Last-Modified (§4.2.2)", () => ({ headers: {}, lastModified: undefined! }), 0],
    ["no heuristic with must-revalidate (§5.2.2.2)", file({ "cache-control": "must-revalidate" }), 0],
    ["RFC 8246 a day for immutable", file({ "cache-control": "immutable" }), DAY],
    ["RFC 8246 max-age before immutable", file(maxAge(20, "immutable")), 20]
  ]

  it.effect.each(cases)("%s", ([, fileOf, lifetime]) =>
    Effect.gen(function*() {
      const site = yield* start()
      const { lastModified, ...options } = fileOf(site.at)
      site.file("/a", { ...options, ...("lastModified" in fileOf(site.at) && { lastModified: lastModified! }) })
      yield* assertLifetime(site, "/a", lifetime)
    }))

  const rules = (...texts: ReadonlyArray<string>): ReadonlyArray<TtlRule> => texts.map((text) => parseTtl(text)!)

  const ttls: ReadonlyArray<readonly [string, ReadonlyArray<TtlRule>, Record<string, string>, number]> = [
    ["a rule for all files, if the origin says nothing", rules("5m"), {}, 300],
    ["a rule for all files, overridden by the origin", rules("5m"), maxAge(20), 20],
    ["a rule for all files, overridden by no-cache", rules("5m"), { "cache-control": "no-cache" }, 0],
    ["a rule for a path, which overrides the origin", rules("5m", "/live/*=2s"), maxAge(60, "s-maxage=60"), 2],
    ["a rule for a path, which overrides no-cache", rules("/live/*=2m"), { "cache-control": "no-cache" }, 120],
    ["a rule for another path, which is ignored", rules("/vod/*=5m"), maxAge(20), 20]
  ]

  it.effect.each(ttls)("%s", ([, ttl, headers, lifetime]) =>
    Effect.gen(function*() {
      const site = yield* start({ cache: { ttl } })
      site.file("/live/a", { headers })
      yield* assertLifetime(site, "/live/a", lifetime)
    }))

  it.effect("a rule for a path does not store what must not be stored", () =>
    Effect.gen(function*() {
      const { ask, file } = yield* start({ cache: { ttl: rules("/*=5m") } })
      file("/a", { headers: { "cache-control": "no-store" } })
      yield* ask("/a")
      assert.strictEqual(story((yield* ask("/a")).headers), "spillway; fwd=bypass; detail=NO_STORE")
    }))

  it.effect("must-understand overrides no-store if the status is understood (§5.2.2.3)", () =>
    Effect.gen(function*() {
      const site = yield* start()
      site.file("/a", { headers: { "cache-control": "max-age=20, no-store, must-understand" } })
      yield* assertLifetime(site, "/a", 20)
    }))
})

describe("Age", () => {
  it.effect("is sent only with stored responses, even if it is 0 (§5.1)", () =>
    Effect.gen(function*() {
      const { ask, file } = yield* start()
      file("/a")
      const ages: Array<string | undefined> = []
      const askAll = Effect.gen(function*() {
        for (const options of [{}, { method: "HEAD" }, { headers: { range: "bytes=0-9" } }]) {
          ages.push((yield* ask("/a", options)).headers["age"])
        }
      })
      yield* askAll
      assert.deepStrictEqual(ages.splice(0), [undefined, "0", "0"])
      yield* TestClock.adjust("7 seconds")
      yield* askAll
      assert.deepStrictEqual(ages.splice(0), ["7", "7", "7"])
      yield* TestClock.adjust("60 seconds")
      yield* askAll
      assert.deepStrictEqual(ages, [undefined, "0", "0"])
    }))

  it.effect("starts from the Age of the origin's answer, and is sent once (§4.2.3)", () =>
    Effect.gen(function*() {
      const site = yield* start()
      site.file("/a", { headers: { ...maxAge(60), "age": "50" } })
      const first = yield* site.ask("/a")
      assert.deepStrictEqual(first.lines.filter(([name]) => name === "age"), [["age", "50"]])
      yield* TestClock.adjust("9 seconds")
      const second = yield* site.ask("/a")
      assert.deepStrictEqual(second.lines.filter(([name]) => name === "age"), [["age", "59"]])
      yield* TestClock.adjust("1 second")
      yield* site.ask("/a")
      assert.strictEqual(site.seen("/a").length, 2)
    }))

  it.effect("starts from Date if that makes the answer older (§4.2.3)", () =>
    Effect.gen(function*() {
      const site = yield* start()
      site.file("/a", { headers: { ...maxAge(60), "age": "5", "date": site.at(-20) } })
      yield* site.ask("/a")
      yield* TestClock.adjust("1 second")
      assert.strictEqual((yield* site.ask("/a")).headers["age"], "21")
    }))

  it.effect("includes the time that the answer took (§4.2.3)", () =>
    Effect.gen(function*() {
      const site = yield* start()
      const gate = makeGate()
      site.answer("/a", async () => {
        await gate.opened
        return { headers: { ...maxAge(60), "etag": "\"v1\"" }, body: "abc" }
      })
      const first = yield* Effect.forkChild(site.ask("/a"))
      yield* until("the request", () => site.seen("/a").length === 1)
      yield* TestClock.adjust("7 seconds")
      gate.open()
      yield* Fiber.join(first)
      assert.strictEqual((yield* site.ask("/a")).headers["age"], "7")
    }))
})

describe("a playlist", () => {
  const playlists: ReadonlyArray<readonly [string, string]> = [
    ["/live.m3u8", "text/plain"],
    ["/dash", "application/dash+xml"],
    ["/live.isml/Manifest", "text/xml"]
  ]

  it.effect.each(playlists)(
    "%s of type %s gets a heuristic lifetime of seconds",
    ([path, contentType]) =>
      Effect.gen(function*() {
        const site = yield* start()
        site.file(path, { contentType, lastModified: site.at(-36_000), headers: {} })
        yield* assertLifetime(site, path, 2)
      })
  )

  it.effect("is fresh for as long as the origin says", () =>
    Effect.gen(function*() {
      const { ask, file } = yield* start()
      file("/live.m3u8", { headers: maxAge(30) })
      yield* ask("/live.m3u8")
      yield* TestClock.adjust("29 seconds")
      assert.strictEqual(story((yield* ask("/live.m3u8")).headers), "spillway; hit")
    }))
})

describe("Date", () => {
  it.effect("is the origin's in every answer from the cache, including 304 (RFC 9110 §6.6.1)", () =>
    Effect.gen(function*() {
      const { ask, at, file } = yield* start()
      file("/a")
      yield* ask("/a")
      yield* TestClock.adjust("7 seconds")
      assert.strictEqual((yield* ask("/a")).headers["date"], at(0))
      const same = yield* ask("/a", { headers: { "if-none-match": "\"v1\"" } })
      assert.strictEqual(same.status, 304)
      assert.strictEqual(same.headers["date"], at(0))
      yield* TestClock.adjust("60 seconds")
      yield* ask("/a")
      assert.strictEqual((yield* ask("/a")).headers["date"], at(67))
    }))

  it.effect("is the time of receipt if the origin sent none (RFC 9110 §6.6.1)", () =>
    Effect.gen(function*() {
      const { ask, at, origin } = yield* start()
      origin.handlers.set("/a", (_, response) => {
        response.removeHeader("date")
        response.sendDate = false
        response.writeHead(200, { ...maxAge(60), "etag": "\"v1\"", "content-length": "3" }).end("abc")
      })
      assert.strictEqual((yield* ask("/a")).headers["date"], at(0))
      yield* TestClock.adjust("7 seconds")
      const { headers } = yield* ask("/a")
      assert.strictEqual(headers["date"], at(0))
      assert.strictEqual(headers["age"], "7")
    }))
})
