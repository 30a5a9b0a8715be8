import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Fiber, Layer } from "effect"
import { TestClock } from "effect/testing"
import type { ServerResponse } from "node:http"
import { MAX_SINGLE_BYTES } from "../../src/domain/Representation.ts"
import { ChunkStore, IoError } from "../../src/index.ts"
import { story } from "../support/cacheStatus.ts"
import { makeTestOrigin } from "../support/TestOrigin.ts"
import { openRaw } from "./RawConnection.ts"
import { bytes, makeGate, maxAge, otherBytes, SIZE, start, until, withTime } from "./Site.ts"
import { CHUNK_BYTES } from "./TestProxy.ts"

/** Responses of origins that send no strong validator. */

const weak = { etag: "W/\"1\"" }

describe("a response without a validator", () => {
  it.effect("is stored while it is fresh by its own fields (RFC 9111 §3)", () =>
    Effect.gen(function*() {
      const { answer, ask, seen } = yield* start()
      answer("/a", () => ({ headers: maxAge(60), body: bytes }))
      const first = yield* ask("/a")
      assert.strictEqual(story(first.headers), "spillway; fwd=uri-miss; stored")
      const second = yield* ask("/a")
      assert.strictEqual(story(second.headers), "spillway; hit")
      assert.isTrue(second.body.equals(bytes))
      assert.lengthOf(seen("/a"), 1)
      yield* TestClock.adjust("60 seconds")
      assert.strictEqual(story((yield* ask("/a")).headers), "spillway; fwd=stale; stored")
      assert.lengthOf(seen("/a"), 2)
    }))

  it.effect("serves ranges and HEAD once it is complete", () =>
    Effect.gen(function*() {
      const { answer, ask, seen } = yield* start()
      answer("/a", () => ({ headers: maxAge(60), body: bytes }))
      yield* ask("/a")
      const range = yield* ask("/a", { headers: { range: `bytes=${CHUNK_BYTES - 5}-${CHUNK_BYTES + 4}` } })
      assert.strictEqual(range.status, 206)
      assert.isTrue(range.body.equals(bytes.subarray(CHUNK_BYTES - 5, CHUNK_BYTES + 5)))
      const head = yield* ask("/a", { method: "HEAD" })
      assert.strictEqual(head.headers["content-length"], String(SIZE))
      assert.lengthOf(seen("/a"), 1)
    }))

  it.effect("is stored from a part that is the whole, as players request it", () =>
    Effect.gen(function*() {
      const { ask, file, seen } = yield* start()
      file("/a", { etag: undefined!, lastModified: undefined!, headers: maxAge(60) })
      const first = yield* ask("/a", { headers: { range: "bytes=0-" } })
      assert.strictEqual(first.status, 206)
      assert.strictEqual(story(first.headers), "spillway; fwd=uri-miss; stored")
      assert.isTrue(first.body.equals(bytes))
      assert.strictEqual(story((yield* ask("/a", { headers: { range: "bytes=100-" } })).headers), "spillway; hit")
      assert.isTrue((yield* ask("/a")).body.equals(bytes))
      assert.lengthOf(seen("/a"), 1)
    }))

  it.effect("is not stored from any other part", () =>
    Effect.gen(function*() {
      const { ask, file } = yield* start()
      file("/a", { etag: undefined!, lastModified: undefined!, headers: maxAge(60) })
      const { headers } = yield* ask("/a", { headers: { range: "bytes=1-" } })
      assert.strictEqual(story(headers), "spillway; fwd=bypass; detail=NO_VALIDATOR")
    }))

  it.effect("is not stored if nothing makes it fresh and nothing can confirm it", () =>
    Effect.gen(function*() {
      const { answer, ask, seen } = yield* start()
      answer("/a", () => ({ body: bytes }))
      for (let i = 0; i < 2; i++) {
        assert.strictEqual(story((yield* ask("/a")).headers), "spillway; fwd=bypass; detail=NO_VALIDATOR")
      }
      assert.lengthOf(seen("/a"), 2)
    }))

  it.effect("is not stored beyond the bound", () =>
    Effect.gen(function*() {
      const { answer, ask } = yield* start()
      const headers = { ...maxAge(60), "content-length": String(MAX_SINGLE_BYTES + 1) }
      answer("/a", ({ method }) => ({ headers, body: method === "HEAD" ? "" : Buffer.alloc(MAX_SINGLE_BYTES + 1) }))
      assert.strictEqual(story((yield* ask("/a")).headers), "spillway; fwd=bypass; detail=NO_VALIDATOR")
    }))

  it.effect("costs the origin one request for viewers who ask at the same time", () =>
    Effect.gen(function*() {
      const { answer, ask, seen } = yield* start()
      const gate = makeGate()
      answer("/a", () => gate.opened.then(() => ({ headers: maxAge(60), body: bytes })))
      const fibers = yield* Effect.forEach([1, 2, 3], () => Effect.forkChild(ask("/a")))
      yield* until("the request", () => seen("/a").length === 1)
      gate.open()
      for (const fiber of fibers) assert.isTrue((yield* Fiber.join(fiber)).body.equals(bytes))
      assert.lengthOf(seen("/a"), 1)
    }))
})

describe("a response without a length", () => {
  const chunked = { "transfer-encoding": "chunked" }

  it.effect("is stored if it is short and fresh", () =>
    Effect.gen(function*() {
      const { answer, ask, seen } = yield* start()
      const playlist = Buffer.from("#EXTM3U\n")
      answer("/a", () => ({ headers: { ...maxAge(60), ...chunked, etag: "\"v1\"" }, body: playlist }))
      const first = yield* ask("/a")
      assert.strictEqual(story(first.headers), "spillway; fwd=uri-miss; stored")
      assert.strictEqual(first.headers["content-length"], String(playlist.length))
      const second = yield* ask("/a")
      assert.strictEqual(story(second.headers), "spillway; hit")
      assert.isTrue(second.body.equals(playlist))
      assert.strictEqual((yield* ask("/a", { headers: { "if-none-match": "\"v1\"" } })).status, 304)
      const range = yield* ask("/a", { headers: { range: "bytes=1-3" } })
      assert.strictEqual(range.body.toString(), "EXT")
      assert.lengthOf(seen("/a"), 1)
    }))

  it.effect("is confirmed by its validator once it is stale (RFC 9111 §4.3.1)", () =>
    Effect.gen(function*() {
      const { answer, ask } = yield* start()
      const fields = { ...maxAge(60), etag: "\"v1\"" }
      answer("/a", ({ headers }) =>
        headers["if-none-match"] === "\"v1\""
          ? { status: 304, headers: fields }
          : { headers: { ...fields, ...chunked }, body: "body" })
      yield* ask("/a")
      yield* TestClock.adjust("61 seconds")
      const { body, headers } = yield* ask("/a")
      assert.strictEqual(story(headers), "spillway; fwd=stale; fwd-status=304")
      assert.strictEqual(body.toString(), "body")
    }))

  it.effect("is passed on at once if it is not fresh", () =>
    Effect.gen(function*() {
      const { origin, port } = yield* start()
      const gate = makeGate()
      origin.handlers.set("/a", (_, response) => {
        response.writeHead(200, { "cache-control": "no-cache" })
        response.write("first")
        void gate.opened.then(() => response.end("last"))
      })
      const viewer = yield* openRaw(port)
      viewer.socket.write("GET /a HTTP/1.1\r\nHost: a\r\n\r\n")
      yield* until("the first bytes", () => viewer.received().includes("first"))
      gate.open()
      yield* until("the last bytes", () => viewer.received().includes("last"))
    }))

  it.effect("is not stored if it breaks off, however short (RFC 9112 §8)", () =>
    Effect.gen(function*() {
      const { answer, ask, origin } = yield* start()
      origin.handlers.set("/a", (_, response) => {
        response.writeHead(200, maxAge(60))
        response.write("first", () => setTimeout(() => response.destroy(), 20))
      })
      const broken = yield* Effect.exit(withTime(ask("/a")))
      if (broken._tag === "Success") assert.strictEqual(broken.value.status, 502)
      answer("/a", () => ({ headers: { ...maxAge(60), ...chunked }, body: "whole" }))
      assert.strictEqual((yield* withTime(ask("/a"))).body.toString(), "whole")
    }))
})

describe("a weak validator", () => {
  it.effect("confirms the stored response (RFC 9111 §4.3.1)", () =>
    Effect.gen(function*() {
      const { answer, ask, seen } = yield* start()
      answer("/a", ({ headers }) =>
        headers["if-none-match"] === weak.etag
          ? { status: 304, headers: { ...weak, ...maxAge(60) } }
          : { headers: { ...weak, ...maxAge(60) }, body: bytes })
      yield* ask("/a")
      yield* TestClock.adjust("61 seconds")
      const { body, headers } = yield* ask("/a")
      assert.strictEqual(story(headers), "spillway; fwd=stale; fwd-status=304")
      assert.isTrue(body.equals(bytes))
      assert.strictEqual(story((yield* ask("/a")).headers), "spillway; hit")
      assert.lengthOf(seen("/a"), 2)
    }))

  it.effect("answers If-None-Match with 304, and makes no range conditional (RFC 9110 §13.1)", () =>
    Effect.gen(function*() {
      const { answer, ask } = yield* start()
      answer("/a", () => ({ headers: { ...weak, ...maxAge(60) }, body: bytes }))
      yield* ask("/a")
      assert.strictEqual((yield* ask("/a", { headers: { "if-none-match": "\"1\"" } })).status, 304)
      const headers = { "range": "bytes=0-9", "if-range": weak.etag }
      assert.strictEqual((yield* ask("/a", { headers })).status, 200)
    }))

  it.effect("of another version replaces the stored response", () =>
    Effect.gen(function*() {
      const { answer, ask } = yield* start()
      answer("/a", () => ({ headers: { ...weak, ...maxAge(60) }, body: bytes }))
      yield* ask("/a")
      yield* TestClock.adjust("61 seconds")
      answer("/a", () => ({ headers: { etag: "W/\"2\"", ...maxAge(60) }, body: otherBytes }))
      for (let i = 0; i < 2; i++) assert.isTrue((yield* ask("/a")).body.equals(otherBytes))
    }))

  it.effect("may be a Last-Modified of this very second (RFC 9110 §8.8.2.2)", () =>
    Effect.gen(function*() {
      const { answer, ask, at } = yield* start()
      const fields = { "last-modified": at(0), "date": at(0) }
      answer("/a", ({ headers }) =>
        headers["if-modified-since"] === at(0) ? { status: 304, headers: fields } : { headers: fields, body: bytes })
      yield* ask("/a")
      const { body, headers } = yield* ask("/a")
      assert.strictEqual(story(headers), "spillway; fwd=stale; fwd-status=304")
      assert.isTrue(body.equals(bytes))
    }))
})

/** An origin of `/a` whose first transfer breaks off after so many bytes. The later ones send `rest`. */
const breaking = (after: number, rest: Buffer) =>
  Effect.gen(function*() {
    const site = yield* start()
    let served = 0
    site.origin.handlers.set("/a", (_, response: ServerResponse) => {
      served += 1
      response.writeHead(200, { ...maxAge(60), "content-length": SIZE, "content-type": "video/mp4" })
      if (served === 1) response.write(bytes.subarray(0, after), () => setTimeout(() => response.destroy(), 20))
      else response.end(rest)
    })
    return site
  })

describe("a stored response without a validator whose chunk cannot be read", () => {
  const unreadable = (rest: Buffer) =>
    Effect.gen(function*() {
      const origin = yield* makeTestOrigin
      const memory = Context.get(yield* Layer.build(ChunkStore.layerMemory), ChunkStore)
      let isBroken = false
      const store = ChunkStore.of({
        ...memory,
        read: (key, length, buffer) =>
          isBroken && key.index === 1
            ? Effect.fail(new IoError({ operation: "read", path: "chunk", errno: "CORRUPT" }))
            : memory.read(key, length, buffer)
      })
      const site = yield* start({ before: { origin, store }, cache: { memory: 0 } })
      site.answer("/a", () => ({ headers: maxAge(60), body: bytes }))
      yield* site.ask("/a")
      yield* until("the chunks on disk", () => store.isBusy() === false)
      assert.strictEqual(story((yield* site.ask("/a")).headers), "spillway; hit")
      isBroken = true
      site.answer("/a", () => ({ headers: maxAge(60), body: rest }))
      return site
    })

  it.effect("continues from the origin at the exact byte if the body is the same", () =>
    Effect.gen(function*() {
      const { ask, seen } = yield* unreadable(bytes)
      const { body } = yield* withTime(ask("/a"))
      assert.isTrue(body.equals(bytes))
      assert.lengthOf(seen("/a"), 2)
      // The incomplete rest is not used again.
      assert.include(story((yield* ask("/a")).headers), "stored")
    }))

  it.effect("is cut visibly if the body is another", () =>
    Effect.gen(function*() {
      const { ask } = yield* unreadable(otherBytes)
      const exit = yield* Effect.exit(withTime(ask("/a")))
      assert.strictEqual(exit._tag, "Failure")
      assert.isTrue((yield* ask("/a")).body.equals(otherBytes))
    }))
})

describe("a transfer without a validator that breaks off", () => {
  for (const after of [1, CHUNK_BYTES, CHUNK_BYTES + 10, SIZE - 1]) {
    it.effect(`after ${after} bytes is resumed at the exact byte if the body is the same`, () =>
      Effect.gen(function*() {
        const { ask, seen } = yield* breaking(after, bytes)
        const { body } = yield* withTime(ask("/a"))
        assert.isTrue(body.equals(bytes))
        assert.lengthOf(seen("/a"), 2)
      }))
  }

  it.effect("is cut visibly if the body is another", () =>
    Effect.gen(function*() {
      const changed = Buffer.from(bytes)
      changed[5] = changed[5]! ^ 1
      const { ask } = yield* breaking(CHUNK_BYTES + 10, changed)
      const exit = yield* Effect.exit(withTime(ask("/a")))
      assert.strictEqual(exit._tag, "Failure")
    }))

  it.effect("is resumed although the origin is unavailable for a moment", () =>
    Effect.gen(function*() {
      const { ask, origin, seen } = yield* breaking(CHUNK_BYTES + 10, bytes)
      const handler = origin.handlers.get("/a")!
      origin.handlers.set("/a", (request, response, record) => {
        if (seen("/a").length === 2) response.writeHead(503, { "content-length": 0 }).end()
        else handler(request, response, record)
      })
      const { body } = yield* withTime(ask("/a"))
      assert.isTrue(body.equals(bytes))
      assert.lengthOf(seen("/a"), 3)
    }))

  it.effect("before its first byte gives the viewer the new response", () =>
    Effect.gen(function*() {
      const { ask, origin, seen } = yield* start()
      origin.handlers.set("/a", (_, response: ServerResponse) => {
        const isFirst = seen("/a").length === 1
        response.writeHead(200, { ...maxAge(60), "content-length": SIZE })
        if (isFirst) response.flushHeaders()
        if (isFirst) setTimeout(() => response.destroy(), 20)
        else response.end(otherBytes)
      })
      const { body, status } = yield* withTime(ask("/a"))
      assert.strictEqual(status, 200)
      assert.isTrue(body.equals(otherBytes))
    }))

  it.effect("is stored once it is resumed: all its bytes are those of the second response", () =>
    Effect.gen(function*() {
      const { ask, seen } = yield* breaking(CHUNK_BYTES + 10, bytes)
      yield* withTime(ask("/a"))
      const { body, headers } = yield* ask("/a")
      assert.strictEqual(story(headers), "spillway; hit")
      assert.isTrue(body.equals(bytes))
      assert.lengthOf(seen("/a"), 2)
    }))

  it.effect("is resumed once for all its viewers", () =>
    Effect.gen(function*() {
      const { ask, seen } = yield* breaking(CHUNK_BYTES + 10, bytes)
      const viewers = Array.from({ length: 20 }, () => ask("/a"))
      const answers = yield* withTime(Effect.all(viewers, { concurrency: "unbounded" }))
      for (const { body } of answers) assert.isTrue(body.equals(bytes))
      assert.lengthOf(seen("/a"), 2)
    }))

  it.effect("stores nothing if the body is another", () =>
    Effect.gen(function*() {
      const changed = Buffer.from(bytes)
      changed[5] = changed[5]! ^ 1
      const { ask } = yield* breaking(CHUNK_BYTES + 10, changed)
      yield* Effect.exit(withTime(ask("/a")))
      const { body, headers } = yield* ask("/a")
      assert.include(story(headers), "stored")
      assert.isTrue(body.equals(changed))
    }))
})

describe("the response to a HEAD for a file with a weak validator", () => {
  const startStored = Effect.gen(function*() {
    const site = yield* start()
    let fields: Record<string, string> = { ...weak, ...maxAge(60) }
    site.answer("/a", () => ({ headers: fields, body: bytes }))
    yield* site.ask("/a")
    return { ...site, say: (more: Record<string, string>) => void (fields = { ...fields, ...more }) }
  })

  it.effect("refreshes the stored one if the validator is the same (RFC 9111 §4.3.5)", () =>
    Effect.gen(function*() {
      const { ask, seen } = yield* startStored
      yield* TestClock.adjust("61 seconds")
      assert.strictEqual((yield* ask("/a", { method: "HEAD" })).status, 200)
      const { body, headers } = yield* ask("/a")
      assert.strictEqual(story(headers), "spillway; hit")
      assert.isTrue(body.equals(bytes))
      assert.lengthOf(seen("/a"), 2)
    }))

  it.effect.each([{ etag: "W/\"2\"" }, { "content-length": "0" }])(
    "doesn't refresh it with %j (RFC 9111 §4.3.5)",
    (fields) =>
      Effect.gen(function*() {
        const { answer, ask, seen } = yield* startStored
        yield* TestClock.adjust("61 seconds")
        answer("/a", ({ method }) => ({
          headers: { ...weak, ...maxAge(60), ...(method === "HEAD" && fields) },
          body: bytes
        }))
        yield* ask("/a", { method: "HEAD" })
        assert.include(story((yield* ask("/a")).headers), "fwd=stale")
        assert.lengthOf(seen("/a"), 3)
      })
  )

  it.effect("ends the use of the stored one if the validator is another (RFC 9111 §4.3.5)", () =>
    Effect.gen(function*() {
      const { ask, say } = yield* startStored
      say({ etag: "W/\"2\"" })
      yield* ask("/a", { method: "HEAD", headers: { "cache-control": "no-cache" } })
      const { headers } = yield* ask("/a")
      assert.include(story(headers), "fwd=stale")
      assert.strictEqual(headers.etag, "W/\"2\"")
    }))
})

describe("a response without a validator that breaks off before its first byte", () => {
  it.effect("is requested again, the second time by each viewer alone", () =>
    Effect.gen(function*() {
      const { ask, origin, seen } = yield* start()
      let served = 0
      origin.handlers.set("/a", (_, response: ServerResponse) => {
        response.writeHead(200, { ...maxAge(60), "content-length": String(SIZE) })
        if (served++ >= 2) return void response.end(bytes)
        response.flushHeaders()
        setTimeout(() => response.destroy(), 20)
      })
      const viewers = yield* withTime(Effect.all([ask("/a"), ask("/a")], { concurrency: "unbounded" }))
      for (const { body, status } of viewers) {
        assert.strictEqual(status, 200)
        assert.isTrue(body.equals(bytes))
      }
      assert.lengthOf(seen("/a"), 4)
    }))
})
