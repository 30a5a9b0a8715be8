import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { TestClock } from "effect/testing"
import { story } from "../support/cacheStatus.ts"
import { bytes, maxAge, otherBytes, SIZE, start, withTime } from "./Site.ts"
import { CHUNK_BYTES } from "./TestProxy.ts"

describe("validation", () => {
  it.effect("sends the ETag, and a 304 makes the stored file fresh again (§4.3.1)", () =>
    Effect.gen(function*() {
      const { ask, file, origin, seen } = yield* start()
      file("/a")
      yield* ask("/a")
      yield* TestClock.adjust("61 seconds")
      const again = yield* ask("/a")
      assert.strictEqual(again.status, 200)
      assert.isTrue(again.body.equals(bytes))
      assert.strictEqual(story(again.headers), "spillway; fwd=stale; fwd-status=304")
      const [, second] = seen("/a")
      assert.strictEqual(second!.headers["if-none-match"], "\"v1\"")
      assert.strictEqual(origin.bodyBytes(), SIZE)
    }))

  it.effect("sends Last-Modified if there is no strong ETag (§4.3.1)", () =>
    Effect.gen(function*() {
      const { ask, at, file, origin, seen } = yield* start()
      for (const [path, etag] of [["/none", undefined!], ["/weak", "W/\"v1\""]] as const) {
        file(path, { etag })
        yield* ask(path)
        yield* TestClock.adjust("61 seconds")
        yield* ask(path)
        assert.strictEqual(seen(path)[1]!.headers["if-modified-since"], at(-1000))
        assert.strictEqual(seen(path)[1]!.headers["if-none-match"], etag)
      }
      assert.strictEqual(origin.bodyBytes(), 2 * SIZE)
    }))

  it.effect("sends a weak ETag too, because some origins look at nothing else (§4.3.1)", () =>
    Effect.gen(function*() {
      const { answer, ask, at } = yield* start()
      const headers = { ...maxAge(0), etag: "W/\"v1\"", "last-modified": at(-1000) }
      let confirmed = 0
      answer("/a", (request) => {
        const isConfirmed = request.headers["if-none-match"] === "W/\"v1\""
        confirmed += Number(isConfirmed)
        return isConfirmed ? { status: 304 } : { headers, body: bytes }
      })
      for (let i = 0; i < 3; i++) assert.isTrue((yield* ask("/a")).body.equals(bytes))
      assert.strictEqual(confirmed, 2)
    }))

  it.effect("one 304 refreshes every chunk of a file (§4.3.4)", () =>
    Effect.gen(function*() {
      const { ask, file, seen } = yield* start()
      file("/a")
      yield* ask("/a")
      yield* TestClock.adjust("61 seconds")
      const range = `bytes=${2 * CHUNK_BYTES}-${2 * CHUNK_BYTES + 9}`
      assert.strictEqual((yield* ask("/a", { headers: { range } })).status, 206)
      assert.strictEqual(seen("/a").length, 2)
      for (let start = 0; start < SIZE; start += CHUNK_BYTES) {
        const answer = yield* ask("/a", { headers: { range: `bytes=${start}-${start + 99}` } })
        assert.isTrue(answer.body.equals(bytes.subarray(start, start + 100)))
        assert.strictEqual(story(answer.headers), "spillway; hit")
      }
      assert.strictEqual(story((yield* ask("/a")).headers), "spillway; hit")
      assert.strictEqual(seen("/a").length, 2)
    }))

  it.effect("many viewers of a stale file cost one request (§4.3.4)", () =>
    Effect.gen(function*() {
      const { ask, file, seen } = yield* start()
      file("/a")
      yield* ask("/a")
      yield* TestClock.adjust("61 seconds")
      const answers = yield* Effect.all(Array.from({ length: 8 }, () => ask("/a")), { concurrency: "unbounded" })
      for (const { body } of answers) assert.isTrue(body.equals(bytes))
      assert.strictEqual(seen("/a").length, 2)
    }))

  it.effect("a 304 updates the stored fields, except those about the bytes (§3.2)", () =>
    Effect.gen(function*() {
      const { ask, answer, at, file, seen } = yield* start()
      file("/a", { headers: { ...maxAge(60), "x-old": "kept", "x-own": "1", "content-language": "en" } })
      yield* ask("/a")
      yield* TestClock.adjust("61 seconds")
      answer("/a", () => ({
        status: 304,
        headers: {
          ...maxAge(600),
          "x-own": "2",
          "x-hop": "1",
          "connection": "x-hop",
          "etag": "\"v1\"",
          "content-type": "text/plain",
          "content-encoding": "gzip",
          "content-range": "bytes 0-9/10",
          "set-cookie": "session=1"
        }
      }))
      yield* ask("/a")
      yield* TestClock.adjust("599 seconds")
      const { body, headers } = yield* ask("/a")
      assert.strictEqual(story(headers), "spillway; hit")
      assert.isTrue(body.equals(bytes))
      assert.strictEqual(headers["cache-control"], "max-age=600")
      assert.strictEqual(headers["x-own"], "2")
      assert.strictEqual(headers["x-old"], "kept")
      assert.strictEqual(headers["content-language"], "en")
      assert.strictEqual(headers["date"], at(61))
      assert.strictEqual(headers["age"], "599")
      assert.strictEqual(headers["content-type"], "video/mp4")
      assert.strictEqual(headers["content-length"], String(SIZE))
      for (const name of ["x-hop", "content-encoding", "content-range", "set-cookie"]) assert.notProperty(headers, name)
      assert.strictEqual(seen("/a").length, 2)
    }))

  it.effect.each(["GET", "HEAD"])(
    "a 304 with another ETag is ignored: %s (§4.3.4)",
    (method) =>
      Effect.gen(function*() {
        const { ask, answer, file, seen } = yield* start()
        file("/a")
        yield* ask("/a")
        yield* TestClock.adjust("61 seconds")
        answer("/a", ({ headers }) =>
          "if-none-match" in headers
            ? { status: 304, headers: { ...maxAge(60), "etag": "\"v2\"" } }
            : { headers: { ...maxAge(60), "etag": "\"v2\"" }, body: otherBytes })
        const answered = yield* ask("/a", { method })
        assert.strictEqual(answered.status, 200)
        assert.strictEqual(answered.headers["etag"], "\"v2\"")
        assert.strictEqual(seen("/a").length, 3)
        assert.isTrue((yield* ask("/a")).body.equals(otherBytes))
      })
  )

  it.effect("a 304 with private or no-store ends the use of the stored file (§3)", () =>
    Effect.gen(function*() {
      const { ask, answer, file } = yield* start()
      for (const [detail, directive] of [["PRIVATE", "private"], ["NO_STORE", "no-store"]] as const) {
        const path = `/${directive}`
        file(path)
        yield* ask(path)
        yield* TestClock.adjust("61 seconds")
        const headers = { "etag": "\"v1\"", ...maxAge(60, directive) }
        answer(path, (request) =>
          "if-none-match" in request.headers
            ? { status: 304, headers }
            : { headers, body: `for ${String(request.headers["cookie"])}` })
        for (const cookie of ["a", "b"]) {
          const { body, headers } = yield* ask(path, { headers: { cookie } })
          assert.strictEqual(body.toString(), `for ${cookie}`)
          assert.strictEqual(story(headers), `spillway; fwd=bypass; detail=${detail}`)
        }
      }
    }))

  it.effect("a changed file replaces the stored one, and the two are never mixed (§4.3.3)", () =>
    Effect.gen(function*() {
      const { ask, file, seen } = yield* start()
      file("/a")
      yield* ask("/a")
      yield* TestClock.adjust("61 seconds")
      file("/a", { bytes: otherBytes, etag: "\"v2\"" })
      const range = `bytes=${CHUNK_BYTES}-${CHUNK_BYTES + 9}`
      const part = yield* ask("/a", { headers: { range } })
      assert.isTrue(part.body.equals(otherBytes.subarray(CHUNK_BYTES, CHUNK_BYTES + 10)))
      assert.strictEqual(story(part.headers), "spillway; fwd=stale; stored")
      assert.isTrue((yield* ask("/a")).body.equals(otherBytes))
      assert.strictEqual(story((yield* ask("/a")).headers), "spillway; hit")
      assert.isAtMost(seen("/a").length, 4)
      const old = yield* ask("/a", { headers: { range, "if-range": "\"v1\"" } })
      assert.strictEqual(old.status, 200)
      assert.isTrue(old.body.equals(otherBytes))
    }))

  it.effect("an uncacheable answer goes to its viewer and ends the use of the stored file (§4.3.3)", () =>
    Effect.gen(function*() {
      const { ask, file, origin } = yield* start()
      file("/a")
      yield* ask("/a")
      yield* TestClock.adjust("61 seconds")
      file("/a", { bytes: otherBytes, etag: "\"v2\"", headers: { "cache-control": "private" } })
      for (let i = 0; i < 2; i++) {
        const { body, headers } = yield* ask("/a")
        assert.isTrue(body.equals(otherBytes))
        assert.strictEqual(story(headers), "spillway; fwd=bypass; detail=PRIVATE")
      }
      yield* TestClock.adjust("2 minutes")
      yield* origin.close
      assert.strictEqual((yield* withTime(ask("/a"))).status, 502)
    }))

  it.effect("an answer to HEAD with the same ETag refreshes the file (§4.3.5)", () =>
    Effect.gen(function*() {
      const { ask, answer, file, seen } = yield* start()
      file("/a", { headers: { ...maxAge(60), "x-own": "1" } })
      yield* ask("/a")
      yield* TestClock.adjust("61 seconds")
      answer("/a", () => ({ headers: { ...maxAge(60), "etag": "\"v1\"", "x-own": "2" }, body: bytes }))
      yield* ask("/a", { method: "HEAD" })
      const { body, headers } = yield* ask("/a")
      assert.strictEqual(story(headers), "spillway; hit")
      assert.strictEqual(headers["x-own"], "2")
      assert.isTrue(body.equals(bytes))
      assert.deepStrictEqual(seen("/a").map(({ method }) => method), ["GET", "HEAD"])
    }))

  const lies = [
    ["the same ETag", { "etag": "\"v1\"" }, ""],
    ["another ETag", { "etag": "\"v2\"" }, ""],
    ["the date alone", { "last-modified": "Tue, 01 Jan 2019 00:00:00 GMT" }, ""],
    ["a shorter file", { "etag": "\"v1\"" }, "short"]
  ] as const

  it.effect.each(lies)(
    "no GET is answered from a HEAD with another length and %s (§9.3.2)",
    ([, fields, body]) =>
      Effect.gen(function*() {
        const { answer, ask } = yield* start()
        answer("/a", ({ method }) =>
          method === "HEAD"
            ? { headers: { ...maxAge(600), ...fields }, body }
            : { headers: { ...maxAge(600), "etag": "\"v1\"" }, body: bytes })
        const whole = Effect.map(ask("/a"), ({ body, status }) => status === 200 && body.equals(bytes))
        const head = ask("/a", { method: "HEAD" })
        assert.strictEqual((yield* head).headers["content-length"], String(body.length))
        assert.isTrue(yield* whole)
        // The same where it is cached, and the HEAD wants no stored answer.
        yield* ask("/a", { method: "HEAD", headers: { "cache-control": "no-cache" } })
        assert.isTrue(yield* whole)
        yield* TestClock.adjust("601 seconds")
        yield* head
        assert.isTrue(yield* whole)
        const part = yield* ask("/a", { headers: { range: "bytes=100-199" } })
        assert.isTrue(part.body.equals(bytes.subarray(100, 200)))
      })
  )

  it.effect("the size of a HEAD is not used to refuse ranges (§9.3.2)", () =>
    Effect.gen(function*() {
      const { answer, ask } = yield* start()
      answer("/a", ({ headers: { range }, method }) => {
        const fields = { ...maxAge(600), "etag": "\"v1\"" }
        if (method === "HEAD") return { headers: fields }
        const start = Number(/^bytes=(\d+)-/.exec(range ?? "bytes=0-")![1])
        if (start >= bytes.length) return { status: 416, headers: { "content-range": `bytes */${bytes.length}` } }
        return { headers: fields, body: bytes }
      })
      const tooMany = Array.from({ length: 40 }, (_, i) => `${i * 1000}-${i * 1000}`).join(",")
      const refused = yield* ask("/a", { headers: { range: `bytes=${tooMany}` } })
      assert.strictEqual(refused.status, 416)
      assert.strictEqual(refused.headers["content-range"], `bytes */${bytes.length}`)
      const { body } = yield* ask("/a", { headers: { range: `bytes=${bytes.length}-,5-9` } })
      assert.isTrue(body.equals(bytes.subarray(5, 10)))
    }))

  const changes = [["ETag", "\"v2\"", otherBytes], ["length", "\"v1\"", otherBytes.subarray(1)]] as const

  it.effect.each(changes)(
    "an answer to HEAD with another %s ends the use of the file (§4.3.5)",
    ([, etag, body]) =>
      Effect.gen(function*() {
        const { ask, answer, file, seen } = yield* start()
        file("/a")
        yield* ask("/a")
        yield* TestClock.adjust("61 seconds")
        answer("/a", () => ({ headers: { ...maxAge(60), etag }, body }))
        yield* ask("/a", { method: "HEAD" })
        const answered = yield* ask("/a")
        assert.strictEqual(answered.headers["etag"], etag)
        assert.isTrue(answered.body.equals(body))
        assert.deepStrictEqual(seen("/a").map(({ method }) => method), ["GET", "HEAD", "GET"])
      })
  )
})
