import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { story } from "../support/cacheStatus.ts"
import { bytes, makeGate, maxAge, otherBytes, SIZE, start, until } from "./Site.ts"
import { type Answer, CHUNK_BYTES } from "./TestProxy.ts"

const MANY = "9".repeat(30)

/** What is asked for, and the part that is meant. */
const satisfiable: ReadonlyArray<readonly [string, number, number]> = [
  ["bytes=0-", 0, SIZE],
  ["bytes=0-0", 0, 1],
  ["bytes=100-199", 100, 200],
  [`bytes=${CHUNK_BYTES - 1}-${CHUNK_BYTES}`, CHUNK_BYTES - 1, CHUNK_BYTES + 1],
  [`bytes=${CHUNK_BYTES}-${2 * CHUNK_BYTES - 1}`, CHUNK_BYTES, 2 * CHUNK_BYTES],
  [`bytes=7-${2 * CHUNK_BYTES + 7}`, 7, 2 * CHUNK_BYTES + 8],
  [`bytes=${CHUNK_BYTES + 7}-${3 * CHUNK_BYTES + 7}`, CHUNK_BYTES + 7, 3 * CHUNK_BYTES + 8],
  [`bytes=${2 * CHUNK_BYTES}-`, 2 * CHUNK_BYTES, SIZE],
  [`bytes=${SIZE - 1}-`, SIZE - 1, SIZE],
  [`bytes=${SIZE - 10}-${SIZE + 10}`, SIZE - 10, SIZE],
  [`bytes=5-${MANY}`, 5, SIZE],
  ["bytes=-1", SIZE - 1, SIZE],
  ["bytes=-2000", SIZE - 2000, SIZE],
  [`bytes=-${SIZE}`, 0, SIZE],
  [`bytes=-${SIZE + 1}`, 0, SIZE],
  [`bytes=-${MANY}`, 0, SIZE],
  ["Bytes= 5-9\t", 5, 10],
  ["bytes=, 5-9 ,", 5, 10]
]

const unsatisfiable = [`bytes=${SIZE}-`, `bytes=${SIZE}-${SIZE + 5}`, `bytes=${MANY}-`, "bytes=-0"]

const ignored = [
  "bytes=9-5",
  "items=0-5",
  "bytes=a-b",
  "bytes=",
  "bytes=-",
  "bytes=0-1;5-6",
  "nonsense",
  "0-9",
  "bytes 0-9"
]

const assertPart = (answer: Answer, from: number, to: number): void => {
  assert.strictEqual(answer.status, 206)
  assert.strictEqual(answer.headers["content-range"], `bytes ${from}-${to - 1}/${SIZE}`)
  assert.strictEqual(answer.headers["content-length"], String(to - from))
  assert.isTrue(answer.body.equals(bytes.subarray(from, to)))
}

const assertWhole = (answer: Answer): void => {
  assert.strictEqual(answer.status, 200)
  assert.notProperty(answer.headers, "content-range")
  assert.isTrue(answer.body.equals(bytes))
}

describe("a range", () => {
  it.effect.each(satisfiable)(
    "%s, from the origin and from the cache (§14.1.2)",
    ([range, from, to]) =>
      Effect.gen(function*() {
        const { ask, file } = yield* start()
        file("/a")
        assertPart(yield* ask("/a", { headers: { range } }), from, to)
        assertPart(yield* ask("/a", { headers: { range } }), from, to)
      })
  )

  it.effect("of a cached file costs no request (§14.1.2)", () =>
    Effect.gen(function*() {
      const { ask, file, seen } = yield* start()
      file("/a")
      yield* ask("/a")
      for (const [range, from, to] of satisfiable) {
        const answer = yield* ask("/a", { headers: { range } })
        assertPart(answer, from, to)
        assert.strictEqual(story(answer.headers), "spillway; hit")
      }
      assert.strictEqual(seen("/a").length, 1)
    }))

  it.effect("of a file whose origin ignores Range (§14.1.2)", () =>
    Effect.gen(function*() {
      const { ask, file } = yield* start()
      for (const [i, [range, from, to]] of satisfiable.entries()) {
        file(`/${i}`, { ranges: false })
        assertPart(yield* ask(`/${i}`, { headers: { range } }), from, to)
        assertWhole(yield* ask(`/${i}`))
      }
    }))

  it.effect("has the fields of a 200 (§15.3.7)", () =>
    Effect.gen(function*() {
      const { ask, at, file } = yield* start()
      file("/a", {
        headers: { ...maxAge(60), "content-location": "/b", "expires": at(60), "vary": "Accept-Encoding", "x-own": "1" }
      })
      for (let i = 0; i < 2; i++) {
        const whole = yield* ask("/a")
        const part = yield* ask("/a", { headers: { range: "bytes=0-9" } })
        const names = new Set([...Object.keys(whole.headers), "content-range", "age"])
        assert.deepStrictEqual(new Set([...Object.keys(part.headers), "age"]), names)
        for (
          const name of [
            "date",
            "cache-control",
            "etag",
            "expires",
            "content-location",
            "vary",
            "content-type",
            "x-own"
          ]
        ) {
          assert.strictEqual(part.headers[name], whole.headers[name])
        }
        assert.strictEqual(part.headers["accept-ranges"], "bytes")
      }
    }))

  it.effect("outside the file is answered 416 with the length, and without fields to cache it by (§15.5.17)", () =>
    Effect.gen(function*() {
      const { ask, at, file } = yield* start()
      file("/cold")
      file("/warm", { headers: { ...maxAge(60), "expires": at(60), "access-control-allow-origin": "*" } })
      yield* ask("/warm")
      for (const range of unsatisfiable) {
        const cold = yield* ask("/cold", { headers: { range } })
        assert.strictEqual(cold.status, 416, range)
        assert.strictEqual(cold.headers["content-range"], `bytes */${SIZE}`, range)
        assert.strictEqual(cold.body.length, 0)
        const warm = yield* ask("/warm", { headers: { range } })
        assert.strictEqual(warm.status, 416, range)
        assert.strictEqual(warm.headers["content-range"], `bytes */${SIZE}`, range)
        assert.strictEqual(warm.headers["content-length"], "0")
        assert.strictEqual(warm.body.length, 0)
        assert.strictEqual(warm.headers["access-control-allow-origin"], "*")
        for (const name of ["cache-control", "expires", "content-type"]) assert.notProperty(warm.headers, name)
      }
      assertWhole(yield* ask("/cold"))
      assertWhole(yield* ask("/warm"))
    }))

  it.effect("of unknown form is ignored (§14.2)", () =>
    Effect.gen(function*() {
      const { ask, file } = yield* start()
      file("/a")
      for (const range of ignored) {
        assertWhole(yield* ask("/a", { headers: { range } }))
        assertWhole(yield* ask("/a", { headers: { range } }))
      }
    }))

  it.effect("is ignored for methods other than GET (§14.2)", () =>
    Effect.gen(function*() {
      const { answer, ask, file } = yield* start()
      file("/a")
      for (const range of ["bytes=0-9", "bytes=0-9,100-199", `bytes=${SIZE}-`]) {
        const { headers, status } = yield* ask("/a", { method: "HEAD", headers: { range } })
        assert.strictEqual(status, 200)
        assert.strictEqual(headers["content-length"], String(SIZE))
        assert.notProperty(headers, "content-range")
      }
      answer("/b", ({ headers }) => ({ body: `range: ${headers.range}` }))
      const { body } = yield* ask("/b", { method: "POST", headers: { range: "bytes=0-9" }, body: "a" })
      assert.strictEqual(body.toString(), "range: bytes=0-9")
    }))

  it.effect("is combined with others into the whole file for all viewers (RFC 9111 §3.3)", () =>
    Effect.gen(function*() {
      const { ask, file, origin, seen } = yield* start()
      file("/a")
      for (let from = 0; from < SIZE; from += CHUNK_BYTES) {
        yield* ask("/a", { headers: { range: `bytes=${from}-${from + CHUNK_BYTES - 1}` } })
      }
      const answer = yield* ask("/a")
      assertWhole(answer)
      assert.strictEqual(story(answer.headers), "spillway; hit")
      assert.strictEqual(origin.bodyBytes(), SIZE)
      assert.strictEqual(seen("/a").length, 4)
    }))

  it.effect("is fetched with If-Range, and only if it is missing (RFC 9111 §3.3)", () =>
    Effect.gen(function*() {
      const { ask, file, origin, seen } = yield* start()
      file("/a")
      yield* ask("/a", { headers: { range: `bytes=0-${CHUNK_BYTES - 1}` } })
      const answer = yield* ask("/a")
      assertWhole(answer)
      assert.strictEqual(story(answer.headers), "spillway; fwd=partial; stored")
      assert.strictEqual(seen("/a")[1]!.headers.range, `bytes=${CHUNK_BYTES}-${SIZE - 1}`)
      assert.strictEqual(seen("/a")[1]!.headers["if-range"], "\"v1\"")
      assert.strictEqual(origin.bodyBytes(), SIZE)
    }))

  it.effect("is never combined with one of another version (RFC 9111 §3.4)", () =>
    Effect.gen(function*() {
      const { ask, file } = yield* start()
      file("/a")
      yield* ask("/a", { headers: { range: `bytes=0-${CHUNK_BYTES - 1}` } })
      file("/a", { bytes: otherBytes, etag: "\"v2\"" })
      // The first version is fresh, but its end is to be had no more.
      const answer = yield* ask("/a", { headers: { range: `bytes=${2 * CHUNK_BYTES}-` } })
      assert.strictEqual(answer.headers["etag"], "\"v2\"")
      assert.isTrue(answer.body.equals(otherBytes.subarray(2 * CHUNK_BYTES)))
      const whole = yield* ask("/a")
      assert.strictEqual(whole.headers["etag"], "\"v2\"")
      assert.isTrue(whole.body.equals(otherBytes))
    }))

  it.effect("is answered 502 if the origin sends another one (§15.3.7.3)", () =>
    Effect.gen(function*() {
      const { answer, ask } = yield* start()
      answer("/a", () => ({
        status: 206,
        headers: { ...maxAge(60), "etag": "\"v1\"", "content-range": `bytes 5-14/${SIZE}` },
        body: bytes.subarray(0, 10)
      }))
      const { headers, status } = yield* ask("/a", { headers: { range: "bytes=0-9" } })
      assert.strictEqual(status, 502)
      assert.strictEqual(story(headers), "spillway; fwd=miss; detail=ORIGIN_UNEXPECTED")
    }))

  it.effect("of unknown length is passed on, but not stored (§14.4)", () =>
    Effect.gen(function*() {
      const { answer, ask } = yield* start()
      answer("/a", () => ({
        status: 206,
        headers: { ...maxAge(60), "etag": "\"v1\"", "content-range": "bytes 0-9/*" },
        body: bytes.subarray(0, 10)
      }))
      const { body, headers, status } = yield* ask("/a", { headers: { range: "bytes=0-9" } })
      assert.strictEqual(status, 206)
      assert.strictEqual(headers["content-range"], "bytes 0-9/*")
      assert.isTrue(body.equals(bytes.subarray(0, 10)))
      assert.strictEqual(story(headers), "spillway; fwd=bypass; detail=NO_LENGTH")
    }))

  it.effect("is fetched to the end of its chunk", () =>
    Effect.gen(function*() {
      const { ask, file, origin, seen } = yield* start()
      file("/a")
      yield* ask("/a", { headers: { range: "bytes=0-9" } })
      yield* until("the chunk", () => origin.bodyBytes() === CHUNK_BYTES)
      while (story((yield* ask("/a", { headers: { range: "bytes=60000-60009" } })).headers) !== "spillway; hit");
      assert.strictEqual(seen("/a").length, 1)
    }))

  it.effect("outside the file does not fail a request for the whole file at the same time (§15.5.17)", () =>
    Effect.gen(function*() {
      const { answer, ask, file, seen } = yield* start()
      const gate = makeGate()
      answer("/a", async () => {
        await gate.opened
        return { status: 416, headers: { "content-range": `bytes */${SIZE}` } }
      })
      file("/ping")
      const outside = yield* Effect.forkChild(ask("/a", { headers: { range: `bytes=${SIZE}-` } }))
      yield* until("the request", () => seen("/a").length === 1)
      file("/a")
      const whole = yield* Effect.forkChild(ask("/a"))
      // The proxy answers in order: it has got the second request, too.
      yield* ask("/ping")
      gate.open()
      assert.strictEqual((yield* Fiber.join(outside)).status, 416)
      assertWhole(yield* Fiber.join(whole))
    }))

  it.effect("in the middle of a file is not fetched again with the whole file (RFC 9111 §3.3)", () =>
    Effect.gen(function*() {
      const { ask, file, origin } = yield* start()
      file("/a")
      yield* ask("/a", { headers: { range: `bytes=${CHUNK_BYTES}-${2 * CHUNK_BYTES - 1}` } })
      const answer = yield* ask("/a")
      assertWhole(answer)
      assert.match(story(answer.headers), /^spillway; fwd=miss; stored/)
      assert.isAtMost(origin.bodyBytes(), SIZE + CHUNK_BYTES)
      assert.strictEqual(story((yield* ask("/a")).headers), "spillway; hit")
    }))

  it.effect("of a file that is not stored is answered by the origin", () =>
    Effect.gen(function*() {
      const { ask, file } = yield* start()
      file("/a", { headers: { "cache-control": "no-store" } })
      assertPart(yield* ask("/a", { headers: { range: "bytes=5-9" } }), 5, 10)
      assert.strictEqual((yield* ask("/a", { headers: { range: `bytes=${SIZE}-` } })).status, 416)
    }))
})

describe("a range of an empty file", () => {
  const empty = Buffer.alloc(0)
  const ranges = ["bytes=0-", "bytes=0-0", "bytes=-1", "bytes=5-", "bytes=0-0, -1", "bytes=0-0, 5-"]

  const assertEmpty = ({ body, headers, status }: Answer, range?: string): void => {
    assert.strictEqual(status, 200, range)
    assert.strictEqual(headers["content-length"], "0", range)
    assert.notProperty(headers, "content-range", range)
    assert.strictEqual(body.length, 0, range)
  }

  it.effect("is ignored when the file is stored (§14.2)", () =>
    Effect.gen(function*() {
      const { ask, file } = yield* start()
      file("/a", { bytes: empty })
      for (let i = 0; i < 2; i++) {
        const whole = yield* ask("/a")
        assertEmpty(whole)
        assert.strictEqual(whole.headers["etag"], "\"v1\"")
      }
      assertEmpty(yield* ask("/a", { method: "HEAD" }))
      for (const range of ranges) assertEmpty(yield* ask("/a", { headers: { range } }), range)
    }))

  it.effect("is ignored when the origin ignores it (§14.2)", () =>
    Effect.gen(function*() {
      const { ask, file } = yield* start()
      for (const [i, range] of ranges.entries()) {
        file(`/${i}`, { bytes: empty, ranges: false })
        for (let j = 0; j < 2; j++) assertEmpty(yield* ask(`/${i}`, { headers: { range } }), range)
      }
    }))

  it.effect("is answered 416 when the origin answers so, and the file is served (§15.5.17)", () =>
    Effect.gen(function*() {
      const { ask, file } = yield* start()
      for (const range of ["bytes=0-", "bytes=-1"]) {
        file(`/${range}`, { bytes: empty })
        const { headers, status } = yield* ask(`/${range}`, { headers: { range } })
        assert.strictEqual(status, 416)
        assert.strictEqual(headers["content-range"], "bytes */0")
        assertEmpty(yield* ask(`/${range}`))
      }
    }))
})
