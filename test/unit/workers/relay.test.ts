import { NodeHttpServer } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { HttpMiddleware, HttpServerRequest } from "effect/http"
import { createServer, type RequestListener } from "node:http"
import { createServer as createRawServer, type Server, type Socket } from "node:net"
import { join } from "node:path"
import { GuardedServer } from "../../../src/http/server/guardedServer.ts"
import { defaults } from "../../../src/services/config/ServerConfig.ts"
import * as Relay from "../../../src/workers/relay.ts"
import { openRaw } from "../../http/RawConnection.ts"
import { ask, exchange } from "../../http/TestProxy.ts"
import { temporaryDirectory } from "../../support/disks.ts"
import { eventually } from "../../support/Program.ts"

const listenAt = (server: Server, path: string) =>
  Effect.acquireRelease(
    Effect.callback<void>((resume) => void server.listen(path, () => resume(Effect.void))),
    () => Effect.sync(() => server.close())
  )

/** A server whose every request is relayed to `owner`. */
const makeRelay = Effect.fnUntraced(function*(owner: Server) {
  const path = join(yield* temporaryDirectory, "owner")
  yield* listenAt(owner, path)
  const sockets = new Set<Socket>()
  let isSilent = false
  const link = { hold: (socket: Socket) => (sockets.add(socket), socket), isSilent: () => isSilent }
  const relay = Relay.make(path, link, () => {})
  /** The statuses of the answers that the worker logs itself. */
  const logged: Array<number> = []
  const node = new GuardedServer(defaults, {
    onConnections: () => {},
    onSurplus: () => {},
    onDefect: () => {},
    onAnswered: ({ isRelayed, statusCode }) => void (isRelayed || logged.push(statusCode))
  })
  const server = yield* NodeHttpServer.make(() => node, { port: 0, host: "127.0.0.1", disablePreemptiveShutdown: true })
  yield* server.serve(
    Effect.flatMap(
      HttpServerRequest.HttpServerRequest,
      (request) => Effect.map(relay(request), ({ response }) => response)
    )
  ).pipe(
    Effect.provideService(HttpMiddleware.TracerDisabledWhen, () => true)
  )
  yield* Effect.addFinalizer(() => Effect.sync(() => node.closeAllConnections()))
  const { port } = node.address() as { readonly port: number }
  return {
    port,
    logged,
    url: `http://127.0.0.1:${port}`,
    fallSilent: () => {
      isSilent = true
      for (const socket of sockets) socket.destroy()
    }
  }
})

/** An owner that answers with Node's own server. */
const answering = (listener: RequestListener) => makeRelay(createServer(listener))

/** An owner that answers each connection byte by byte. */
const saying = (listener: (socket: Socket) => void) =>
  makeRelay(createRawServer((socket) => {
    socket.on("error", () => {})
    socket.once("data", () => listener(socket))
  }))

const get = (path: string, version = "1.1") => `GET ${path} HTTP/${version}\r\nHost: a\r\nConnection: close\r\n\r\n`

describe("another protocol", () => {
  /** An owner that greets in it, and answers after the viewer's end. */
  const owner = Effect.suspend(() => {
    const offered: Array<unknown> = []
    const server = createServer((_, response) => response.end("plain"))
    server.on("upgrade", ({ headers, url }, socket: Socket) => {
      offered.push([url, headers.upgrade, headers.connection, headers["x-own"]])
      if (url === "/refused") return void socket.end("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
      socket.write("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: raw\r\nX-Own: 2\r\n\r\nhello ")
      let got = ""
      socket.on("data", (data) => got += data.toString())
      socket.on("end", () => socket.end(`to ${got}`))
      socket.on("error", () => {})
    })
    return Effect.map(makeRelay(server), (relay) => ({ ...relay, offered }))
  })

  const request = (protocol: string, path: string) =>
    `GET ${path} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: ${protocol}\r\nX-Own: 1\r\n\r\n`

  it.live("is relayed in both directions, and each side may end before the other", () =>
    Effect.gen(function*() {
      const { logged, offered, port } = yield* owner
      const viewer = yield* openRaw(port)
      viewer.send(request("raw", "/raw"))
      yield* viewer.until("the greeting", (received) => received.endsWith("\r\n\r\nhello "))
      assert.match(viewer.received(), /^HTTP\/1\.1 101 [^]*\r\nX-Own: 2\r\n/)
      viewer.socket.end("you")
      yield* viewer.closed
      assert.match(viewer.received(), /hello to you$/)
      assert.deepStrictEqual(offered, [["/raw", "raw", "Upgrade", "1"]])
      assert.deepStrictEqual(logged, [])
    }))

  it.live("is refused as the owner refuses it", () =>
    Effect.gen(function*() {
      const { port } = yield* owner
      const viewer = yield* openRaw(port)
      viewer.send(request("websocket", "/refused"))
      yield* viewer.closed
      assert.match(viewer.received(), /^HTTP\/1\.1 403 [^]*\r\n\r\nno$/)
    }))

  it.live("ends when the owner falls silent", () =>
    Effect.gen(function*() {
      const { fallSilent, port } = yield* owner
      const viewer = yield* openRaw(port)
      viewer.send(request("raw", "/raw"))
      yield* viewer.until("the greeting", (received) => received.endsWith("hello "))
      fallSilent()
      yield* viewer.closed
    }))
})

describe("a viewer of the relay who leaves", () => {
  it.live.each([
    ["GET", ""],
    ["HEAD", ""],
    ["POST", "Content-Length: 1000\r\n"],
    ["PUT", "Transfer-Encoding: chunked\r\n"]
  ])("before the owner answers %s ends nothing but its own request", ([method, fields]) =>
    Effect.gen(function*() {
      const answers: Array<() => void> = []
      let left = 0
      const { port, url } = yield* answering((request, response) => {
        if (request.url === "/alive") return void response.end("yes")
        response.on("close", () => left += 1)
        request.on("error", () => {})
        answers.push(() => response.end("too late"))
      })
      const count = 20
      for (let i = 0; i < count; i++) {
        const viewer = yield* openRaw(port)
        viewer.send(`${method} /late HTTP/1.1\r\nHost: a\r\n${fields}\r\n${method === "PUT" ? "5\r\nab" : ""}`)
        yield* eventually("the request", Effect.sync(() => answers.length > i))
        // Some leave just before the answer, others just after.
        if (i % 2 === 0) viewer.socket.resetAndDestroy()
        answers[i]!()
        if (i % 2 === 1) viewer.socket.resetAndDestroy()
      }
      yield* eventually("the owner to be left", Effect.sync(() => left === count))
      assert.strictEqual((yield* ask(url, "/alive")).body.toString(), "yes")
    }))

  it.live("leaves the owner, which has not answered yet", () =>
    Effect.gen(function*() {
      let state = "none"
      const { logged, port } = yield* answering((_, response) => {
        state = "open"
        response.on("close", () => state = "closed")
      })
      const viewer = yield* openRaw(port)
      viewer.send(get("/never"))
      yield* eventually("the request", Effect.sync(() => state === "open"))
      viewer.socket.resetAndDestroy()
      yield* eventually("its end", Effect.sync(() => state === "closed"))
      // The owner logs it.
      assert.deepStrictEqual(logged, [])
    }))
})

describe("a request that is relayed", () => {
  it.live("has a Host, though an HTTP/1.0 viewer sends none", () =>
    Effect.gen(function*() {
      const { port } = yield* answering((request, response) => response.end(JSON.stringify(request.headers.host)))
      assert.match(yield* exchange(port, "GET / HTTP/1.0\r\n\r\n"), /\r\n\r\n""$/)
      assert.match(yield* exchange(port, get("/", "1.0")), /\r\n\r\n"a"$/)
    }))
})

describe("a body that is relayed", () => {
  it.live.each([
    ["POST", "Content-Length: 5", "hello"],
    ["POST", "Transfer-Encoding: chunked", "5\r\nhello\r\n0\r\n\r\n"],
    ["GET", "Content-Length: 5", "hello"],
    ["GET", "Connection: content-length\r\nContent-Length: 5", "hello"],
    ["DELETE", "Connection: keep-alive, content-length\r\nContent-Length: 5", "hello"],
    ["PUT", "Connection: transfer-encoding\r\nTransfer-Encoding: chunked", "5\r\nhello\r\n0\r\n\r\n"],
    ["PUT", "X-Odd: content-length\r\nTransfer-Encoding: chunked", "5\r\nhello\r\n0\r\n\r\n"]
  ])("is the body of its own request, of %s with %s", ([method, fields, body]) =>
    Effect.gen(function*() {
      const seen: Array<string> = []
      const { port } = yield* answering((request, response) => {
        let text = ""
        request.on("data", (data: Buffer) => text += data.toString())
        request.on("end", () => {
          seen.push(`${request.method} ${request.url} ${text}`)
          response.end("done")
        })
      })
      const request = `${method} / HTTP/1.1\r\nHost: a\r\n${fields}\r\n\r\n${body}`
      assert.match(yield* exchange(port, request + get("/next")), /done[^]*done/)
      assert.deepStrictEqual(seen, [`${method} / hello`, "GET /next "])
    }))
})

describe("an answer of the owner", () => {
  it.live("that Node refuses to send is a 502", () =>
    Effect.gen(function*() {
      const { url } = yield* saying((socket) => socket.end("HTTP/1.1 099 Odd\r\nContent-Length: 2\r\n\r\nok"))
      const { headers, status } = yield* ask(url, "/odd")
      assert.strictEqual(status, 502)
      assert.strictEqual(headers["cache-status"], "spillway; fwd=miss; detail=ORIGIN_UNEXPECTED")
      assert.strictEqual((yield* ask(url, "/odd")).status, 502)
    }))

  it.live("passes byte for byte, with a file name in UTF-8 behind its length", () =>
    Effect.gen(function*() {
      const name = Buffer.from("attachment; filename=\"наташа.mp4\"").toString("latin1")
      const head = `HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Disposition: ${name}\r\nX-Odd: \xe9\r\n\r\n`
      const { port } = yield* saying((socket) => socket.end(`${head}ok`, "latin1"))
      const received = yield* exchange(port, get("/named"))
      assert.include(received, `\r\nContent-Disposition: ${name}\r\n`)
      assert.include(received, "\r\nX-Odd: \xe9\r\n")
      assert.match(received, /\r\ncontent-length: 2\r\n/i)
      assert.match(received, /\r\n\r\nok$/)
    }))

  it.live("is to a request without the fields that Connection lists, Content-Length among them", () =>
    Effect.gen(function*() {
      const { port } = yield* answering((request, response) => {
        const parts: Array<Buffer> = []
        request.on("data", (part: Buffer) => parts.push(part)).on("end", () => {
          const { "content-length": length, "transfer-encoding": coding, "x-a": own } = request.headers
          response.end(JSON.stringify([length, coding, own, Buffer.concat(parts).toString()]))
        })
      })
      const received = yield* exchange(
        port,
        "POST / HTTP/1.1\r\nHost: a\r\nConnection: close, content-length, x-a\r\nX-A: 1\r\nContent-Length: 3\r\n\r\nabc"
      )
      assert.include(received, JSON.stringify([null, "chunked", null, "abc"]))
    }))

  it.live("that does not come is a 503", () =>
    Effect.gen(function*() {
      const { url } = yield* saying((socket) => socket.destroy())
      const { headers, status } = yield* ask(url, "/gone")
      assert.strictEqual(status, 503)
      assert.strictEqual(headers["retry-after"], "1")
      assert.strictEqual(headers["cache-status"], "spillway; fwd=bypass; detail=OWNER_UNAVAILABLE")
    }))
})

describe("an owner that falls silent", () => {
  it.live("leaves nobody waiting, and what has begun without a length is reset", () =>
    Effect.gen(function*() {
      let asked = 0
      const { fallSilent, logged, port, url } = yield* answering((request, response) => {
        asked += 1
        if (request.url === "/begun") response.write("the beginning")
      })
      const waiting = yield* Effect.forkChild(ask(url, "/waiting"))
      const begun = yield* Effect.forEach(["1.0", "1.1"], (version) =>
        Effect.map(openRaw(port), (viewer) => {
          let ending = "none"
          viewer.socket.on("end", () => ending = "FIN").on("error", ({ message }) => ending = message)
          viewer.send(get("/begun", version))
          return { ...viewer, ending: () => ending }
        }))
      for (const viewer of begun) yield* viewer.until("it", (received) => received.includes("the beginning"))
      yield* eventually("the other", Effect.sync(() => asked === 3))
      fallSilent()
      assert.strictEqual((yield* Fiber.join(waiting)).status, 503)
      for (const viewer of begun) {
        yield* viewer.closed
        assert.match(viewer.ending(), /ECONNRESET/)
      }
      assert.strictEqual((yield* ask(url, "/later")).status, 503)
      assert.strictEqual(asked, 3)
      assert.deepStrictEqual(logged, [503, 503])
    }))
})
