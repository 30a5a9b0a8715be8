import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { TestClock } from "effect/testing"
import { story } from "../support/cacheStatus.ts"
import { bytes, maxAge, otherBytes, type Site, start } from "./Site.ts"
import { CHUNK_BYTES } from "./TestProxy.ts"

type Fields = Record<string, string>

/** Request fields, which may have dates. */
type FieldsOf = (at: Site["at"]) => Fields

const fields = (headers: Fields): FieldsOf => () => headers

const NO_BODY = ["content-length", "content-type", "content-range", "transfer-encoding", "last-modified"]

describe("If-None-Match and If-Modified-Since", () => {
  const cases: ReadonlyArray<readonly [string, FieldsOf, 200 | 304]> = [
    ["the ETag (§13.1.2)", fields({ "if-none-match": "\"v1\"" }), 304],
    ["the ETag as a weak one (§13.1.2)", fields({ "if-none-match": "W/\"v1\"" }), 304],
    ["a list with the ETag (§13.1.2)", fields({ "if-none-match": "\"v0\" ,, \"a,b\",\"v1\"" }), 304],
    ["any (§13.1.2)", fields({ "if-none-match": "*" }), 304],
    ["another ETag (§13.1.2)", fields({ "if-none-match": "\"v0\"" }), 200],
    ["an invalid ETag (§13.1.2)", fields({ "if-none-match": "v1" }), 200],
    ["the date (§13.1.3)", (at) => ({ "if-modified-since": at(-1000) }), 304],
    ["a later date (§13.1.3)", (at) => ({ "if-modified-since": at(-999) }), 304],
    ["an earlier date (§13.1.3)", (at) => ({ "if-modified-since": at(-1001) }), 200],
    ["an invalid date (§13.1.3)", fields({ "if-modified-since": "yesterday" }), 200],
    [
      "another ETag before the date (§13.2.2)",
      (at) => ({ "if-none-match": "\"v0\"", "if-modified-since": at(0) }),
      200
    ],
    ["the ETag before an earlier date (§13.2.2)", (at) => ({
      "if-none-match": "\"v1\"",
      "if-modified-since": at(-2000)
    }), 304],
    ["the ETag before Range (§13.2.2)", fields({ "if-none-match": "\"v1\"", "range": "bytes=0-9" }), 304]
  ]

  it.effect.each(cases)("%s", ([, fieldsOf, status]) =>
    Effect.gen(function*() {
      const { ask, at, file } = yield* start()
      file("/a", { headers: { ...maxAge(60), "vary": "Accept-Encoding", "content-location": "/b", "x-own": "1" } })
      // Cold, from the cache, and without a body.
      for (const method of ["GET", "GET", "HEAD"]) {
        const answer = yield* ask("/a", { method, headers: fieldsOf(at) })
        assert.strictEqual(answer.status, status)
        assert.strictEqual(answer.headers["etag"], "\"v1\"")
        // §15.4.5
        assert.strictEqual(answer.headers["cache-control"], "max-age=60")
        assert.strictEqual(answer.headers["content-location"], "/b")
        assert.strictEqual(answer.headers["vary"], "Accept-Encoding")
        assert.strictEqual(answer.headers["date"], at(0))
        assert.strictEqual(answer.headers["x-own"], "1")
        if (status === 304) {
          assert.strictEqual(answer.body.length, 0)
          for (const name of NO_BODY) assert.notProperty(answer.headers, name)
        } else if (method === "GET") assert.isTrue(answer.body.equals(bytes))
      }
    }))

  it.effect("are evaluated before a Range that lies outside the file (§13.2.2)", () =>
    Effect.gen(function*() {
      const { ask, file } = yield* start()
      file("/a")
      for (let i = 0; i < 2; i++) {
        const { status } = yield* ask("/a", { headers: { "if-none-match": "\"v1\"", "range": "bytes=9999999-" } })
        assert.strictEqual(status, 304)
        yield* ask("/a")
      }
    }))

  it.effect("a 304 has Last-Modified if there is no ETag (§15.4.5)", () =>
    Effect.gen(function*() {
      const { ask, at, file } = yield* start()
      file("/a", { etag: undefined! })
      for (let i = 0; i < 2; i++) {
        const { headers, status } = yield* ask("/a", { headers: { "if-modified-since": at(-1000) } })
        assert.strictEqual(status, 304)
        assert.strictEqual(headers["last-modified"], at(-1000))
      }
    }))

  it.effect("If-Modified-Since is compared with Date if there is no Last-Modified (RFC 9111 §4.3.2)", () =>
    Effect.gen(function*() {
      const { ask, at, file } = yield* start()
      file("/a", { lastModified: undefined! })
      yield* ask("/a")
      assert.strictEqual((yield* ask("/a", { headers: { "if-modified-since": at(0) } })).status, 304)
      assert.strictEqual((yield* ask("/a", { headers: { "if-modified-since": at(-1) } })).status, 200)
    }))

  it.effect("a condition is not sent to the origin when the cache can evaluate it (RFC 9111 §4.3.2)", () =>
    Effect.gen(function*() {
      const { ask, at, file, seen } = yield* start()
      file("/a")
      const headers = {
        "if-none-match": "\"v0\"",
        "if-modified-since": at(0),
        "if-range": "\"v0\"",
        "range": "bytes=0-9"
      }
      yield* ask("/a", { headers })
      for (const name of ["if-none-match", "if-modified-since"]) {
        assert.notProperty(seen("/a")[0]!.headers, name)
      }
    }))

  it.effect("If-Range is sent with the range of a file that is not stored (§13.1.5)", () =>
    Effect.gen(function*() {
      const { ask, file, seen } = yield* start()
      for (const [etag, status] of [["\"v1\"", 206], ["\"v0\"", 200]] as const) {
        file(`/${status}`)
        const answer = yield* ask(`/${status}`, { headers: { "if-range": etag, "range": "bytes=5-9" } })
        assert.strictEqual(answer.status, status)
        assert.isTrue(answer.body.equals(status === 206 ? bytes.subarray(5, 10) : bytes))
        assert.deepStrictEqual(seen(`/${status}`).map(({ headers }) => headers["if-range"]), [etag])
      }
    }))

  it.effect("a stale file is revalidated before a viewer's condition is evaluated (RFC 9111 §4.3.2)", () =>
    Effect.gen(function*() {
      const { ask, file } = yield* start()
      file("/a")
      yield* ask("/a")
      yield* TestClock.adjust("61 seconds")
      const same = yield* ask("/a", { headers: { "if-none-match": "\"v1\"" } })
      assert.strictEqual(same.status, 304)
      yield* TestClock.adjust("61 seconds")
      file("/a", { bytes: otherBytes, etag: "\"v2\"" })
      const changed = yield* ask("/a", { headers: { "if-none-match": "\"v1\"" } })
      assert.strictEqual(changed.status, 200)
      assert.strictEqual(changed.headers["etag"], "\"v2\"")
    }))

  it.effect("a condition is ignored for statuses other than 200, from the origin and from the cache (§13.2.1)", () =>
    Effect.gen(function*() {
      const { answer, ask, seen } = yield* start()
      answer("/a", () => ({ status: 404, headers: { ...maxAge(60), "etag": "\"v1\"" }, body: "gone" }))
      for (const headers of [{ "if-none-match": "\"v1\"" }, { "if-none-match": "*" }, { "if-match": "\"v0\"" }]) {
        for (let i = 0; i < 2; i++) {
          const { body, status } = yield* ask("/a", { headers })
          assert.strictEqual(status, 404)
          assert.strictEqual(body.toString(), "gone")
        }
      }
      assert.strictEqual(seen("/a").length, 1)
    }))

  it.effect("conditions are sent to the origin for uncacheable files (§13.1)", () =>
    Effect.gen(function*() {
      const { ask, file, seen } = yield* start()
      file("/a", { headers: { "cache-control": "no-store" } })
      yield* ask("/a")
      const { body, status } = yield* ask("/a", { headers: { "if-none-match": "\"v1\"" } })
      assert.strictEqual(status, 304)
      assert.strictEqual(body.length, 0)
      assert.strictEqual(seen("/a").at(-1)!.headers["if-none-match"], "\"v1\"")
    }))

  it.effect("a 304 from the cache is a hit even if the bytes are not cached (RFC 9211 §2.1)", () =>
    Effect.gen(function*() {
      const { ask, file, seen } = yield* start()
      file("/a")
      yield* ask("/a", { headers: { range: `bytes=${3 * CHUNK_BYTES}-` } })
      const { headers, status } = yield* ask("/a", { headers: { "if-none-match": "\"v1\"" } })
      assert.strictEqual(status, 304)
      assert.strictEqual(story(headers), "spillway; hit")
      assert.strictEqual(seen("/a").length, 1)
    }))
})

describe("If-Match and If-Unmodified-Since", () => {
  const cases: ReadonlyArray<readonly [string, FieldsOf, 200 | 206 | 304 | 412]> = [
    ["the ETag (§13.1.1)", fields({ "if-match": "\"v0\", \"v1\"" }), 200],
    ["any (§13.1.1)", fields({ "if-match": "*" }), 200],
    ["another ETag (§13.1.1)", fields({ "if-match": "\"v0\"" }), 412],
    ["the ETag as a weak one (§13.1.1)", fields({ "if-match": "W/\"v1\"" }), 412],
    ["the date (§13.1.4)", (at) => ({ "if-unmodified-since": at(-1000) }), 200],
    ["an earlier date (§13.1.4)", (at) => ({ "if-unmodified-since": at(-1001) }), 412],
    ["an invalid date (§13.1.4)", fields({ "if-unmodified-since": "yesterday" }), 200],
    ["the ETag before an earlier date (§13.2.2)", (at) => ({
      "if-match": "\"v1\"",
      "if-unmodified-since": at(-1001)
    }), 200],
    ["before If-None-Match (§13.2.2)", fields({ "if-match": "\"v0\"", "if-none-match": "\"v1\"" }), 412],
    ["and then If-None-Match (§13.2.2)", fields({ "if-match": "\"v1\"", "if-none-match": "\"v1\"" }), 304],
    ["before Range (§13.2.2)", fields({ "if-match": "\"v0\"", "range": "bytes=0-9" }), 412],
    ["and then Range (§13.2.2)", fields({ "if-match": "\"v1\"", "range": "bytes=0-9" }), 206]
  ]

  it.effect.each(cases)("%s", ([, fieldsOf, status]) =>
    Effect.gen(function*() {
      const { ask, at, file } = yield* start()
      file("/a")
      for (const method of status === 206 ? ["GET", "GET"] : ["GET", "GET", "HEAD"]) {
        const answer = yield* ask("/a", { method, headers: fieldsOf(at) })
        assert.strictEqual(answer.status, status)
        if (status === 412) assert.strictEqual(answer.body.length, 0)
      }
    }))

  /** How much of the file is cached when it changes. */
  const extents: ReadonlyArray<readonly [string, Fields]> = [["the whole file", {}], ["a part", { range: "bytes=0-9" }]]

  it.effect.each(extents)(
    "is not evaluated against a fresh but outdated copy of %s (§13.1.1)",
    ([, headers]) =>
      Effect.gen(function*() {
        const { ask, file } = yield* start()
        file("/a")
        yield* ask("/a", { headers })
        file("/a", { bytes: otherBytes, etag: "\"v2\"" })
        const { body, status } = yield* ask("/a", { headers: { "if-match": "\"v2\"" } })
        assert.strictEqual(status, 200)
        assert.isTrue(body.equals(otherBytes))
      })
  )

  it.effect("fails on a fresh copy only after the origin has confirmed it (§13.1.1)", () =>
    Effect.gen(function*() {
      const { ask, file, seen } = yield* start()
      file("/a")
      yield* ask("/a")
      const { headers, status } = yield* ask("/a", { headers: { "if-match": "\"v0\"" } })
      assert.strictEqual(status, 412)
      assert.strictEqual(story(headers), "spillway; fwd=request; fwd-status=304")
      assert.strictEqual(seen("/a").length, 2)
    }))
})

describe("If-Range", () => {
  const cases: ReadonlyArray<readonly [string, FieldsOf, 200 | 206]> = [
    ["the ETag (§13.1.5)", fields({ "if-range": "\"v1\"" }), 206],
    ["another ETag (§13.1.5)", fields({ "if-range": "\"v0\"" }), 200],
    ["the ETag as a weak one (§13.1.5)", fields({ "if-range": "W/\"v1\"" }), 200],
    ["a list (§13.1.5)", fields({ "if-range": "\"v1\", \"v2\"" }), 200],
    ["the date (§13.1.5)", (at) => ({ "if-range": at(-1000) }), 206],
    ["a later date (§13.1.5)", (at) => ({ "if-range": at(-999) }), 200],
    ["an earlier date (§13.1.5)", (at) => ({ "if-range": at(-1001) }), 200],
    ["neither an ETag nor a date (§13.1.5)", fields({ "if-range": "v1" }), 200],
    ["no If-Range (§13.1.5)", fields({}), 206]
  ]

  it.effect.each(cases)("%s", ([, fieldsOf, status]) =>
    Effect.gen(function*() {
      const { ask, at, file } = yield* start()
      file("/a")
      for (let i = 0; i < 2; i++) {
        for (const range of ["bytes=100-199", "bytes=100-199, 0-9", "bytes=9999999-"]) {
          const answer = yield* ask("/a", { headers: { range, ...fieldsOf(at) } })
          const isOutside = range === "bytes=9999999-"
          assert.strictEqual(answer.status, status === 206 && isOutside ? 416 : status)
          if (status === 200) assert.isTrue(answer.body.equals(bytes))
          if (range === "bytes=100-199" && status === 206) assert.isTrue(answer.body.equals(bytes.subarray(100, 200)))
        }
      }
    }))

  it.effect("a date is not a strong validator if the file had just changed (§13.1.5)", () =>
    Effect.gen(function*() {
      const { ask, at, file } = yield* start()
      file("/a", { lastModified: at(0) })
      yield* ask("/a")
      const answer = yield* ask("/a", { headers: { "range": "bytes=100-199", "if-range": at(0) } })
      assert.strictEqual(answer.status, 200)
    }))

  it.effect("a weak ETag of the origin is not a strong validator (§13.1.5)", () =>
    Effect.gen(function*() {
      const { ask, file } = yield* start()
      file("/a", { etag: "W/\"v1\"" })
      yield* ask("/a")
      const answer = yield* ask("/a", { headers: { "range": "bytes=100-199", "if-range": "W/\"v1\"" } })
      assert.strictEqual(answer.status, 200)
    }))

  it.effect("is ignored without Range (§13.1.5)", () =>
    Effect.gen(function*() {
      const { ask, file } = yield* start()
      file("/a")
      for (const etag of ["\"v0\"", "\"v1\""]) {
        assert.isTrue((yield* ask("/a", { headers: { "if-range": etag } })).body.equals(bytes))
      }
    }))

  it.effect("is evaluated before a Range that lies outside, from the origin and from the cache (§13.1.5)", () =>
    Effect.gen(function*() {
      const { ask, file } = yield* start()
      file("/a")
      for (let i = 0; i < 2; i++) {
        const answer = yield* ask("/a", { headers: { "range": "bytes=9999999-", "if-range": "\"v0\"" } })
        assert.strictEqual(answer.status, 200)
        assert.isTrue(answer.body.equals(bytes))
      }
    }))
})
