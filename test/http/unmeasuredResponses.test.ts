import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { TestClock } from "effect/testing"
import type { ServerResponse } from "node:http"
import { gzipSync } from "node:zlib"
import { MAX_UNMEASURED_BYTES } from "../../src/services/transfer/UnmeasuredBody.ts"
import { story } from "../support/cacheStatus.ts"
import { randomBytes } from "../support/TestOrigin.ts"
import { control } from "./api/Control.ts"
import { openRaw } from "./RawConnection.ts"
import { bytes, makeGate, maxAge, otherBytes, SIZE, start, until, withTime } from "./Site.ts"

/** Longer responses without a length: those whose end is not seen before they are sent on. */

const chunked = { ...maxAge(60), "transfer-encoding": "chunked", "content-type": "text/javascript" }

/** More than is read before the response is sent on. */
const BEGINNING = 100 * 1024

/** An origin of `/a` whose transfers stop after the beginning until the gate opens. */
const gated = (end: (response: ServerResponse, nth: number) => void) =>
  Effect.gen(function*() {
    const site = yield* start()
    const gate = makeGate()
    let served = 0
    site.origin.handlers.set("/a", (_, response: ServerResponse) => {
      const nth = served++
      response.writeHead(200, chunked)
      response.write(bytes.subarray(0, BEGINNING))
      void gate.opened.then(() => end(response, nth))
    })
    return { ...site, gate }
  })

const rest = bytes.subarray(BEGINNING)

describe("a long response without a length", () => {
  it.effect("is stored when it has ended", () =>
    Effect.gen(function*() {
      const { answer, ask, seen } = yield* start()
      answer("/a", () => ({ headers: { ...chunked, etag: "\"v1\"" }, body: bytes }))
      const first = yield* ask("/a")
      assert.strictEqual(story(first.headers), "spillway; fwd=uri-miss")
      assert.notProperty(first.headers, "content-length")
      assert.isTrue(first.body.equals(bytes))
      const second = yield* ask("/a")
      assert.strictEqual(story(second.headers), "spillway; hit")
      assert.strictEqual(second.headers["content-length"], String(SIZE))
      assert.strictEqual(second.headers["content-type"], "text/javascript")
      assert.isTrue(second.body.equals(bytes))
      const range = yield* ask("/a", { headers: { range: "bytes=5-9" } })
      assert.strictEqual(range.status, 206)
      assert.isTrue(range.body.equals(bytes.subarray(5, 10)))
      assert.lengthOf(seen("/a"), 1)
    }))

  it.effect("is shared from its first byte by viewers who ask while it arrives, also for ranges (RFC 9110 §14.2)", () =>
    Effect.gen(function*() {
      const { ask, file, gate, port, seen } = yield* gated((response) => response.end(rest))
      file("/ping")
      const first = yield* openRaw(port)
      first.send("GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
      yield* until("the beginning", () => first.received().length > BEGINNING)
      const others = yield* Effect.forEach(
        [{}, { range: "bytes=5-9" }],
        (headers) => Effect.tap(Effect.forkChild(ask("/a", { headers })), () => ask("/ping"))
      )
      gate.open()
      for (const other of yield* Effect.forEach(others, Fiber.join)) {
        assert.strictEqual(other.status, 200)
        assert.isTrue(other.body.equals(bytes))
      }
      assert.lengthOf(seen("/a"), 1)
    }))

  it.effect("is stored and shared by its coding (RFC 9110 §12.5.3)", () =>
    Effect.gen(function*() {
      const { answer, ask, seen } = yield* start()
      const coded = gzipSync(bytes)
      answer("/a", ({ headers }) =>
        headers["accept-encoding"] === "gzip"
          ? { headers: { ...chunked, "vary": "accept-encoding", "content-encoding": "gzip" }, body: coded }
          : { headers: { ...chunked, vary: "accept-encoding" }, body: bytes })
      for (const expected of ["spillway; fwd", "spillway; hit"]) {
        const gzip = yield* ask("/a", { headers: { "accept-encoding": "gzip" } })
        assert.include(gzip.headers["cache-status"], expected)
        assert.isTrue(gzip.body.equals(coded))
        const plain = yield* ask("/a")
        assert.include(plain.headers["cache-status"], expected)
        assert.isTrue(plain.body.equals(bytes))
      }
      assert.lengthOf(seen("/a"), 2)
    }))

  it.effect("is stored apart for viewers with a cookie, if they get another one (RFC 9111 §7)", () =>
    Effect.gen(function*() {
      const { answer, ask, seen } = yield* start()
      answer("/a", ({ headers }) => ({ headers: chunked, body: headers.cookie === undefined ? bytes : otherBytes }))
      const member = { headers: { cookie: "a" } }
      assert.isTrue((yield* ask("/a")).body.equals(bytes))
      const first = yield* ask("/a", member)
      assert.strictEqual(story(first.headers), "spillway; fwd=bypass; detail=COOKIE")
      for (const expected of ["spillway; fwd=vary-miss", "spillway; hit"]) {
        const { body, headers } = yield* ask("/a", member)
        assert.strictEqual(story(headers), expected)
        assert.isTrue(body.equals(otherBytes))
      }
      assert.strictEqual(story((yield* ask("/a")).headers), "spillway; hit")
      assert.lengthOf(seen("/a"), 3)
    }))

  it.effect("continues by content when its transfer breaks off, and is then not stored", () =>
    Effect.gen(function*() {
      const { ask, gate, seen } = yield* gated((response, nth) => nth === 0 ? response.destroy() : response.end(rest))
      gate.open()
      const { body } = yield* withTime(ask("/a"))
      assert.isTrue(body.equals(bytes))
      assert.lengthOf(seen("/a"), 2)
      assert.strictEqual(story((yield* ask("/a")).headers), "spillway; fwd=uri-miss")
      assert.strictEqual(story((yield* ask("/a")).headers), "spillway; hit")
    }))

  it.effect("is cut visibly when it breaks off and the next one begins in another way", () =>
    Effect.gen(function*() {
      const { answer, ask, gate } = yield* gated((response) => {
        answer("/a", () => ({ headers: chunked, body: otherBytes }))
        response.destroy()
      })
      gate.open()
      const exit = yield* Effect.exit(withTime(ask("/a")))
      assert.strictEqual(exit._tag, "Failure")
      assert.isTrue((yield* ask("/a")).body.equals(otherBytes))
    }))

  it.effect("is cut visibly when it breaks off and the next one is shorter than what was sent", () =>
    Effect.gen(function*() {
      const { answer, ask, gate } = yield* gated((response) => {
        answer("/a", () => ({ headers: chunked, body: bytes.subarray(0, BEGINNING / 2) }))
        response.destroy()
      })
      gate.open()
      const exit = yield* Effect.exit(withTime(ask("/a")))
      assert.strictEqual(exit._tag, "Failure")
    }))

  it.effect("is passed on, and remembered as uncacheable, if it is too long", () =>
    Effect.gen(function*() {
      const { answer, ask, seen } = yield* start()
      const long = randomBytes(MAX_UNMEASURED_BYTES + 1)
      answer("/a", () => ({ headers: chunked, body: long }))
      const first = yield* ask("/a")
      assert.isTrue(first.body.equals(long))
      const second = yield* ask("/a")
      assert.strictEqual(story(second.headers), "spillway; fwd=bypass; detail=NO_LENGTH")
      assert.isTrue(second.body.equals(long))
      assert.lengthOf(seen("/a"), 2)
    }))

  it.effect("is not stored if the resource is changed while it arrives (RFC 9111 §4.4)", () =>
    Effect.gen(function*() {
      const { ask, gate, origin, port, seen } = yield* gated((response) => response.end(rest))
      const get = origin.handlers.get("/a")!
      origin.handlers.set("/a", (request, response, record) =>
        request.method === "PUT" ? void response.writeHead(204).end() : get(request, response, record))
      const viewer = yield* openRaw(port)
      viewer.send("GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
      yield* until("the beginning", () =>
        viewer.received().length > BEGINNING)
      yield* withTime(ask("/a", { method: "PUT", body: "new" }))
      gate.open()
      yield* until("the end", () =>
        viewer.isClosed())
      assert.strictEqual(story((yield* ask("/a")).headers), "spillway; fwd=uri-miss")
      assert.lengthOf(seen("/a"), 3)
    }))

  it.effect.each(
    [
      [{ status: 404 }, "spillway; fwd=uri-miss; detail=STATUS"],
      [{ headers: maxAge(60, "private") }, "spillway; fwd=bypass; detail=PRIVATE"]
    ] as const
  )(
    "is not stored if the origin has answered %j meanwhile (RFC 9111 §4)",
    ([reply, expected]) =>
      Effect.gen(function*() {
        const { answer, ask, gate, port } = yield* gated((response) => response.end(rest))
        const viewer = yield* openRaw(port)
        viewer.send("GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        yield* until("the beginning", () => viewer.received().length > BEGINNING)
        answer("/a", () => reply)
        yield* ask("/a", { headers: { "cache-control": "no-cache" } })
        gate.open()
        yield* until("the end", () => viewer.isClosed())
        assert.isAbove(viewer.received().length, SIZE)
        assert.strictEqual(story((yield* ask("/a")).headers), expected)
      })
  )

  it.effect("does not replace what the origin has confirmed for others meanwhile (RFC 9111 §7)", () =>
    Effect.gen(function*() {
      const { ask, file, gate, origin, port } = yield* gated((response) => response.end(rest))
      const forMembers = origin.handlers.get("/a")!
      file("/a", { bytes: otherBytes })
      yield* ask("/a")
      yield* TestClock.adjust("10 minutes")
      origin.handlers.set("/a", forMembers)
      const viewer = yield* openRaw(port)
      viewer.send("GET /a HTTP/1.1\r\nHost: a\r\nCookie: a\r\nConnection: close\r\n\r\n")
      yield* until("the beginning", () => viewer.received().length > BEGINNING)
      file("/a", { bytes: otherBytes })
      assert.strictEqual(story((yield* ask("/a")).headers), "spillway; fwd=stale; fwd-status=304")
      gate.open()
      yield* until("the end", () => viewer.isClosed())
      const { body, headers } = yield* ask("/a")
      assert.strictEqual(story(headers), "spillway; hit")
      assert.isTrue(body.equals(otherBytes))
    }))

  it.effect("is not used again if the resource is changed before its head is sent on (RFC 9111 §4.4)", () =>
    Effect.gen(function*() {
      const { ask, file, gate, origin, seen } = yield* start().pipe(
        Effect.map((site) => ({ ...site, gate: makeGate() }))
      )
      file("/ping")
      const short = bytes.subarray(0, 1000)
      origin.handlers.set("/a", (request, response: ServerResponse) => {
        if (request.method === "PUT") return void response.writeHead(204).end()
        response.writeHead(200, chunked)
        response.write(short)
        void gate.opened.then(() => response.end())
      })
      const viewer = yield* Effect.forkChild(ask("/a"))
      yield* until("the request", () => seen("/a").length === 1)
      yield* withTime(ask("/a", { method: "PUT", body: "new" }))
      const later = yield* Effect.forkChild(ask("/a"))
      yield* until("a request of its own", () => seen("/a").length === 3)
      gate.open()
      for (const fiber of [viewer, later]) assert.isTrue((yield* Fiber.join(fiber)).body.equals(short))
    }))

  it.effect.each([{}, { soft: true }])(
    "is not shared after a purge (%j) if its head comes after it",
    (how) =>
      Effect.gen(function*() {
        const { ask, origin, port, seen } = yield* start()
        const [head, end] = [makeGate(), makeGate()]
        origin.handlers.set("/a", (_, response: ServerResponse) => {
          void head.opened.then(() => {
            response.writeHead(200, chunked)
            response.write(bytes.subarray(0, BEGINNING))
            void end.opened.then(() => response.end(rest))
          })
        })
        const viewer = yield* openRaw(port)
        viewer.send("GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        yield* until("the request", () => seen("/a").length === 1)
        yield* control({ ask }).call("POST", "/purge", { url: "/a", ...how })
        head.open()
        yield* until("the beginning", () => viewer.received().length > BEGINNING)
        const later = yield* Effect.forkChild(ask("/a"))
        yield* until("a request of its own", () => seen("/a").length === 2)
        end.open()
        assert.isTrue((yield* Fiber.join(later)).body.equals(bytes))
        yield* until("the end", () => viewer.isClosed())
        assert.isAbove(viewer.received().length, SIZE)
      })
  )

  it.effect("is aborted at the origin when its last viewer leaves", () =>
    Effect.gen(function*() {
      const { ask, gate, origin, port, seen } = yield* gated((response) => response.end(rest))
      let aborted = false
      const get = origin.handlers.get("/a")!
      origin.handlers.set("/a", (request, response, record) => {
        response.on("close", () => aborted = !response.writableFinished)
        get(request, response, record)
      })
      const viewer = yield* openRaw(port)
      viewer.send("GET /a HTTP/1.1\r\nHost: a\r\n\r\n")
      yield* until("the beginning", () => viewer.received().length > BEGINNING)
      viewer.socket.destroy()
      yield* until("the end of the transfer", () => aborted)
      gate.open()
      assert.strictEqual(story((yield* ask("/a")).headers), "spillway; fwd=uri-miss")
      assert.lengthOf(seen("/a"), 2)
    }))
})
