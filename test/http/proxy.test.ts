import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Fiber, Latch } from "effect"
import { TestClock } from "effect/testing"
import { story } from "../support/cacheStatus.ts"
import { type OriginFile, randomBytes } from "../support/TestOrigin.ts"
import { openRaw } from "./RawConnection.ts"
import { type Answer, type Ask, CHUNK_BYTES, makeTestProxy, type TestProxy } from "./TestProxy.ts"

const MODIFIED = "Tue, 01 Jan 2019 12:00:00 GMT"
const EARLIER = "Mon, 31 Dec 2018 12:00:00 GMT"
const SIZE = 5 * CHUNK_BYTES + 1234
const bytes = randomBytes(SIZE)

const file = (options: Partial<OriginFile> = {}): OriginFile => ({
  bytes,
  etag: "\"v1\"",
  lastModified: MODIFIED,
  contentType: "video/mp4",
  headers: { "cache-control": "max-age=60" },
  ...options
})

/** What needs the origin's word each time. */
const STALE = { "cache-control": "max-age=0" }

/** A proxy whose origin has `/a`. */
const start = Effect.fnUntraced(function*(options: Partial<OriginFile> = {}) {
  // The dates of the origin are real ones.
  yield* TestClock.setTime(yield* TestClock.withLive(Clock.currentTimeMillis))
  const proxy = yield* makeTestProxy()
  proxy.origin.files.set("/a", file(options))
  return proxy
})

const assertBytes = (answer: Answer, expected: Buffer): void => {
  assert.strictEqual(answer.body.length, expected.length)
  assert.isTrue(answer.body.equals(expected))
  assert.strictEqual(answer.headers["content-length"], String(expected.length))
}

/** Lets time pass until `effect` has ended: what is tried again waits in between. */
const patiently = Effect.fnUntraced(function*<A, E>(effect: Effect.Effect<A, E>) {
  const fiber = yield* Effect.forkChild(effect)
  const pass = Effect.andThen(TestClock.adjust("1 second"), TestClock.withLive(Effect.sleep("5 millis")))
  yield* Effect.forkChild(Effect.forever(pass))
  return yield* Fiber.join(fiber)
}, Effect.scoped)

const methodsSeen = (proxy: TestProxy) => proxy.origin.requests.map(({ method }) => method)

/** Fields that differ from answer to answer. */
const stable = ({ headers }: Answer): Record<string, unknown> => {
  const { age: _, "cache-status": _1, connection: _2, date: _3, "keep-alive": _4, ...rest } = headers
  return rest
}

/** Holds answers of the origin back until it is opened. */
const makeGate = () => {
  let waiting: Array<() => void> | undefined = []
  return {
    pass: (send: () => void): void => {
      if (waiting === undefined) send()
      else waiting.push(send)
    },
    open: (): void => {
      const all = waiting ?? []
      waiting = undefined
      for (const send of all) send()
    }
  }
}

describe("a whole file", () => {
  it.effect("arrives with its fields, and the second time without the origin", () =>
    Effect.gen(function*() {
      const { ask, origin } = yield* start({
        headers: {
          "cache-control": "max-age=60",
          "content-disposition": "inline",
          "access-control-allow-origin": "*",
          "x-own": "1",
          "link": "</b>; rel=next"
        }
      })
      const first = yield* ask("/a")
      assert.strictEqual(first.status, 200)
      assertBytes(first, bytes)
      assert.strictEqual(story(first.headers), "spillway; fwd=uri-miss; stored")
      const second = yield* ask("/a")
      assert.strictEqual(second.status, 200)
      assertBytes(second, bytes)
      assert.strictEqual(story(second.headers), "spillway; hit")
      assert.strictEqual(origin.requests.length, 1)
      for (const { headers } of [first, second]) {
        assert.strictEqual(headers["accept-ranges"], "bytes")
        assert.strictEqual(headers["etag"], "\"v1\"")
        assert.strictEqual(headers["last-modified"], MODIFIED)
        assert.strictEqual(headers["content-type"], "video/mp4")
        assert.strictEqual(headers["cache-control"], "max-age=60")
        assert.strictEqual(headers["content-disposition"], "inline")
        assert.strictEqual(headers["access-control-allow-origin"], "*")
        assert.strictEqual(headers["x-own"], "1")
        assert.strictEqual(headers["link"], "</b>; rel=next")
        assert.isUndefined(headers["content-range"])
        assert.isUndefined(headers["transfer-encoding"])
      }
    }))

  it.effect("arrives without the fields of the origin's connection", () =>
    Effect.gen(function*() {
      const { ask } = yield* start({
        headers: {
          "cache-control": "max-age=60",
          "connection": "close, x-hop",
          "x-hop": "1",
          "proxy-authenticate": "Basic",
          "upgrade": "h2c",
          "alt-svc": "h3=\":443\""
        }
      })
      for (let i = 0; i < 2; i++) {
        const { headers } = yield* ask("/a")
        for (const name of ["x-hop", "proxy-authenticate", "upgrade", "alt-svc"]) assert.notProperty(headers, name)
      }
    }))

  it.effect("has no Content-Type where the origin gave none", () =>
    Effect.gen(function*() {
      const { ask, origin } = yield* makeTestProxy()
      origin.handlers.set("/untyped", (_, response) => {
        response.writeHead(200, { "content-length": "3", "etag": "\"v1\"", "cache-control": "max-age=60" }).end("abc")
      })
      for (let i = 0; i < 2; i++) {
        const answer = yield* ask("/untyped")
        assert.notProperty(answer.headers, "content-type")
        assert.strictEqual(answer.body.toString(), "abc")
      }
      const head = yield* ask("/untyped", { method: "HEAD" })
      assert.notProperty(head.headers, "content-type")
      origin.handlers.set("/refused", (_, response) => {
        response.writeHead(403, { "content-length": "2" }).end("no")
      })
      const refused = yield* ask("/refused")
      assert.notProperty(refused.headers, "content-type")
      assert.strictEqual(refused.body.toString(), "no")
    }))

  it.effect("may be empty", () =>
    Effect.gen(function*() {
      const { ask } = yield* start({ bytes: Buffer.alloc(0) })
      for (let i = 0; i < 2; i++) {
        const answer = yield* ask("/a")
        assert.strictEqual(answer.status, 200)
        assertBytes(answer, Buffer.alloc(0))
        assert.strictEqual(answer.headers["etag"], "\"v1\"")
      }
      const head = yield* ask("/a", { method: "HEAD" })
      assert.strictEqual(head.headers["content-length"], "0")
      for (const range of ["bytes=0-", "bytes=0-0", "bytes=-1", "bytes=5-", "bytes=0-0, -1"]) {
        const answer = yield* ask("/a", { headers: { range } })
        assert.strictEqual(answer.status, 200, range)
        assert.notProperty(answer.headers, "content-range")
        assertBytes(answer, Buffer.alloc(0))
      }
    }))

  it.effect("may be empty, and its origin may ignore ranges of it", () =>
    Effect.gen(function*() {
      for (const range of ["bytes=0-", "bytes=-1", "bytes=0-0, 5-"]) {
        const { ask } = yield* start({ bytes: Buffer.alloc(0), ranges: false })
        for (let i = 0; i < 2; i++) {
          const answer = yield* ask("/a", { headers: { range } })
          assert.strictEqual(answer.status, 200, range)
          assertBytes(answer, Buffer.alloc(0))
        }
      }
    }))

  it.effect("may be empty, and asked for by a range first", () =>
    Effect.gen(function*() {
      for (const range of ["bytes=0-", "bytes=-1"]) {
        const { ask } = yield* start({ bytes: Buffer.alloc(0) })
        const answer = yield* ask("/a", { headers: { range } })
        assert.strictEqual(answer.status, 416)
        assert.strictEqual(answer.headers["content-range"], "bytes */0")
        assert.strictEqual((yield* ask("/a")).status, 200)
      }
    }))

  it.effect("is asked for without the viewer's own conditions and codings", () =>
    Effect.gen(function*() {
      const { ask, origin } = yield* start()
      yield* ask("/a", {
        headers: { "cookie": "session=1", "accept-encoding": "gzip, br", "x-own": "1", "if-none-match": "\"v0\"" }
      })
      const [seen] = origin.requests
      assert.notProperty(seen!.headers, "if-none-match")
      assert.strictEqual(seen!.headers["cookie"], "session=1")
      // The answer may depend on it, and then says so.
      assert.strictEqual(seen!.headers["x-own"], "1")
      assert.notProperty(seen!.headers, "traceparent")
      assert.strictEqual(seen!.headers["accept-encoding"], "identity")
    }))

  it.effect("is asked for by the very path and query that the viewer sent", () =>
    Effect.gen(function*() {
      const { ask, origin } = yield* makeTestProxy({ path: "/base/" })
      const targets = [
        "/a%20b/%C3%A4.mp4",
        "/a%2Fb",
        "/a?x=1&y=%2F+b&&z",
        "/a?x=a/../b",
        "/a?token=%00%ff",
        "//a//b/",
        "/a;v=1,2/~user/(x)!*",
        "/...",
        "/a..b/.c",
        "/%zz"
      ]
      for (const target of targets) {
        yield* ask(target)
        assert.strictEqual(origin.requests.at(-1)!.url, `/base${target}`)
      }
    }))
})

describe("ranges", () => {
  const cases: ReadonlyArray<readonly [string, number, number]> = [
    ["bytes=0-", 0, SIZE],
    ["bytes=0-0", 0, 1],
    ["bytes=0-99", 0, 100],
    ["bytes=100-199", 100, 200],
    [`bytes=${CHUNK_BYTES - 1}-${CHUNK_BYTES}`, CHUNK_BYTES - 1, CHUNK_BYTES + 1],
    [`bytes=${CHUNK_BYTES}-${2 * CHUNK_BYTES - 1}`, CHUNK_BYTES, 2 * CHUNK_BYTES],
    [`bytes=${CHUNK_BYTES + 7}-${4 * CHUNK_BYTES + 7}`, CHUNK_BYTES + 7, 4 * CHUNK_BYTES + 8],
    [`bytes=${2 * CHUNK_BYTES}-`, 2 * CHUNK_BYTES, SIZE],
    [`bytes=${SIZE - 1}-`, SIZE - 1, SIZE],
    [`bytes=${SIZE - 10}-${SIZE + 10}`, SIZE - 10, SIZE],
    [`bytes=5-${"9".repeat(30)}`, 5, SIZE],
    ["bytes=-1", SIZE - 1, SIZE],
    ["bytes=-2000", SIZE - 2000, SIZE],
    [`bytes=-${SIZE}`, 0, SIZE],
    [`bytes=-${SIZE + 1}`, 0, SIZE],
    [`bytes=-${"9".repeat(30)}`, 0, SIZE],
    ["Bytes= 5-9 ", 5, 10]
  ]

  const assertRange = (answer: Answer, from: number, to: number): void => {
    assert.strictEqual(answer.status, 206)
    assert.strictEqual(answer.headers["content-range"], `bytes ${from}-${to - 1}/${SIZE}`)
    assertBytes(answer, bytes.subarray(from, to))
    assert.strictEqual(answer.headers["accept-ranges"], "bytes")
    assert.strictEqual(answer.headers["etag"], "\"v1\"")
    assert.strictEqual(answer.headers["content-type"], "video/mp4")
  }

  it.effect.each(cases)(
    "%s of a file that nobody has asked for, then from the cache",
    ([range, from, to]) =>
      Effect.gen(function*() {
        const { ask } = yield* start()
        assertRange(yield* ask("/a", { headers: { range } }), from, to)
        assertRange(yield* ask("/a", { headers: { range } }), from, to)
      })
  )

  it.effect("of a cached file need no origin", () =>
    Effect.gen(function*() {
      const { ask, origin } = yield* start()
      yield* ask("/a")
      for (const [range, from, to] of cases) {
        const answer = yield* ask("/a", { headers: { range } })
        assertRange(answer, from, to)
        assert.strictEqual(story(answer.headers), "spillway; hit")
      }
      assert.strictEqual(origin.requests.length, 1)
    }))

  it.effect.each(cases)("%s where the origin has no ranges", ([range, from, to]) =>
    Effect.gen(function*() {
      const { ask } = yield* start({ ranges: false })
      assertRange(yield* ask("/a", { headers: { range } }), from, to)
      const whole = yield* ask("/a")
      assert.strictEqual(whole.status, 200)
      assertBytes(whole, bytes)
    }))

  it.effect("that lie outside are answered 416", () =>
    Effect.gen(function*() {
      for (const warm of [false, true]) {
        const { ask } = yield* start()
        if (warm) yield* ask("/a")
        for (const range of [`bytes=${SIZE}-`, `bytes=${SIZE}-${SIZE + 5}`, `bytes=${"9".repeat(30)}-`]) {
          const answer = yield* ask("/a", { headers: { range } })
          assert.strictEqual(answer.status, 416, range)
          assert.strictEqual(answer.headers["content-range"], `bytes */${SIZE}`, range)
          assert.strictEqual(answer.body.length, 0, range)
        }
        assertBytes(yield* ask("/a"), bytes)
      }
    }))

  it.effect("that lie outside do not spoil the answer of those who ask at the same time", () =>
    Effect.gen(function*() {
      const { ask, origin } = yield* start()
      const asked = yield* Latch.make()
      const gate = makeGate()
      origin.handlers.set("/b", (_, response) => {
        origin.handlers.delete("/b")
        origin.files.set("/b", file())
        asked.openUnsafe()
        gate.pass(() => {
          response.writeHead(416, { "content-range": `bytes */${SIZE}`, "content-length": "0" }).end()
        })
      })
      const outside = yield* Effect.forkChild(ask("/b", { headers: { range: `bytes=${SIZE}-` } }))
      yield* asked.await
      const whole = yield* Effect.forkChild(ask("/b"))
      // The second request has reached the proxy when one that was sent after it has been answered.
      yield* ask("/a")
      gate.open()
      assert.strictEqual((yield* Fiber.join(outside)).status, 416)
      const answer = yield* Fiber.join(whole)
      assert.strictEqual(answer.status, 200)
      assertBytes(answer, bytes)
    }))

  it.effect.each(["bytes=0-1,6-5", "bytes=9-5", "items=0-5", "bytes=a-b", "bytes=", "nonsense"])(
    "%s is ignored",
    (range) =>
      Effect.gen(function*() {
        const { ask } = yield* start()
        for (let i = 0; i < 2; i++) {
          const answer = yield* ask("/a", { headers: { range } })
          assert.strictEqual(answer.status, 200)
          assert.notProperty(answer.headers, "content-range")
          assertBytes(answer, bytes)
        }
      })
  )

  it.effect("ask the origin for what is missing only", () =>
    Effect.gen(function*() {
      const { ask, origin } = yield* start()
      yield* ask("/a", { headers: { range: `bytes=${2 * CHUNK_BYTES}-${3 * CHUNK_BYTES - 1}` } })
      const answer = yield* ask("/a")
      assert.strictEqual(answer.status, 200)
      assertBytes(answer, bytes)
      assert.match(story(answer.headers), /^spillway; fwd=miss; stored/)
      assert.isAtMost(origin.bodyBytes(), SIZE + CHUNK_BYTES)
      assert.strictEqual(story((yield* ask("/a")).headers), "spillway; hit")
    }))

  it.effect("that are cached in part are told so", () =>
    Effect.gen(function*() {
      const { ask } = yield* start()
      yield* ask("/a", { headers: { range: `bytes=0-${CHUNK_BYTES - 1}` } })
      const answer = yield* ask("/a")
      assert.strictEqual(story(answer.headers), "spillway; fwd=partial; stored")
      assertBytes(answer, bytes)
    }))
})

describe("HEAD", () => {
  it.effect("has the fields of GET and no body, cold and warm", () =>
    Effect.gen(function*() {
      const { ask, origin } = yield* start()
      const cold = yield* ask("/a", { method: "HEAD" })
      assert.deepStrictEqual(methodsSeen({ origin } as TestProxy), ["HEAD"])
      const get = yield* ask("/a")
      const warm = yield* ask("/a", { method: "HEAD" })
      assert.strictEqual(cold.status, 200)
      assert.strictEqual(cold.body.length, 0)
      assert.strictEqual(warm.body.length, 0)
      assert.strictEqual(cold.headers["content-length"], String(SIZE))
      assert.deepStrictEqual(stable(cold), stable(get))
      assert.deepStrictEqual(stable(warm), stable(get))
      assert.strictEqual(story(warm.headers), "spillway; hit")
      assert.strictEqual(origin.requests.length, 2)
    }))

  it.effect("ignores Range", () =>
    Effect.gen(function*() {
      const { ask } = yield* start()
      const answer = yield* ask("/a", { method: "HEAD", headers: { range: "bytes=0-1" } })
      assert.strictEqual(answer.status, 200)
      assert.strictEqual(answer.headers["content-length"], String(SIZE))
      assert.notProperty(answer.headers, "content-range")
    }))

  it.effect("passes the origin's refusal on without a body", () =>
    Effect.gen(function*() {
      const { ask } = yield* makeTestProxy()
      const answer = yield* ask("/missing", { method: "HEAD" })
      assert.strictEqual(answer.status, 404)
      assert.strictEqual(answer.headers["content-type"], "text/plain")
      assert.strictEqual(answer.body.length, 0)
    }))

  it.effect("of a refusal has the length of its body", () =>
    Effect.gen(function*() {
      const { ask, origin } = yield* makeTestProxy()
      origin.handlers.set("/x", (request, response) => {
        response.writeHead(403, { "content-length": "2" }).end(request.method === "HEAD" ? undefined : "no")
      })
      const answer = yield* ask("/x", { method: "HEAD" })
      assert.strictEqual(answer.status, 403)
      assert.strictEqual(answer.headers["content-length"], "2")
    }))

  it.effect("of what cannot be kept has the origin's fields", () =>
    Effect.gen(function*() {
      const { ask } = yield* start({ headers: { "cache-control": "no-store" } })
      const answer = yield* ask("/a", { method: "HEAD" })
      assert.strictEqual(answer.status, 200)
      assert.strictEqual(answer.headers["content-length"], String(SIZE))
      assert.strictEqual(answer.body.length, 0)
      assertBytes(yield* ask("/a"), bytes)
    }))

  it.effect("without a length leaves what GET brings fit for the cache", () =>
    Effect.gen(function*() {
      const { ask, origin } = yield* makeTestProxy()
      const headers = { "etag": "\"v1\"", "cache-control": "max-age=60" }
      origin.handlers.set("/script", (request, response) => {
        if (request.method === "HEAD") response.writeHead(200, { ...headers, "transfer-encoding": "chunked" }).end()
        else response.writeHead(200, { ...headers, "content-length": "3" }).end("abc")
      })
      assert.strictEqual((yield* ask("/script", { method: "HEAD" })).status, 200)
      assert.strictEqual((yield* ask("/script")).body.toString(), "abc")
      assert.strictEqual(story((yield* ask("/script")).headers), "spillway; hit")
    }))
})

describe("conditions", () => {
  const cases: ReadonlyArray<readonly [string, Record<string, string>, boolean]> = [
    ["the ETag", { "if-none-match": "\"v1\"" }, true],
    ["the ETag as a weak one", { "if-none-match": "W/\"v1\"" }, true],
    ["a list with the ETag", { "if-none-match": "\"v0\", \"v1\"" }, true],
    ["*", { "if-none-match": "*" }, true],
    ["another ETag", { "if-none-match": "\"v0\"" }, false],
    ["another ETag, but the date", { "if-none-match": "\"v0\"", "if-modified-since": MODIFIED }, false],
    ["the date", { "if-modified-since": MODIFIED }, true],
    ["an earlier date", { "if-modified-since": EARLIER }, false],
    ["no date", { "if-modified-since": "soon" }, false],
    ["the ETag and a range", { "if-none-match": "\"v1\"", "range": "bytes=0-9" }, true]
  ]

  it.effect.each(cases)("%s", ([, headers, isNotModified]) =>
    Effect.gen(function*() {
      const { ask } = yield* start()
      for (let i = 0; i < 2; i++) {
        for (const method of ["GET", "HEAD"]) {
          const answer = yield* ask("/a", { method, headers })
          assert.strictEqual(answer.status, isNotModified ? 304 : 200)
          assert.strictEqual(answer.headers["etag"], "\"v1\"")
          assert.strictEqual(answer.headers["cache-control"], "max-age=60")
          if (isNotModified) {
            assert.strictEqual(answer.body.length, 0)
            for (const name of ["content-length", "content-type", "content-range", "transfer-encoding"]) {
              assert.notProperty(answer.headers, name)
            }
          } else if (method === "GET") assertBytes(answer, bytes)
        }
      }
    }))

  const ifRange: ReadonlyArray<readonly [string, string, boolean]> = [
    ["the ETag", "\"v1\"", true],
    ["another ETag", "\"v0\"", false],
    ["the ETag as a weak one", "W/\"v1\"", false],
    ["the date", MODIFIED, true],
    ["another date", EARLIER, false]
  ]

  it.effect.each(ifRange)("If-Range with %s", ([, condition, applies]) =>
    Effect.gen(function*() {
      const { ask } = yield* start()
      for (let i = 0; i < 2; i++) {
        const answer = yield* ask("/a", { headers: { "range": "bytes=100-199", "if-range": condition } })
        assert.strictEqual(answer.status, applies ? 206 : 200)
        assertBytes(answer, applies ? bytes.subarray(100, 200) : bytes)
      }
    }))

  it.effect("If-Range that does not hold makes a range outside the file a whole file", () =>
    Effect.gen(function*() {
      for (const warm of [true, false]) {
        const { ask } = yield* start()
        if (warm) yield* ask("/a")
        const answer = yield* ask("/a", { headers: { "range": `bytes=${SIZE}-`, "if-range": "\"v0\"" } })
        assert.strictEqual(answer.status, 200, warm ? "warm" : "cold")
        assertBytes(answer, bytes)
      }
    }))

  it.effect("If-Range without Range is ignored", () =>
    Effect.gen(function*() {
      const { ask } = yield* start()
      assertBytes(yield* ask("/a", { headers: { "if-range": "\"v1\"" } }), bytes)
    }))
})

describe("freshness", () => {
  it.effect("counts the Age, and asks again when it is used up", () =>
    Effect.gen(function*() {
      const { ask, origin } = yield* start()
      assert.notProperty((yield* ask("/a")).headers, "age")
      yield* TestClock.adjust("20 seconds")
      const aged = yield* ask("/a")
      assert.strictEqual(aged.headers["age"], "20")
      assert.strictEqual(story(aged.headers), "spillway; hit")
      assert.strictEqual(origin.requests.length, 1)
      yield* TestClock.adjust("50 seconds")
      const confirmed = yield* ask("/a")
      assert.strictEqual(story(confirmed.headers), "spillway; fwd=stale; fwd-status=304")
      assert.notProperty(confirmed.headers, "age")
      assertBytes(confirmed, bytes)
      assert.strictEqual(origin.requests.length, 2)
      assert.strictEqual(origin.requests[1]!.headers["if-none-match"], "\"v1\"")
      assert.strictEqual(origin.bodyBytes(), SIZE)
      assert.strictEqual(story((yield* ask("/a")).headers), "spillway; hit")
    }))

  it.effect("starts from the Age with which the answer came", () =>
    Effect.gen(function*() {
      const { ask, origin } = yield* start({ headers: { "cache-control": "max-age=60", "age": "50" } })
      assert.strictEqual((yield* ask("/a")).headers["age"], "50")
      yield* TestClock.adjust("9 seconds")
      assert.strictEqual((yield* ask("/a")).headers["age"], "59")
      yield* TestClock.adjust("1 second")
      yield* ask("/a")
      assert.strictEqual(origin.requests.length, 2)
    }))

  it.effect("may be none", () =>
    Effect.gen(function*() {
      const { ask, origin } = yield* start({ headers: STALE })
      for (let i = 0; i < 3; i++) assertBytes(yield* ask("/a"), bytes)
      assert.strictEqual(origin.requests.length, 3)
      assert.strictEqual(origin.bodyBytes(), SIZE)
    }))

  it.effect("goes by Last-Modified where there is no ETag", () =>
    Effect.gen(function*() {
      const { origin, ask } = yield* start()
      origin.files.set("/a", { bytes, lastModified: MODIFIED, headers: STALE })
      for (let i = 0; i < 2; i++) assertBytes(yield* ask("/a"), bytes)
      assert.strictEqual(origin.requests[1]!.headers["if-modified-since"], MODIFIED)
      assert.strictEqual(origin.bodyBytes(), SIZE)
    }))

  it.effect("ends with a new file at the origin", () =>
    Effect.gen(function*() {
      const { ask, origin } = yield* start({ headers: STALE })
      yield* ask("/a")
      const next = randomBytes(3 * CHUNK_BYTES + 5, 2)
      origin.files.set("/a", file({ bytes: next, etag: "\"v2\"", headers: STALE }))
      const answer = yield* ask("/a")
      assertBytes(answer, next)
      assert.strictEqual(answer.headers["etag"], "\"v2\"")
      const range = yield* ask("/a", { headers: { "range": "bytes=5-9", "if-range": "\"v1\"" } })
      assert.strictEqual(range.status, 200)
      assertBytes(range, next)
    }))

  it.effect("does without the origin when that is down", () =>
    Effect.gen(function*() {
      const { ask, origin } = yield* start({ headers: STALE })
      yield* ask("/a")
      yield* origin.close
      const answer = yield* ask("/a")
      assertBytes(answer, bytes)
      assert.strictEqual(story(answer.headers), "spillway; hit; detail=ORIGIN_UNREACHABLE")
      const head = yield* ask("/a", { method: "HEAD" })
      assert.strictEqual(head.status, 200)
      const missing = yield* patiently(ask("/b"))
      assert.strictEqual(missing.status, 502)
      assert.strictEqual(story(missing.headers), "spillway; fwd=miss; detail=ORIGIN_UNREACHABLE")
      assert.notInclude(missing.body.toString(), origin.url)
    }))

  it.effect("is not waited for without end", () =>
    Effect.gen(function*() {
      const { ask, origin } = yield* makeTestProxy()
      const asked = yield* Latch.make()
      origin.handlers.set("/silent", () => asked.openUnsafe())
      for (const headers of [{}, { authorization: "Basic YTpi" }]) {
        yield* asked.close
        const answer = yield* Effect.forkChild(patiently(ask("/silent", { headers })))
        yield* asked.await
        const { headers: fields, status } = yield* Fiber.join(answer)
        assert.strictEqual(status, 504)
        assert.strictEqual(story(fields), "spillway; fwd=miss; detail=ORIGIN_TIMEOUT")
      }
      // It may have been waiting for something to happen, and a second request would wait for the next.
      assert.lengthOf(origin.requests.filter(({ url }) => url === "/silent"), 2)
    }))

  it.effect("is asked twice for a known file, if the first answer does not come in time", () =>
    Effect.gen(function*() {
      const { ask, origin } = yield* start({ headers: { "cache-control": "no-cache" } })
      yield* ask("/a")
      const asked = yield* Latch.make()
      const seen = () => origin.requests.filter(({ url }) => url === "/a").length
      const before = seen()
      origin.handlers.set("/a", () => asked.openUnsafe())
      const answer = yield* Effect.forkChild(patiently(ask("/a")))
      yield* asked.await
      assert.strictEqual((yield* Fiber.join(answer)).status, 504)
      assert.strictEqual(seen() - before, 2)
    }))

  it.effect("does not do without the origin where that forbade it", () =>
    Effect.gen(function*() {
      const { ask, origin } = yield* start({ headers: { "cache-control": "no-cache" } })
      yield* ask("/a")
      yield* origin.close
      assert.strictEqual((yield* patiently(ask("/a"))).status, 502)
    }))
})

describe("answers that are not the file", () => {
  const statuses: ReadonlyArray<readonly [number, Record<string, string>]> = [
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

  it.effect.each(statuses)("%i comes through as it is, every time", ([status, headers]) =>
    Effect.gen(function*() {
      const { ask, origin } = yield* makeTestProxy()
      origin.handlers.set("/x", (_, response) => {
        response.writeHead(status, {
          ...headers,
          "content-type": "text/html; charset=utf-8",
          "set-cookie": ["a=1; Path=/; HttpOnly", "b=2; Expires=Tue, 01 Jan 2030 12:00:00 GMT"],
          "connection": "x-hop",
          "x-hop": "1"
        }).end(`<p>${status}</p>`)
      })
      const check = Effect.fnUntraced(function*(options: Ask) {
        const answer = yield* ask("/x", options)
        assert.strictEqual(answer.status, status)
        if (options.method !== "HEAD") assert.strictEqual(answer.body.toString(), `<p>${status}</p>`)
        assert.strictEqual(answer.headers["content-type"], "text/html; charset=utf-8")
        for (const [name, value] of Object.entries(headers)) assert.strictEqual(answer.headers[name], value)
        assert.deepStrictEqual(answer.lines.filter(([name]) => name === "set-cookie").map(([, value]) => value), [
          "a=1; Path=/; HttpOnly",
          "b=2; Expires=Tue, 01 Jan 2030 12:00:00 GMT"
        ])
        assert.notProperty(answer.headers, "x-hop")
        assert.match(
          story(answer.headers),
          /^spillway; fwd=(?:miss; fwd-status=\d+|bypass; detail=STATUS)$/
        )
      })
      yield* check({})
      yield* check({})
      yield* check({ headers: { range: "bytes=0-1" } })
      yield* check({ method: "HEAD" })
      assert.isAtLeast(origin.requests.length, 4)
      origin.handlers.delete("/x")
      origin.files.set("/x", file())
      assertBytes(yield* ask("/x"), bytes)
    }))

  it.effect("a large one streams through", () =>
    Effect.gen(function*() {
      const { ask, origin } = yield* makeTestProxy()
      origin.handlers.set("/x", (_, response) => {
        response.writeHead(404, { "content-type": "text/html", "content-length": SIZE }).end(bytes)
      })
      const answer = yield* ask("/x")
      assert.strictEqual(answer.status, 404)
      assertBytes(answer, bytes)
    }))

  it.effect("204 comes through without a body", () =>
    Effect.gen(function*() {
      const { ask, origin } = yield* makeTestProxy()
      origin.handlers.set("/x", (_, response) => void response.writeHead(204, { "x-own": "1" }).end())
      const answer = yield* ask("/x")
      assert.strictEqual(answer.status, 204)
      assert.strictEqual(answer.headers["x-own"], "1")
      assert.strictEqual(answer.body.length, 0)
    }))

  it.effect("with cookies are nobody else's", () =>
    Effect.gen(function*() {
      const { ask, origin } = yield* start()
      const asked = yield* Latch.make()
      const gate = makeGate()
      let sessions = 0
      origin.handlers.set("/login", (_, response) => {
        const session = ++sessions
        asked.openUnsafe()
        gate.pass(() => {
          response.writeHead(403, { "set-cookie": `session=${session}`, "content-length": "2" }).end("no")
        })
      })
      const first = yield* Effect.forkChild(ask("/login"))
      yield* asked.await
      const second = yield* Effect.forkChild(ask("/login"))
      yield* ask("/a")
      gate.open()
      const cookies = [yield* Fiber.join(first), yield* Fiber.join(second)].map(({ headers }) => headers["set-cookie"])
      assert.notDeepEqual(cookies[0], cookies[1])
    }))
})

describe("what is not for a shared cache", () => {
  const cases: ReadonlyArray<readonly [string, string, Record<string, string | Array<string>>]> = [
    ["no-store", "NO_STORE", { "cache-control": "no-store" }],
    ["private", "PRIVATE", { "cache-control": "private, max-age=60" }],
    ["Vary", "VARY", { "vary": "Cookie" }],
    ["Set-Cookie", "SET_COOKIE", { "set-cookie": ["a=1; Path=/", "b=2"] }],
    ["Content-Encoding", "ENCODED", { "content-encoding": "gzip" }],
    ["no length", "NO_LENGTH", { "transfer-encoding": "chunked" }],
    ["no validator", "NO_VALIDATOR", { "etag": "W/\"v1\"" }]
  ]

  it.effect.each(cases)("%s streams through uncached", ([, detail, headers]) =>
    Effect.gen(function*() {
      const { ask, origin } = yield* makeTestProxy()
      origin.handlers.set("/x", (request, response) => {
        const head = { "etag": "\"v1\"", "content-type": "video/mp4", "x-own": "1", ...headers }
        response.writeHead(200, detail === "NO_LENGTH" ? head : { ...head, "content-length": SIZE })
        response.end(request.method === "HEAD" ? undefined : bytes)
      })
      for (let i = 0; i < 3; i++) {
        const before = origin.requests.length
        const answer = yield* ask("/x", { headers: { "cookie": `viewer=${i}` } })
        assert.strictEqual(answer.status, 200)
        assert.isTrue(answer.body.equals(bytes))
        assert.strictEqual(story(answer.headers), `spillway; fwd=bypass; detail=${detail}`)
        assert.strictEqual(answer.headers["x-own"], "1")
        assert.strictEqual(answer.headers["content-type"], "video/mp4")
        assert.strictEqual(answer.headers["content-length"], detail === "NO_LENGTH" ? undefined : String(SIZE))
        for (const [name, value] of Object.entries(headers)) {
          if (name !== "transfer-encoding") assert.deepStrictEqual(answer.headers[name], value)
        }
        assert.isAbove(origin.requests.length, before)
        assert.strictEqual(origin.requests.at(-1)!.headers["cookie"], `viewer=${i}`)
      }
    }))

  it.effect("keeps ranges and conditions between viewer and origin", () =>
    Effect.gen(function*() {
      const { ask } = yield* start({ headers: { "cache-control": "no-store" } })
      const part = yield* ask("/a", { headers: { range: "bytes=5-9" } })
      assert.strictEqual(part.status, 206)
      assert.strictEqual(part.headers["content-range"], `bytes 5-9/${SIZE}`)
      assertBytes(part, bytes.subarray(5, 10))
      const same = yield* ask("/a", { headers: { "if-none-match": "\"v1\"" } })
      assert.strictEqual(same.status, 304)
      assert.strictEqual(same.body.length, 0)
      assert.strictEqual((yield* ask("/a", { headers: { range: `bytes=${SIZE}-` } })).status, 416)
    }))

  it.effect("becomes cachable again when the origin says so", () =>
    Effect.gen(function*() {
      const { ask, origin } = yield* start({ headers: { "cache-control": "no-store" } })
      yield* ask("/a")
      origin.files.set("/a", file())
      yield* TestClock.adjust("2 minutes")
      yield* ask("/a")
      assert.strictEqual(story((yield* ask("/a")).headers), "spillway; hit")
    }))

  it.effect("is forgotten by the cache when a file becomes so", () =>
    Effect.gen(function*() {
      const { ask, origin } = yield* start({ headers: STALE })
      yield* ask("/a")
      origin.files.set(
        "/a",
        file({ bytes: randomBytes(100, 3), etag: "\"v2\"", headers: { "cache-control": "no-store" } })
      )
      for (let i = 0; i < 2; i++) {
        const answer = yield* ask("/a")
        assertBytes(answer, randomBytes(100, 3))
        assert.strictEqual(story(answer.headers), "spillway; fwd=bypass; detail=NO_STORE")
      }
    }))

  it.effect("of unknown size and in many pieces arrives whole", () =>
    Effect.gen(function*() {
      const { ask, origin } = yield* makeTestProxy()
      origin.handlers.set("/x", (_, response) => {
        response.writeHead(200, { "etag": "\"v1\"" })
        const step = (offset: number): void => {
          if (offset >= SIZE) return void response.end()
          response.write(bytes.subarray(offset, offset + 10_007), () => step(offset + 10_007))
        }
        step(0)
      })
      const answer = yield* ask("/x", { headers: { range: "bytes=5-9" } })
      assert.strictEqual(answer.status, 200)
      assert.strictEqual(answer.headers["transfer-encoding"], "chunked")
      assert.isTrue(answer.body.equals(bytes))
    }))

  it.effect("is not read on when its viewer has left", () =>
    Effect.gen(function*() {
      const { ask, origin } = yield* makeTestProxy()
      const closed = yield* Latch.make()
      const begun = yield* Latch.make()
      origin.handlers.set("/x", (_, response) => {
        response.on("close", () => closed.openUnsafe())
        response.writeHead(200, {}).write(bytes, () => begun.openUnsafe())
      })
      const viewer = yield* Effect.forkChild(ask("/x"))
      yield* begun.await
      yield* Fiber.interrupt(viewer)
      yield* closed.await
      assert.isTrue(origin.requests[0]!.aborted)
    }))

  it.live("is cut for the viewer where the origin cuts it", () =>
    Effect.gen(function*() {
      const { ask, origin, port } = yield* makeTestProxy()
      const gate = makeGate()
      origin.handlers.set("/x", (_, response) => {
        response.writeHead(200, { "content-type": "video/mp4" })
        response.write(bytes.subarray(0, 1000))
        gate.pass(() => response.destroy())
      })
      const viewer = yield* openRaw(port)
      viewer.send("GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
      yield* viewer.until("the first bytes", (received) => received.length > 1000)
      gate.open()
      yield* viewer.closed
      assert.include(viewer.received(), "HTTP/1.1 200 ")
      assert.notInclude(viewer.received(), "\r\n0\r\n\r\n")
      origin.files.set("/a", file())
      assertBytes(yield* ask("/a"), bytes)
    }))
})

describe("Authorization", () => {
  it.effect("goes to the origin, and its answer to no one else", () =>
    Effect.gen(function*() {
      const { ask, origin } = yield* makeTestProxy()
      origin.handlers.set("/secret", (request, response) => {
        const who = request.headers.authorization
        if (who === undefined) response.writeHead(401, { "www-authenticate": "Basic" }).end("who are you?")
        else {
          const body = `the secret of ${who}`
          response.writeHead(200, {
            "etag": "\"v1\"",
            "cache-control": "max-age=60",
            "content-length": body.length
          }).end(body)
        }
      })
      for (const who of ["Basic YTpi", "Bearer b"]) {
        const answer = yield* ask("/secret", { headers: { authorization: who } })
        assert.strictEqual(answer.status, 200)
        assert.strictEqual(answer.body.toString(), `the secret of ${who}`)
        assert.strictEqual(story(answer.headers), "spillway; fwd=bypass; detail=AUTHORIZATION")
        const stranger = yield* ask("/secret")
        assert.strictEqual(stranger.status, 401)
        assert.strictEqual(stranger.headers["www-authenticate"], "Basic")
      }
    }))

  it.effect("is not answered from the cache, and does not touch it", () =>
    Effect.gen(function*() {
      const { ask, origin } = yield* start()
      yield* ask("/a")
      const answer = yield* ask("/a", { headers: { authorization: "Basic YTpi", range: "bytes=0-9" } })
      assert.strictEqual(answer.status, 206)
      assertBytes(answer, bytes.subarray(0, 10))
      assert.strictEqual(origin.requests.length, 2)
      assert.strictEqual(story((yield* ask("/a")).headers), "spillway; hit")
    }))
})

describe("methods", () => {
  it.effect("TRACE is answered 405", () =>
    Effect.gen(function*() {
      const { ask, origin } = yield* start()
      const answer = yield* ask("/a", { method: "TRACE" })
      assert.strictEqual(answer.status, 405)
      assert.strictEqual(story(answer.headers), "spillway; fwd=bypass; detail=REFUSED")
      assert.strictEqual(origin.requests.length, 0)
      assertBytes(yield* ask("/a"), bytes)
    }))

  it.effect("a GET may have a body, which is not read", () =>
    Effect.gen(function*() {
      const { ask } = yield* start()
      assertBytes(yield* ask("/a", { body: "a=1" }), bytes)
    }))
})
