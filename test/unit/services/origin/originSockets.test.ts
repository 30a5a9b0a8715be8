import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Layer, Stream } from "effect"
import type { Socket } from "node:net"
import { codeOf, type OriginError } from "../../../../src/domain/OriginError.ts"
import { OriginConfig, type OriginOptions } from "../../../../src/services/config/OriginConfig.ts"
import { Origin, type OriginRequest } from "../../../../src/services/origin/Origin.ts"
import { makeRawOrigin, type RawRequest, response } from "../../../support/RawOrigin.ts"

const makeOrigin = (options: Partial<OriginOptions> = {}) =>
  Origin.layer.pipe(
    Layer.provide(OriginConfig.layer(options)),
    Layer.build,
    Effect.map(Context.get(Origin))
  )

const text = (body: Stream.Stream<Uint8Array, OriginError>) =>
  Effect.map(Stream.mkUint8Array(body), (bytes) => Buffer.from(bytes).toString("latin1"))

/** The whole answer to a request, which is a GET unless `more` says otherwise. */
const ask = (origin: Origin["Service"], url: string, more: Partial<OriginRequest> = {}) =>
  Effect.scoped(Effect.gen(function*() {
    const { body, headers, status } = yield* origin.request({ method: "GET", url, headers: {}, ...more })
    return { status, headers: { ...headers }, body: yield* text(body) }
  }))

const CONTINUE = "HTTP/1.1 100 Continue\r\n\r\n"
const HINTS = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nX-Early: 1\r\n\r\n"

/** Time for undici to put a connection among those that are kept. */
const settle = Effect.sleep(20)

describe("interim answers (RFC 9110 §15.2)", () => {
  it.live.each(["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PROPFIND"])(
    "are dropped before the answer to %s, and the connection is kept",
    (method) =>
      Effect.gen(function*() {
        const server = yield* makeRawOrigin(() =>
          CONTINUE + HINTS + CONTINUE + response(207, { "x-final": "1" }, method === "HEAD" ? "" : "hello")
        )
        const origin = yield* makeOrigin()
        for (let i = 0; i < 2; i++) {
          const answer = yield* ask(origin, server.url, { method })
          assert.strictEqual(answer.status, 207)
          assert.strictEqual(answer.body, method === "HEAD" ? "" : "hello")
          assert.strictEqual(answer.headers["x-final"], "1")
          assert.isUndefined(answer.headers["x-early"])
          yield* settle
        }
        // After the answer to HEAD, undici closes the connection.
        assert.strictEqual(server.connections(), method === "HEAD" ? 2 : 1)
      })
  )

  it.live("are dropped before and behind the body of a request, which is sent once", () =>
    Effect.gen(function*() {
      const server = yield* makeRawOrigin(
        () => CONTINUE,
        ({ body }) => body.length === 5 ? CONTINUE + response(201, {}, "done") : undefined
      )
      const origin = yield* makeOrigin()
      const body = Stream.make(Buffer.from("hello"))
      const answer = yield* ask(origin, server.url, { method: "POST", headers: { "content-length": "5" }, body })
      assert.deepStrictEqual([answer.status, answer.body], [201, "done"])
      assert.strictEqual(server.requests.length, 1)
    }))

  it.live("are dropped before a 206, a 304 and a redirect, and when they come byte by byte", () =>
    Effect.gen(function*() {
      const server = yield* makeRawOrigin(({ socket, target }) => {
        const final = target === "/part"
          ? response(206, { "content-range": "bytes 0-1/9" }, "he")
          : target === "/same"
          ? "HTTP/1.1 304 Not Modified\r\netag: \"1\"\r\n\r\n"
          : target === "/moved"
          ? response(302, { location: "/part" })
          : response(200, {}, CONTINUE)
        if (target !== "/slow") return CONTINUE + final
        socket.setNoDelay(true)
        const bytes = [...CONTINUE + final]
        const timer = setInterval(() => bytes.length === 0 ? clearInterval(timer) : socket.write(bytes.shift()!), 1)
      })
      const origin = yield* makeOrigin()
      const statuses = yield* Effect.forEach(
        ["/part", "/same", "/moved", "/whole", "/slow"],
        (path) => Effect.map(ask(origin, server.url + path), ({ body, status }) => [status, body])
      )
      // A body may look like an interim answer.
      assert.deepStrictEqual(statuses, [[206, "he"], [304, ""], [206, "he"], [200, CONTINUE], [200, CONTINUE]])
    }))
})

describe("a connection that the origin closes as idle, just when a request reaches it", () => {
  /** Answers the first request of each connection, and does to the second what `how` says. */
  const closing = (how: (socket: Socket, request: RawRequest) => void) => {
    const seen = new WeakSet<Socket>()
    return makeRawOrigin((request) => {
      if (seen.has(request.socket)) return how(request.socket, request)
      seen.add(request.socket)
      return response(200, {}, "hello")
    })
  }

  const ways: ReadonlyArray<readonly [string, (socket: Socket) => void]> = [
    ["FIN", (socket) => void socket.end()],
    ["RST", (socket) => void socket.resetAndDestroy()]
  ]

  it.live.each(["GET", "HEAD", "OPTIONS", "PROPFIND", "PUT", "DELETE"])(
    "costs nothing but a connection: %s is sent again",
    (method) =>
      Effect.gen(function*() {
        for (const [, how] of ways) {
          const server = yield* closing(how)
          const origin = yield* makeOrigin()
          yield* ask(origin, server.url)
          yield* settle
          assert.strictEqual((yield* ask(origin, server.url, { method })).status, 200)
          assert.strictEqual(server.requests.length, 3)
          assert.strictEqual(server.connections(), 2)
        }
      })
  )

  it.live("also costs nothing when all kept connections are closed so", () =>
    Effect.gen(function*() {
      const server = yield* closing((socket) => void socket.destroy())
      const origin = yield* makeOrigin()
      yield* Effect.forEach(Array(5), () => ask(origin, server.url), { concurrency: 5 })
      yield* settle
      const answers = yield* Effect.forEach(Array(5), () => ask(origin, server.url), { concurrency: 5 })
      assert.deepStrictEqual(answers.map(({ status }) => status), [200, 200, 200, 200, 200])
    }))

  it.live.each(
    [
      ["POST", false],
      ["PATCH", false],
      ["LOCK", false],
      ["PUT", true]
    ] as const
  )("fails %s, which may have been done, with a body: %s", ([method, hasBody]) =>
    Effect.gen(function*() {
      for (const [, how] of ways) {
        const server = yield* closing(how)
        const origin = yield* makeOrigin()
        yield* ask(origin, server.url)
        yield* settle
        const body = hasBody ? { body: Stream.make(Buffer.from("x")), headers: { "content-length": "1" } } : {}
        const error = yield* Effect.flip(ask(origin, server.url, { method, ...body }))
        assert.strictEqual(error._tag, "OriginUnreachable")
        assert.strictEqual(server.requests.length, 2)
      }
    }))

  it.live("fails a GET when the answer had begun, or the connection was new", () =>
    Effect.gen(function*() {
      const begun = yield* closing((socket) => void socket.end("HTTP/1.1 2"))
      const interim = yield* closing((socket) => void socket.end(CONTINUE))
      for (const server of [begun, interim]) {
        const origin = yield* makeOrigin()
        yield* ask(origin, server.url)
        yield* settle
        assert.strictEqual(codeOf(yield* Effect.flip(ask(origin, server.url))), "CLOSED")
        assert.strictEqual(server.requests.length, 2)
      }
      const fresh = yield* makeRawOrigin(({ socket }) => void socket.end())
      yield* Effect.flip(ask(yield* makeOrigin(), fresh.url))
      assert.strictEqual(fresh.requests.length, 1)
    }))

  it.live("is not used a third time: the second answer to a request counts", () =>
    Effect.gen(function*() {
      let isUp = true
      const server = yield* makeRawOrigin(({ socket }) => isUp ? response(200) : void socket.end())
      const origin = yield* makeOrigin()
      yield* ask(origin, server.url)
      yield* settle
      isUp = false
      yield* Effect.flip(ask(origin, server.url))
      assert.strictEqual(server.requests.length, 3)
    }))
})

describe("an answer", () => {
  it.live("that is an event stream may be silent in its body for as long as it likes", () =>
    Effect.gen(function*() {
      const server = yield* makeRawOrigin(({ socket, target }) => {
        socket.write(
          `HTTP/1.1 200 OK\r\ncontent-type: ${target === "/events" ? "Text/Event-Stream; a=b" : "a/b"}\r\n\r\n`
        )
        setTimeout(() => socket.end("data: x\n\n"), 300)
      })
      const origin = yield* makeOrigin({ silenceTimeout: 50 })
      assert.strictEqual((yield* ask(origin, `${server.url}/events`)).body, "data: x\n\n")
      assert.strictEqual((yield* Effect.flip(ask(origin, `${server.url}/other`)))._tag, "OriginTimeout")
    }))
})
