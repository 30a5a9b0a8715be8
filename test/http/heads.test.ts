import { assert, describe, it } from "@effect/vitest"
import { Effect, Logger } from "effect"
import { parseRoute, type Route } from "../../src/domain/Route.ts"
import { story } from "../support/cacheStatus.ts"
import { makeRawOrigin, type RawRequest } from "../support/RawOrigin.ts"
import { openRaw } from "./RawConnection.ts"
import { bytes, maxAge, SIZE, start } from "./Site.ts"
import { type Answer, layerPlainHttp, makeTestProxy } from "./TestProxy.ts"

/** The characters of these bytes of UTF-8, one for each byte, as Node reads and writes fields. */
const raw = (text: string): string => Buffer.from(text, "utf8").toString("latin1")

/** A proxy before an origin that answers by hand. */
const startBefore = Effect.fnUntraced(function*(
  answer: (request: RawRequest) => string | void,
  server?: typeof layerPlainHttp
) {
  const origin = yield* makeRawOrigin(answer)
  const routes = [parseRoute(origin.url) as Route]
  const { port } = yield* makeTestProxy({
    origins: { origins: { routes, urlHosts: [], allowPrivate: false } },
    ...(server !== undefined && { server })
  })
  return { origin, port }
})

/** The head of the answer to a request, its status line first, as it came. */
const headOf = Effect.fnUntraced(function*(port: number, method: string, path: string, ...fields: Array<string>) {
  const connection = yield* openRaw(port)
  connection.send([`${method} ${path} HTTP/1.1`, "Host: a", ...fields, "", ""].join("\r\n"))
  yield* connection.until(`the head of ${method} ${path}`, (received) => received.includes("\r\n\r\n"))
  return connection.received().split("\r\n\r\n")[0]!.split("\r\n")
}, Effect.scoped)

const named = (lines: ReadonlyArray<string>, name: string): ReadonlyArray<string> =>
  lines.filter((line) => line.toLowerCase().startsWith(`${name}:`)).map((line) => line.slice(name.length + 1).trim())

describe("the fields of an answer", () => {
  const disposition = raw("attachment; filename=\"Übung — 文書.pdf\"")
  const title = raw("naïve 🎬") + "\xe9"
  const odd = [`Content-Disposition: ${disposition}`, `X-Title: ${title}`]
  const kept = ["Cache-Control: max-age=60", "ETag: \"v1\""]
  const passed = ["Cache-Control: no-store"]

  /** Answers with the fields after or before the length. */
  const answered =
    (fields: ReadonlyArray<string>, lengthFirst: boolean) => ({ fields: conditions, method }: RawRequest) => {
      const isKnown = conditions["if-none-match"] !== undefined
      const length = "Content-Length: 4"
      const lines = isKnown ? fields : lengthFirst ? [length, ...fields] : [...fields, length]
      return `HTTP/1.1 ${isKnown ? 304 : 200} Fine\r\n${lines.join("\r\n")}\r\n\r\n${
        isKnown || method === "HEAD" ? "" : "body"
      }`
    }

  const ways: ReadonlyArray<readonly [string, ReadonlyArray<string>, boolean]> = [
    ["kept, behind the length", kept, true],
    ["kept, before the length", kept, false],
    ["passed on, behind the length", passed, true],
    ["passed on, before the length", passed, false]
  ]

  it.live.each(ways)("reach the viewer byte for byte: %s", ([, how, lengthFirst]) =>
    Effect.gen(function*() {
      const { port } = yield* startBefore(answered([...odd, ...how], lengthFirst))
      // The second of each may be a hit.
      for (const method of ["HEAD", "GET", "GET", "HEAD", "POST"]) {
        const head = yield* headOf(port, method, "/a")
        assert.include(head[0], "200", method)
        assert.deepStrictEqual(named(head, "content-disposition"), [disposition], method)
        assert.deepStrictEqual(named(head, "x-title"), [title], method)
      }
      if (how === kept) return
      const known = yield* headOf(port, "GET", "/a", "If-None-Match: \"v1\"")
      assert.deepStrictEqual(named(known, "content-disposition"), [disposition])
    }))

  it.live("reach the viewer byte for byte with an error, through the platform's server", () =>
    Effect.gen(function*() {
      const { port } = yield* startBefore(
        () => `HTTP/1.1 404 No\r\nContent-Length: 2\r\nCache-Control: max-age=9\r\n${odd.join("\r\n")}\r\n\r\nno`,
        layerPlainHttp
      )
      for (let i = 0; i < 2; i++) {
        const head = yield* headOf(port, "GET", "/none")
        assert.include(head[0], "404")
        assert.deepStrictEqual(named(head, "content-disposition"), [disposition])
      }
    }))

  it.live.each(["Cache-Control: no-store", "ETag: \"v1\"\r\nCache-Control: max-age=60"])(
    "have no Content-Type if the origin sent none: %s",
    (how) =>
      Effect.gen(function*() {
        const { port } = yield* startBefore(({ method, target }) => {
          const framing = target === "/chunks" ? "Transfer-Encoding: chunked" : "Content-Length: 4"
          const body = target === "/chunks" ? "4\r\nbody\r\n0\r\n\r\n" : "body"
          const status = target === "/refused" ? 403 : 200
          return `HTTP/1.1 ${status} Fine\r\n${framing}\r\n${how}\r\n\r\n${method === "HEAD" ? "" : body}`
        })
        for (const path of ["/a", "/a", "/chunks", "/refused"]) {
          for (const method of ["GET", "HEAD", "POST"]) {
            assert.deepStrictEqual(named(yield* headOf(port, method, path), "content-type"), [], `${method} ${path}`)
          }
        }
      })
  )
})

describe("an answer that cannot be passed on", () => {
  const heads = [
    "HTTP/1.1 999 Denied\r\nContent-Length: 2\r\n\r\nno",
    "HTTP/1.1 600 Odd\r\nContent-Length: 2\r\nCache-Control: max-age=60\r\n\r\nno",
    "HTTP/1.1 099 Odd\r\nContent-Length: 2\r\n\r\nno",
    "HTTP/1.1 000 Odd\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: other\r\n\r\n",
    "HTTP/1.1 200 Fine\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n",
    "HTTP/1.1 200 Fine\r\nTransfer-Encoding: chunked, chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n",
    "HTTP/1.1 200 Fine\r\nX-Odd: a\x01b\r\nContent-Length: 2\r\n\r\nno",
    "HTTP/1.1 200 Fine\r\nX Odd: a\r\nContent-Length: 2\r\n\r\nno"
  ]

  it.live.each(heads)("is reported as a failure of the origin: %j", (answer) =>
    Effect.gen(function*() {
      const { port } = yield* startBefore(() => answer)
      for (const method of ["GET", "HEAD", "POST"]) {
        const head = yield* headOf(port, method, "/a")
        assert.include(head[0], "502", method)
        assert.match(String(named(head, "cache-status")), /detail=ORIGIN_/, method)
      }
    }).pipe(Effect.provide(Logger.layer([]))))
})

describe("a body that breaks in the same packet as its head", () => {
  const chunked = "Transfer-Encoding: chunked"
  const bodies: ReadonlyArray<readonly [string, string, string]> = [
    ["a trailer that is none", chunked, "4\r\nbody\r\n0\r\nno trailer\x01\r\n\r\n"],
    ["a chunk longer than it said", chunked, "4\r\nbodybody"],
    ["a size that is none", chunked, "4\r\nbody\r\nxyz\r\n"],
    ["a size that is none at once", chunked, "xyz\r\n"],
    ["nothing of what was announced", "Content-Length: 10", ""],
    ["half of what was announced", "Content-Length: 10", "body"]
  ]

  it.live.each(bodies)("is reported as a failure of the origin: %s", ([, framing, body]) =>
    Effect.gen(function*() {
      const { port } = yield* startBefore(({ socket }) => {
        socket.end(`HTTP/1.1 200 Fine\r\nCache-Control: no-store\r\n${framing}\r\n\r\n${body}`)
      })
      for (const method of ["GET", "POST"]) {
        const head = yield* headOf(port, method, "/a")
        assert.include(head[0], "502", method)
        assert.match(String(named(head, "cache-status")), /detail=ORIGIN_/, method)
      }
    }).pipe(Effect.provide(Logger.layer([]))))
})

describe("the head of an answer", () => {
  const waiting: ReadonlyArray<readonly [string, string, string]> = [
    ["events", "GET", "Content-Type: text/event-stream\r\nCache-Control: no-cache\r\nTransfer-Encoding: chunked"],
    ["a length and no store", "GET", "Content-Length: 10\r\nCache-Control: no-store"],
    ["a body that ends with the connection", "GET", "Cache-Control: no-store"],
    ["the answer to a POST", "POST", "Content-Length: 10"]
  ]

  it.live.each(waiting)("does not wait for the body: %s", ([, method, fields]) =>
    Effect.gen(function*() {
      const { origin, port } = yield* startBefore(() => `HTTP/1.1 200 Fine\r\n${fields}\r\n\r\n`)
      const head = yield* headOf(port, method, "/a")
      assert.include(head[0], "200")
      assert.lengthOf(origin.requests, 1)
    }))
})

describe("an answer to HEAD", () => {
  /** Fields that are the same in each answer. */
  const stable = ({ headers }: Answer): Record<string, unknown> => {
    const { age: _, "cache-status": _1, connection: _2, date: _3, "keep-alive": _4, ...rest } = headers
    return rest
  }

  it.effect("has the fields of GET and no body, from the origin and from the cache (RFC 9110 §9.3.2)", () =>
    Effect.gen(function*() {
      const { ask, file, seen } = yield* start()
      file("/a")
      const cold = yield* ask("/a", { method: "HEAD" })
      const get = yield* ask("/a")
      const warm = yield* ask("/a", { method: "HEAD" })
      for (const head of [cold, warm]) {
        assert.strictEqual(head.status, 200)
        assert.strictEqual(head.body.length, 0)
        assert.strictEqual(head.headers["content-length"], String(SIZE))
        assert.deepStrictEqual(stable(head), stable(get))
      }
      assert.strictEqual(story(warm.headers), "spillway; hit")
      assert.deepStrictEqual(seen("/a").map(({ method }) => method), ["HEAD", "GET"])
    }))

  it.effect("has the fields of an error and the length of its body", () =>
    Effect.gen(function*() {
      const { answer, ask } = yield* start()
      answer("/a", () => ({ status: 403, headers: { "content-type": "text/plain" }, body: "no" }))
      const { body, headers, status } = yield* ask("/a", { method: "HEAD" })
      assert.strictEqual(status, 403)
      assert.strictEqual(headers["content-type"], "text/plain")
      assert.strictEqual(headers["content-length"], "2")
      assert.strictEqual(body.length, 0)
      assert.strictEqual((yield* ask("/missing", { method: "HEAD" })).status, 404)
    }))

  it.effect("has the origin's fields when the file is not stored", () =>
    Effect.gen(function*() {
      const { ask, file } = yield* start()
      file("/a", { headers: { "cache-control": "no-store" } })
      const { body, headers, status } = yield* ask("/a", { method: "HEAD" })
      assert.strictEqual(status, 200)
      assert.strictEqual(headers["content-length"], String(SIZE))
      assert.strictEqual(body.length, 0)
      assert.isTrue((yield* ask("/a")).body.equals(bytes))
    }))

  it.effect("without a length does not prevent the answer to GET from being stored", () =>
    Effect.gen(function*() {
      const { answer, ask } = yield* start()
      answer("/a", ({ method }) => ({
        headers: { ...maxAge(60), "etag": "\"v1\"", ...(method === "HEAD" && { "transfer-encoding": "chunked" }) },
        body: "abc"
      }))
      assert.strictEqual((yield* ask("/a", { method: "HEAD" })).status, 200)
      assert.strictEqual((yield* ask("/a")).body.toString(), "abc")
      assert.strictEqual(story((yield* ask("/a")).headers), "spillway; hit")
    }))
})
