import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { type ClientRequest, type IncomingMessage, request as httpRequest } from "node:http"
import { story } from "../support/cacheStatus.ts"
import { MiB, randomBytes, sha256 } from "../support/TestOrigin.ts"
import { bytes, makeGate, maxAge, start, until } from "./Site.ts"
import { exchange } from "./TestProxy.ts"

const BODY = randomBytes(4 * MiB, 5)

/** Opens a request whose body the caller writes. */
const open = (
  url: string,
  method: string,
  headers: Record<string, string> = {}
): { readonly request: ClientRequest; readonly response: Promise<IncomingMessage> } => {
  const request = httpRequest(url, { method, headers, agent: false })
  const response = new Promise<IncomingMessage>((resolve, reject) => {
    request.on("response", resolve)
    request.on("error", reject)
  })
  response.catch(() => {})
  return { request, response }
}

const bodyOf = async (message: IncomingMessage): Promise<Buffer> => {
  const parts: Array<Buffer> = []
  for await (const part of message) parts.push(part as Buffer)
  return Buffer.concat(parts)
}

describe("a method other than GET and HEAD", () => {
  it.effect.each(["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "QUERY", "MKCOL"])(
    "is passed to the origin with its fields and body, and so is its answer to the viewer: %s (RFC 9110 §9)",
    (method) =>
      Effect.gen(function*() {
        const { answer, ask, seen } = yield* start()
        answer("/a?b", ({ headers }) => ({
          status: 207,
          headers: {
            "content-type": "text/x",
            "x-own": "1",
            "set-cookie": ["a=1", "b=2"],
            "vary": "*",
            "etag": "W/\"1\"",
            "content-encoding": String(headers["accept-encoding"])
          },
          body: "answer"
        }))
        const answered = yield* ask("/a?b", {
          method,
          headers: {
            "content-type": "text/y",
            "cookie": "c=3",
            "authorization": "Basic YTpi",
            "if-match": "\"v1\"",
            "accept-encoding": "br",
            "x-own": "2"
          },
          body: "question"
        })
        assert.strictEqual(answered.status, 207)
        assert.strictEqual(answered.body.toString(), "answer")
        assert.strictEqual(answered.headers["content-type"], "text/x")
        assert.strictEqual(answered.headers["x-own"], "1")
        assert.strictEqual(answered.headers["content-encoding"], "br")
        assert.deepStrictEqual(answered.headers["set-cookie"], ["a=1", "b=2"])
        assert.strictEqual(story(answered.headers), "spillway; fwd=method")
        const [request] = seen("/a?b")
        assert.strictEqual(request!.method, method)
        for (
          const [name, value] of Object.entries({
            "content-type": "text/y",
            "content-length": "8",
            "cookie": "c=3",
            "authorization": "Basic YTpi",
            "if-match": "\"v1\"",
            "x-own": "2"
          })
        ) assert.strictEqual(request!.headers[name], value)
      })
  )

  it.effect("is never answered from the cache or stored (RFC 9111 §4)", () =>
    Effect.gen(function*() {
      const { answer, ask, file, seen } = yield* start()
      answer("/a", () => ({ headers: { ...maxAge(60), "etag": "\"v1\"" }, body: "posted" }))
      for (let i = 0; i < 2; i++) yield* ask("/a", { method: "POST", body: "a" })
      assert.strictEqual(seen("/a").length, 2)
      file("/a")
      assert.isTrue((yield* ask("/a")).body.equals(bytes))
    }))

  it.effect("streams its body to the origin as it comes, from a slow sender to a slow receiver", () =>
    Effect.gen(function*() {
      const { origin, url } = yield* start()
      let received = 0
      let whole: Buffer | undefined
      const hold = makeGate()
      origin.handlers.set("/a", (request, response) => {
        const parts: Array<Buffer> = []
        request.on("data", (data: Buffer) => {
          parts.push(data)
          received += data.length
          if (received >= 2 * MiB && !request.isPaused()) {
            request.pause()
            void hold.opened.then(() => request.resume())
          }
        })
        request.on("end", () => {
          whole = Buffer.concat(parts)
          response.writeHead(201, { "content-length": "0" }).end()
        })
      })
      const { request, response } = open(`${url}/a`, "PUT", { "content-length": String(BODY.length) })
      request.write(BODY.subarray(0, MiB))
      yield* until("the first part", () => received >= MiB)
      request.write(BODY.subarray(MiB, 3 * MiB))
      yield* until("the second part", () => received >= 2 * MiB)
      request.end(BODY.subarray(3 * MiB))
      hold.open()
      assert.strictEqual((yield* Effect.promise(() => response)).statusCode, 201)
      assert.strictEqual(sha256(whole!), sha256(BODY))
    }))

  it.effect("streams a body of no length", () =>
    Effect.gen(function*() {
      const { origin, seen, url } = yield* start()
      let whole: Buffer | undefined
      origin.handlers.set("/a", (request, response) => {
        void bodyOf(request).then((body) => {
          whole = body
          response.writeHead(200, { "content-length": "0" }).end()
        })
      })
      const { request, response } = open(`${url}/a`, "POST", { "transfer-encoding": "chunked" })
      request.write(BODY.subarray(0, MiB))
      request.end(BODY.subarray(MiB))
      assert.strictEqual((yield* Effect.promise(() => response)).statusCode, 200)
      assert.strictEqual(sha256(whole!), sha256(BODY))
      assert.strictEqual(seen("/a")[0]!.headers["transfer-encoding"], "chunked")
    }))

  it.effect("streams the answer as it comes, to a slow viewer", () =>
    Effect.gen(function*() {
      const { origin, url } = yield* start()
      const hold = makeGate()
      origin.handlers.set("/a", (request, response) => {
        request.resume()
        response.writeHead(200, { "content-type": "text/x" })
        response.write(BODY.subarray(0, MiB))
        void hold.opened.then(() => response.end(BODY.subarray(MiB)))
      })
      const { request, response } = open(`${url}/a`, "POST")
      request.end("a")
      const answered = yield* Effect.promise(() => response)
      let received = 0
      const parts: Array<Buffer> = []
      answered.on("data", (data: Buffer) => {
        parts.push(data)
        received += data.length
        // Slowly: a piece for each turn of the loop.
        answered.pause()
        setImmediate(() => answered.resume())
      })
      const ended = new Promise((resolve) => answered.on("end", resolve))
      yield* until("the first part", () => received === MiB)
      hold.open()
      yield* Effect.promise(() => ended)
      assert.strictEqual(sha256(Buffer.concat(parts)), sha256(BODY))
    }))

  it.effect("is aborted at the origin when its sender leaves", () =>
    Effect.gen(function*() {
      const { origin, seen, url } = yield* start()
      let received = 0
      let complete: boolean | undefined
      origin.handlers.set("/a", (request) => {
        request.on("data", (data: Buffer) => received += data.length)
        request.on("error", () => {})
        request.on("close", () => complete = request.complete)
      })
      const { request } = open(`${url}/a`, "PUT", { "content-length": String(BODY.length) })
      request.write(BODY.subarray(0, MiB))
      yield* until("the first part", () => received >= MiB)
      request.destroy()
      yield* until("the end", () => complete !== undefined)
      assert.isFalse(complete)
      assert.strictEqual(seen("/a").length, 1)
    }))

  it.effect("is refused if the origin refuses it (RFC 9110 §15.5.6)", () =>
    Effect.gen(function*() {
      const { answer, ask } = yield* start()
      answer("/a", () => ({ status: 405, headers: { ...maxAge(60), "allow": "GET, HEAD" }, body: "no" }))
      const { body, headers, status } = yield* ask("/a", { method: "PUT", body: "a" })
      assert.strictEqual(status, 405)
      assert.strictEqual(headers["allow"], "GET, HEAD")
      assert.strictEqual(body.toString(), "no")
    }))

  it.effect("is sent once, even if no answer comes (RFC 9110 §9.2.2)", () =>
    Effect.gen(function*() {
      const { ask, origin, seen } = yield* start()
      origin.handlers.set("/a", (request) => void request.socket.destroy())
      for (const options of [{ method: "POST", body: "a" }, { method: "DELETE" }]) {
        assert.strictEqual((yield* ask("/a", options)).status, 502)
      }
      assert.strictEqual(seen("/a").length, 2)
    }))

  it.effect.each([301, 302, 303, 307, 308])(
    "gets redirects passed on: %i (RFC 9110 §15.4)",
    (status) =>
      Effect.gen(function*() {
        const { answer, ask, seen } = yield* start()
        answer("/a", () => ({ status, headers: { location: "/b" } }))
        for (const options of [{ method: "DELETE" }, { method: "POST", body: "a" }]) {
          const answered = yield* ask("/a", options)
          assert.strictEqual(answered.status, status)
          assert.strictEqual(answered.headers["location"], "/b")
        }
        assert.strictEqual(seen("/b").length, 0)
      })
  )

  it.effect.each(["TRACE", "CONNECT"])("%s is refused (RFC 9110 §9.3.6, §9.3.8)", (method) =>
    Effect.gen(function*() {
      const { file, origin, port } = yield* start()
      file("/a")
      const target = method === "CONNECT" ? "127.0.0.1:443" : "/a"
      const received = yield* exchange(
        port,
        `${method} ${target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`,
        (socket) => void socket.end()
      )
      assert.match(received, /^HTTP\/1\.1 405 /)
      assert.strictEqual(origin.requests.length, 0)
    }))

  it.effect("OPTIONS is forwarded as Max-Forwards allows (RFC 9110 §7.6.2)", () =>
    Effect.gen(function*() {
      const { answer, ask, seen } = yield* start()
      answer("/a", ({ headers }) => ({ headers: { allow: "GET" }, body: `max-forwards: ${headers["max-forwards"]}` }))
      const options = (headers: Record<string, string>) => ask("/a", { method: "OPTIONS", headers })
      assert.strictEqual((yield* options({ "max-forwards": "2" })).body.toString(), "max-forwards: 1")
      const here = yield* options({ "max-forwards": "0" })
      assert.strictEqual(here.status, 204)
      assert.include(here.headers["allow"], "GET")
      assert.strictEqual((yield* options({})).body.toString(), "max-forwards: undefined")
      assert.strictEqual((yield* options({ "max-forwards": "x" })).body.toString(), "max-forwards: x")
      assert.strictEqual(seen("/a").length, 3)
    }))
})

describe("a message between viewer and origin", () => {
  const ofConnection = {
    "keep-alive": "timeout=5",
    "proxy-connection": "close",
    "te": "trailers",
    "proxy-authorization": "Basic YTpi",
    "x-hop": "1"
  }

  it.effect("has no hop-by-hop fields on the way to the origin (RFC 9110 §7.6.1)", () =>
    Effect.gen(function*() {
      const { answer, ask, file, seen } = yield* start()
      file("/a")
      answer("/b", () => ({ headers: { "cache-control": "no-store" } }))
      const headers = { ...ofConnection, "connection": "close, X-Hop", "x-own": "1" }
      yield* ask("/a", { headers })
      yield* ask("/b", { headers })
      yield* ask("/b", { method: "POST", headers, body: "a" })
      for (const seenRequest of [...seen("/a"), ...seen("/b")]) {
        for (const name of Object.keys(ofConnection)) assert.notProperty(seenRequest.headers, name)
        assert.strictEqual(seenRequest.headers["x-own"], "1")
        assert.notInclude(String(seenRequest.headers["connection"]), "X-Hop")
      }
    }))

  it.effect("has no hop-by-hop fields on the way to the viewer (RFC 9110 §7.6.1)", () =>
    Effect.gen(function*() {
      const { answer, ask } = yield* start()
      const headers = {
        "connection": "x-hop, close",
        "x-hop": "1",
        "keep-alive": "timeout=77",
        "proxy-authenticate": "Basic",
        "proxy-connection": "close",
        "upgrade": "h2c",
        "x-own": "1"
      }
      answer("/file", () => ({ headers: { ...headers, ...maxAge(60), "etag": "\"v1\"" }, body: "abc" }))
      answer("/none", () => ({ status: 404, headers: { ...headers, ...maxAge(60) }, body: "abc" }))
      answer("/private", () => ({ headers: { ...headers, "cache-control": "private" }, body: "abc" }))
      for (const path of ["/file", "/file", "/none", "/none", "/private"]) {
        const answered = yield* ask(path)
        for (const name of ["x-hop", "proxy-authenticate", "proxy-connection", "upgrade"]) {
          assert.notProperty(answered.headers, name, path)
        }
        assert.notStrictEqual(answered.headers["keep-alive"], "timeout=77")
        assert.strictEqual(answered.headers["x-own"], "1", path)
      }
      const posted = yield* ask("/private", { method: "POST", body: "a" })
      assert.notProperty(posted.headers, "x-hop")
    }))

  it.effect("has Spillway in its Via on the way to the origin (RFC 9110 §7.6.3)", () =>
    Effect.gen(function*() {
      const { ask, file, seen } = yield* start()
      file("/a")
      yield* ask("/a")
      yield* ask("/a", { method: "POST", headers: { via: "1.0 fred, 1.1 p.example" }, body: "a" })
      yield* ask("/b", { headers: { via: "2 edge" } })
      assert.deepStrictEqual([...seen("/a"), ...seen("/b")].map(({ headers }) => headers.via), [
        "1.1 spillway",
        "1.0 fred, 1.1 p.example, 1.1 spillway",
        "2 edge, 1.1 spillway"
      ])
    }))

  it.effect("has no Warning and one Age of another cache (RFC 9111 §5.1, §5.5)", () =>
    Effect.gen(function*() {
      const { ask, file } = yield* start()
      file("/a", { headers: { ...maxAge(60), "age": "5", "warning": "110 - \"stale\"" } })
      for (let i = 0; i < 2; i++) {
        const { headers, lines } = yield* ask("/a")
        assert.notProperty(headers, "warning")
        assert.deepStrictEqual(lines.filter(([name]) => name === "age"), [["age", "5"]])
      }
    }))

  it.effect.each(["GET", "HEAD", "PUT", "OPTIONS"])(
    "is complete after interim answers of the origin, of which 103 is passed on: %s (RFC 9110 §15.2, RFC 8297)",
    (method) =>
      Effect.gen(function*() {
        const { origin, port } = yield* start()
        const body = method === "HEAD" ? "" : "abc"
        for (const path of ["/a", "/b"]) {
          origin.handlers.set(path, (_, response) => {
            response.writeContinue()
            response.writeEarlyHints({ "link": ["</c>; rel=preload", "</d>; rel=preload"], "x-early": "1" })
            response.writeProcessing()
            const fields = path === "/a" ? { ...maxAge(60), "etag": "\"v1\"" } : { "cache-control": "no-store" }
            response.writeHead(200, { ...fields, "content-length": "3" }).end(body)
          })
          const head = `${method} ${path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`
          const received = yield* exchange(port, head)
          assert.match(
            received,
            /^HTTP\/1\.1 103 [^]*link: <\/c>; rel=preload, <\/d>; rel=preload\r\nx-early: 1\r\n\r\nHTTP\/1\.1 200 /i
          )
          assert.isTrue(received.endsWith(`\r\n\r\n${body}`))
          const old = yield* exchange(port, head.replace("1.1", "1.0").replace(path, `${path}?1`))
          assert.match(old, /^HTTP\/1\.1 \d+ [^]*/)
          assert.notInclude(old, " 103 ")
        }
      })
  )

  it.effect("gets hints of no other response on its connection (RFC 8297)", () =>
    Effect.gen(function*() {
      const { answer, origin, port } = yield* start()
      const gate = makeGate()
      answer("/slow", async () => {
        await gate.opened
        return { headers: { "cache-control": "no-store" }, body: "slow" }
      })
      origin.handlers.set("/a", (_, response) => {
        response.writeEarlyHints({ link: "</c>; rel=preload" })
        response.writeHead(200, { "cache-control": "no-store", "content-length": "3" }).end("abc")
        setTimeout(gate.open, 20)
      })
      const request = (path: string, more = "") => `GET ${path} HTTP/1.1\r\nHost: a\r\n${more}\r\n`
      const received = yield* exchange(port, request("/slow") + request("/a", "Connection: close\r\n"))
      assert.match(received, /^HTTP\/1\.1 200 [^]*slowHTTP\/1\.1 200 [^]*abc$/)
    }))

  it.effect("is sent again if it was lost with an idle connection (RFC 9110 §9.2.2)", () =>
    Effect.gen(function*() {
      const { ask, origin, seen } = yield* start()
      const served = new WeakSet<object>()
      origin.handlers.set("/a", (request, response) => {
        if (served.has(request.socket)) return void request.socket.destroy()
        served.add(request.socket)
        response.writeHead(200, { "cache-control": "no-store", "content-length": "3" }).end("abc")
      })
      for (let i = 0; i < 6; i++) assert.strictEqual((yield* ask("/a")).status, 200)
      assert.isAbove(seen("/a").length, 6)
    }))

  it.effect("with Expect gets a 100 (Continue) before its body (RFC 9110 §10.1.1)", () =>
    Effect.gen(function*() {
      const { origin, url } = yield* start()
      let seen: IncomingMessage["headers"] | undefined
      origin.handlers.set("/a", (request, response) => {
        seen = request.headers
        void bodyOf(request).then((body) => response.writeHead(200).end(String(body.length)))
      })
      const { request, response } = open(`${url}/a`, "PUT", { "expect": "100-continue", "content-length": "5" })
      request.on("continue", () => request.end("abcde"))
      request.flushHeaders()
      const answered = yield* Effect.promise(() => response)
      assert.strictEqual((yield* Effect.promise(() => bodyOf(answered))).toString(), "5")
      assert.notProperty(seen, "expect")
    }))

  it.effect("keeps its body without its trailers (RFC 9110 §6.5.1)", () =>
    Effect.gen(function*() {
      const { origin, port } = yield* start()
      origin.handlers.set("/a", (_, response) => {
        response.writeHead(200, { "trailer": "x-sum", "cache-control": "no-store" })
        response.write("abc")
        response.addTrailers({ "x-sum": "1" })
        response.end()
      })
      const received = yield* exchange(port, "GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
      assert.include(received, "abc")
      assert.notInclude(received.toLowerCase(), "x-sum")
      assert.isTrue(received.endsWith("\r\n0\r\n\r\n"))
    }))

  it.effect("has no body on the way to the origin if it is a GET (RFC 9110 §9.3.1)", () =>
    Effect.gen(function*() {
      const { answer, ask, file, seen } = yield* start()
      file("/a")
      answer("/b", () => ({ headers: { "cache-control": "no-store" }, body: "abc" }))
      for (const path of ["/a", "/b", "/b"]) {
        const { status } = yield* ask(path, { headers: { "content-type": "text/x" }, body: "a=1" })
        assert.strictEqual(status, 200, path)
      }
      for (const { headers } of [...seen("/a"), ...seen("/b")]) assert.notProperty(headers, "content-length")
    }))

  it.effect("has no traceparent on the way to the origin when no traces are exported", () =>
    Effect.gen(function*() {
      const { ask, file, seen } = yield* start()
      file("/a")
      yield* ask("/a")
      yield* ask("/a", { method: "POST", body: "a" })
      for (const { headers } of seen("/a")) assert.notProperty(headers, "traceparent")
    }))
})
