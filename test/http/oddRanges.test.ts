import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { TestClock } from "effect/testing"
import type { IncomingMessage } from "node:http"
import { story } from "../support/cacheStatus.ts"
import { bytes, maxAge, type Reply, type Site, start, withTime } from "./Site.ts"
import { type Answer, CHUNK_BYTES } from "./TestProxy.ts"

/** Smaller than a chunk, so that a range widened to the chunk's end exceeds it. */
const SMALL = 2500

const small = bytes.subarray(0, SMALL)

const spanOf = (request: IncomingMessage) => {
  const [, first = "", last = ""] = /^bytes=(\d*)-(\d*)$/.exec(request.headers.range ?? "") ?? []
  return { first, last }
}

const partOf = (site: Site, body: Buffer, first: number, last: number): Reply => ({
  status: 206,
  headers: {
    ...maxAge(60),
    etag: "\"v1\"",
    date: site.at(0),
    "content-range": `bytes ${first}-${last}/${body.length}`
  },
  body: body.subarray(first, last + 1)
})

const assertPart = (answer: Answer, body: Buffer, first: number, last: number): void => {
  assert.strictEqual(answer.status, 206)
  assert.strictEqual(answer.headers["content-range"], `bytes ${first}-${last}/${body.length}`)
  assert.isTrue(answer.body.equals(body.subarray(first, last + 1)))
}

/** What origins that do not shorten a range do when it exceeds the file. `undefined`: the connection is closed. */
const excesses: ReadonlyArray<readonly [string, (site: Site, first: number, last: number) => Reply | undefined]> = [
  ["answers 400", () => ({ status: 400 })],
  ["answers 416 with the size", () => ({ status: 416, headers: { "content-range": `bytes */${SMALL}` } })],
  ["answers 416 without the size", () => ({ status: 416 })],
  ["answers 500", () => ({ status: 500 })],
  ["repeats the range with a short body", (site, first, last) => partOf(site, small, first, last)],
  ["repeats the range without the size", (site, first, last) => ({
    ...partOf(site, small, first, last),
    headers: { "etag": "\"v1\"", "content-range": `bytes ${first}-${last}` }
  })],
  ["closes the connection", () => undefined]
]

describe("a range of a small file whose origin does not shorten ranges", () => {
  it.effect.each(excesses)("is answered when the origin %s", ([, excess]) =>
    Effect.gen(function*() {
      const site = yield* start()
      const { answer, ask, origin } = site
      answer("/well", (request) => {
        const { first, last } = spanOf(request)
        return partOf(site, small, Number(first), Number(last))
      })
      const serveWell = origin.handlers.get("/well")!
      origin.handlers.set("/a", (request, response, seen) => {
        const { first, last } = spanOf(request)
        if (Number(last) < SMALL) return serveWell(request, response, seen)
        const reply = excess(site, Number(first), Number(last))
        if (reply === undefined) return void request.socket.destroy()
        response.writeHead(reply.status!, { "content-length": reply.body?.length ?? 0, ...reply.headers })
        response.end(reply.body)
      })
      // The shortest range there is: its last byte is byte 0.
      assertPart(yield* withTime(ask("/a", { headers: { range: "bytes=0-0" } })), small, 0, 0)
      // The size is known by now, so nothing exceeds it.
      const before = site.seen("/a").length
      assert.isAtMost(before, 2)
      assertPart(yield* ask("/a", { headers: { range: "bytes=700-799" } }), small, 700, 799)
      const whole = yield* ask("/a")
      assert.isTrue(whole.body.equals(small))
      assert.strictEqual(story((yield* ask("/a")).headers), "spillway; hit")
    }))

  it.effect("is not requested again if it lies outside the file", () =>
    Effect.gen(function*() {
      const { answer, ask, seen } = yield* start()
      answer("/a", () => ({ status: 416, headers: { "content-range": `bytes */${SMALL}` } }))
      assert.strictEqual((yield* ask("/a", { headers: { range: `bytes=${SMALL}-${SMALL + 1}` } })).status, 416)
      const ranges = seen("/a").map(({ headers }) => headers["range"])
      assert.notInclude(ranges.slice(1), `bytes=${SMALL}-${CHUNK_BYTES - 1}`)
    }))

  it.effect("gets the origin's answer if that refuses the viewer's own range too", () =>
    Effect.gen(function*() {
      const { answer, ask, file } = yield* start()
      answer("/a", () => ({ status: 400 }))
      assert.strictEqual((yield* ask("/a", { headers: { range: "bytes=0-1" } })).status, 400)
      file("/a")
      assert.strictEqual((yield* ask("/a", { headers: { range: "bytes=0-1" } })).status, 206)
    }))
})

/** What origins do that do not know suffix ranges. */
const suffixes: ReadonlyArray<readonly [string, (site: Site, length: number) => Reply]> = [
  ["reads it as a range from the start", (site, length) => partOf(site, bytes, 0, length)],
  ["answers 416 with the size", () => ({ status: 416, headers: { "content-range": `bytes */${bytes.length}` } })],
  ["sends the whole file", (site) => ({
    headers: { ...maxAge(60), "etag": "\"v1\"", "date": site.at(0), "accept-ranges": "bytes" },
    body: bytes
  })]
]

describe("a suffix range", () => {
  it.effect.each(suffixes)("is answered when the origin %s", ([, misread]) =>
    Effect.gen(function*() {
      const site = yield* start()
      const { answer, ask } = site
      answer("/a", (request) => {
        const { first, last } = spanOf(request)
        return first === "" ? misread(site, Number(last)) : partOf(site, bytes, Number(first), Number(last))
      })
      const range = "bytes=-1000"
      assertPart(yield* ask("/a", { headers: { range } }), bytes, bytes.length - 1000, bytes.length - 1)
      assertPart(yield* ask("/a", { headers: { range } }), bytes, bytes.length - 1000, bytes.length - 1)
    }))

  it.effect("of a stored file is requested by its position", () =>
    Effect.gen(function*() {
      const { ask, file, seen } = yield* start()
      file("/a")
      yield* ask("/a", { headers: { range: "bytes=0-9" } })
      yield* TestClock.adjust("61 seconds")
      const answer = yield* ask("/a", { headers: { range: "bytes=-1000" } })
      assertPart(answer, bytes, bytes.length - 1000, bytes.length - 1)
      const ranges = seen("/a").map(({ headers }) => headers["range"])
      assert.deepStrictEqual(ranges.slice(1), [`bytes=${bytes.length - 1000}-${bytes.length - 1}`])
    }))

  it.effect.each(
    [["has grown", 2 * CHUNK_BYTES, bytes.length], ["has shrunk", bytes.length, 2 * CHUNK_BYTES]] as const
  )(
    "of a file that %s is taken from the new one",
    ([, before, after]) =>
      Effect.gen(function*() {
        const { ask, file } = yield* start()
        file("/a", { bytes: bytes.subarray(0, before) })
        yield* ask("/a", { headers: { range: "bytes=0-9" } })
        yield* TestClock.adjust("61 seconds")
        const changed = bytes.subarray(0, after)
        file("/a", { bytes: changed, etag: "\"v2\"" })
        assertPart(yield* ask("/a", { headers: { range: "bytes=-1000" } }), changed, after - 1000, after - 1)
      })
  )
})

describe("a widened range", () => {
  it.effect("ends within a file whose size is known", () =>
    Effect.gen(function*() {
      const { ask, file, seen } = yield* start()
      file("/a", { bytes: small })
      yield* ask("/a")
      yield* TestClock.adjust("61 seconds")
      file("/a", { bytes: bytes.subarray(10, 10 + SMALL), etag: "\"v2\"" })
      const answer = yield* ask("/a", { headers: { range: "bytes=5-9" } })
      assertPart(answer, bytes.subarray(10, 10 + SMALL), 5, 9)
      assert.strictEqual(seen("/a").at(-1)!.headers["range"], `bytes=5-${SMALL - 1}`)
    }))
})
