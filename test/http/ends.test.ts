import { NodeHttpServer } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Scope, Stream } from "effect"
import { HttpMiddleware, HttpServerResponse } from "effect/http"
import { TestClock } from "effect/testing"
import type { ServerResponse } from "node:http"
import { connect, type Socket } from "node:net"
import { setTimeout } from "node:timers/promises"
import { GuardedServer } from "../../src/http/server/guardedServer.ts"
import * as Server from "../../src/http/server/Server.ts"
import { defaults, ServerConfig, type ServerOptions } from "../../src/services/config/ServerConfig.ts"
import { eventually } from "../support/Program.ts"
import { fileOf, MiB } from "../support/TestOrigin.ts"
import { makeTestProxy } from "./TestProxy.ts"

/** Real time, for what must not happen meanwhile. */
const pass = (millis: number) => Effect.promise(() => setTimeout(millis))

/** A viewer that notes how its connection ends. */
interface Witness {
  readonly socket: Socket
  readonly received: () => string
  /** `FIN`, or the code of the error. */
  readonly ending: Effect.Effect<string>
}

const witness = (port: number, text: string): Effect.Effect<Witness, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.sync(() => {
      let received = ""
      let ended: string | undefined
      const socket = connect({ port, host: "127.0.0.1" }, () => void socket.write(text))
      socket.on("data", (data) => received += data.toString("latin1"))
      socket.on("end", () => ended ??= "FIN")
      socket.on("error", (error: NodeJS.ErrnoException) => ended ??= error.code ?? error.message)
      return {
        socket,
        received: () => received,
        ending: Effect.suspend(() =>
          Effect.map(eventually("the end", Effect.sync(() => ended !== undefined)), () => ended!)
        )
      }
    }),
    ({ socket }) => Effect.sync(() => socket.destroy())
  )

const get = (path: string, version: string): string => `GET ${path} HTTP/${version}\r\nHost: a\r\n\r\n`

/** A proxy before an origin that begins a body without a length at `/torn`, and a function that gets that answer. */
const start = (limits: Partial<ServerOptions> = {}) =>
  Effect.gen(function*() {
    const proxy = yield* makeTestProxy({
      server: Server.layerNode({ host: "127.0.0.1", port: 0 }),
      origins: { silenceTimeout: 300 }
    })
    let begun: ServerResponse | undefined
    proxy.origin.handlers.set("/torn", (request, response) => {
      request.resume()
      response.writeHead(200, { "content-type": "text/plain" })
      response.write("the beginning")
      begun = response
    })
    return { ...proxy, begun: () => begun! }
  }).pipe(Effect.provide(ServerConfig.layer(limits)))

const begins = ({ received }: Witness) =>
  eventually("the first bytes", Effect.sync(() => received().includes("the beginning")))

/** It got the beginning, no sign of an end, and a reset. */
const assertTorn = Effect.fnUntraced(function*({ ending, received }: Witness) {
  assert.strictEqual(yield* ending, "ECONNRESET")
  assert.match(received(), /^HTTP\/1\.1 200 /)
  assert.notInclude(received(), "0\r\n\r\n")
})

describe.each(["1.0", "1.1"])("a body without a length, to a viewer who speaks HTTP/%s,", (version) => {
  it.live("ends in a reset when the origin cuts it", () =>
    Effect.gen(function*() {
      const { begun, port } = yield* start()
      const viewer = yield* witness(port, get("/torn", version))
      yield* begins(viewer)
      begun().socket!.resetAndDestroy()
      yield* assertTorn(viewer)
    }))

  it.live("ends in a reset when the origin ends the connection in the middle of a chunk", () =>
    Effect.gen(function*() {
      const { begun, port } = yield* start()
      const viewer = yield* witness(port, get("/torn", version))
      yield* begins(viewer)
      begun().socket!.end("400\r\nnot 1024 bytes")
      yield* assertTorn(viewer)
    }))

  it.live("ends in a reset when the origin goes silent", () =>
    Effect.gen(function*() {
      const { port } = yield* start()
      const viewer = yield* witness(port, get("/torn", version))
      yield* begins(viewer)
      yield* assertTorn(viewer)
    }))

  it.live("ends in a reset when its viewer reads nothing for too long", () =>
    Effect.gen(function*() {
      const { begun, port } = yield* start({ idleTimeout: 300 })
      const viewer = yield* witness(port, get("/torn", version))
      yield* begins(viewer)
      viewer.socket.pause()
      const fill = () => {
        while (!begun().destroyed && begun().write("x".repeat(65_536)));
      }
      begun().on("drain", fill)
      fill()
      yield* eventually("the transfer to be given up", Effect.sync(() => begun().destroyed))
      viewer.socket.resume()
      yield* assertTorn(viewer)
    }))

  it.live("ends in a reset when the server ends before it", () =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const proxy = yield* Scope.provide(makeTestProxy(), scope)
      proxy.origin.handlers.set("/torn", (_, response) => void response.write("the beginning"))
      const viewer = yield* witness(proxy.port, get("/torn", version))
      yield* begins(viewer)
      yield* Scope.close(scope, Exit.void)
      yield* assertTorn(viewer)
    }))

  it.live("ends in a reset after a defect of the handler", () =>
    Effect.gen(function*() {
      const watcher = { onConnections: () => {}, onSurplus: () => {}, onDefect: () => {}, onAnswered: undefined }
      const node = new GuardedServer(defaults, watcher)
      const listen = { port: 0, host: "127.0.0.1", disablePreemptiveShutdown: true }
      const server = yield* NodeHttpServer.make(() => node, listen)
      const bytes = Stream.make(Buffer.from("the beginning"))
      const body = Stream.concat(bytes, Stream.fromEffect(Effect.andThen(Effect.sleep("50 millis"), Effect.die("oh"))))
      yield* server.serve(Effect.succeed(HttpServerResponse.stream(body))).pipe(
        Effect.provideService(HttpMiddleware.TracerDisabledWhen, () => true)
      )
      const { port } = node.address() as { readonly port: number }
      yield* assertTorn(yield* witness(port, get("/", version)))
    }))

  it.live("ends normally when it is whole, however slowly it is read", () =>
    Effect.gen(function*() {
      const { origin, port } = yield* start()
      const size = 4 * MiB
      origin.handlers.set("/whole", (_, response) => {
        response.write("#".repeat(size / 2))
        response.end("#".repeat(size / 2))
      })
      const viewer = yield* witness(port, `GET /whole HTTP/${version}\r\nHost: a\r\nConnection: close\r\n\r\n`)
      yield* eventually("the first bytes", Effect.sync(() => viewer.received() !== ""))
      viewer.socket.pause()
      yield* Effect.sleep("300 millis")
      viewer.socket.resume()
      assert.strictEqual(yield* viewer.ending, "FIN")
      assert.strictEqual(viewer.received().split("#").length - 1, size)
    }))
})

describe("a body without a length", () => {
  it.live("ends in a reset when the upload it answers turns out to be malformed", () =>
    Effect.gen(function*() {
      const { port } = yield* start()
      const head = "POST /torn HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"
      const viewer = yield* witness(port, head)
      yield* begins(viewer)
      viewer.socket.write("no chunk\r\n")
      yield* assertTorn(viewer)
    }))

  it.live("ends in a reset when its viewer pipelines too many requests", () =>
    Effect.gen(function*() {
      const { port } = yield* start()
      const viewer = yield* witness(port, get("/torn", "1.1"))
      yield* begins(viewer)
      viewer.socket.write(get("/more", "1.1").repeat(400))
      yield* assertTorn(viewer)
    }))

  it.live("arrives whole when it is sent in many pieces, to a request for a range as well", () =>
    Effect.gen(function*() {
      const { ask, origin } = yield* start()
      const { bytes } = fileOf(329_000, 1)
      origin.handlers.set("/pieces", (_, response) => {
        const send = (offset: number): void => {
          if (offset >= bytes.length) return void response.end()
          response.write(bytes.subarray(offset, offset + 10_007), () => send(offset + 10_007))
        }
        send(0)
      })
      const { body, headers, status } = yield* ask("/pieces", { headers: { range: "bytes=5-9" } })
      assert.strictEqual(status, 200)
      assert.strictEqual(headers["transfer-encoding"], "chunked")
      assert.isTrue(body.equals(bytes))
    }))

  it.live("is not read on when its viewer has left", () =>
    Effect.gen(function*() {
      const { origin, port } = yield* makeTestProxy()
      origin.handlers.set("/begun", (_, response) => void response.write("the beginning"))
      const viewer = yield* witness(port, get("/begun", "1.1"))
      yield* begins(viewer)
      assert.isFalse(origin.requests[0]!.aborted)
      viewer.socket.destroy()
      yield* eventually("the end of the transfer", Effect.sync(() => origin.requests[0]!.aborted))
    }))
})

describe("a body with a length", () => {
  it.live("is cut by a normal end, so that its viewer gets every byte sent", () =>
    Effect.gen(function*() {
      const { origin, port } = yield* start()
      origin.handlers.set("/short", (_, response) => {
        response.writeHead(200, { "content-length": 100_000, "cache-control": "no-store" })
        response.write("#".repeat(50_000))
        void setTimeout(100).then(() => response.destroy())
      })
      const viewer = yield* witness(port, get("/short", "1.1"))
      assert.strictEqual(yield* viewer.ending, "FIN")
      assert.strictEqual(viewer.received().split("#").length - 1, 50_000)
    }))
})

describe("the end of the server", () => {
  it.effect(
    "waits ten seconds for a viewer who does not read its answer",
    () =>
      Effect.gen(function*() {
        const scope = yield* Scope.make()
        const { origin, port } = yield* Scope.provide(start(), scope)
        origin.files.set("/a", fileOf(200_000, 1))
        const viewer = yield* witness(port, get("/a", "1.1"))
        yield* eventually("a hit", Effect.sync(() => viewer.received().length > 200_000))
        viewer.socket.pause()
        // More than the sockets take.
        for (let i = 0; i < 8; i++) {
          viewer.socket.write(get("/a", "1.1").repeat(8))
          yield* pass(50)
        }
        const end = yield* Effect.forkChild(Scope.close(scope, Exit.void))
        yield* TestClock.adjust("9999 millis")
        yield* pass(50)
        assert.isUndefined(end.pollUnsafe())
        yield* TestClock.adjust("1 milli")
        yield* Fiber.join(end)
      })
  )
})

describe("a defect in a listener", () => {
  it.live("ends only its own connection, and is reported", () =>
    Effect.gen(function*() {
      const told: Array<string> = []
      const node = new GuardedServer(defaults, {
        onConnections: () => {},
        onSurplus: () => {},
        onAnswered: undefined,
        onDefect: (event, defect) => told.push(`${event}: ${String(defect)}`)
      })
      node.on("request", (request, response) => {
        if (request.url === "/defect") throw "a defect"
        response.end("well")
      })
      yield* Effect.acquireRelease(
        Effect.callback<void>((resume) => void node.listen(0, "127.0.0.1", () => resume(Effect.void))),
        () => Effect.sync(() => node.close())
      )
      const { port } = node.address() as { readonly port: number }
      const other = yield* witness(port, "")
      const viewer = yield* witness(port, get("/defect", "1.1"))
      assert.strictEqual(yield* viewer.ending, "FIN")
      assert.strictEqual(viewer.received(), "")
      other.socket.write(get("/", "1.0"))
      yield* other.ending
      assert.match(other.received(), /well$/)
      assert.deepStrictEqual(told, ["request: a defect"])
    }))

  it.live("in an immediate answer makes the listeners answer instead", () =>
    Effect.gen(function*() {
      const watcher = { onConnections: () => {}, onSurplus: () => {}, onDefect: () => {}, onAnswered: undefined }
      const odd = { status: 200, fields: ["x-odd", "\u0100"], body: [], cacheStatus: { hit: true } }
      const node = new GuardedServer(defaults, watcher, () => odd)
      node.on("request", (_, response) => response.writeHead(502).end())
      yield* Effect.acquireRelease(
        Effect.callback<void>((resume) => void node.listen(0, "127.0.0.1", () => resume(Effect.void))),
        () => Effect.sync(() => node.close())
      )
      const { port } = node.address() as { readonly port: number }
      const viewer = yield* witness(port, get("/", "1.0"))
      yield* viewer.ending
      assert.match(viewer.received(), /^HTTP\/1\.1 502 /)
    }))
})
