import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Scope } from "effect"
import { setTimeout } from "node:timers/promises"
import * as Server from "../../src/http/server/Server.ts"
import { ServerConfig, type ServerOptions } from "../../src/services/config/ServerConfig.ts"
import { eventually } from "../support/Program.ts"
import { fileOf, makeGate, MiB } from "../support/TestOrigin.ts"
import { openRaw, type RawConnection } from "./RawConnection.ts"
import { exchange, makeTestProxy } from "./TestProxy.ts"

const SIZE = 100_000

/** A proxy within `options`, before an origin with the files `/a` and `/large`. */
const start = (options: Partial<ServerOptions> = {}) =>
  Effect.gen(function*() {
    const proxy = yield* makeTestProxy({ server: Server.layerNode({ host: "127.0.0.1", port: 0 }) })
    proxy.origin.files.set("/a", fileOf(SIZE, 1))
    // More than sockets take on their own.
    proxy.origin.files.set("/large", fileOf(24 * MiB, 2))
    return proxy
  }).pipe(Effect.provide(ServerConfig.layer(options)))

const request = (target: string, ...fields: ReadonlyArray<string>): string =>
  [`GET ${target} HTTP/1.1`, "Host: localhost", ...fields, "", ""].join("\r\n")

const last = (target: string, ...fields: ReadonlyArray<string>): string =>
  request(target, "Connection: close", ...fields)

const statuses = (received: string): ReadonlyArray<number> =>
  [...received.matchAll(/HTTP\/1\.1 (\d{3}) /g)].map(([, status]) => Number(status))

const answered = (connection: RawConnection, count = 1) =>
  connection.until(`${count} answers`, (received) => statuses(received).length >= count)

/** Real time, for what must not happen meanwhile. */
const pass = (millis: number) => Effect.promise(() => setTimeout(millis))

describe("a viewer that stalls", () => {
  it.live("before the end of its header is answered 408 and cut, if it sends nothing or little at a time", () =>
    Effect.gen(function*() {
      const { port } = yield* start({ headerTimeout: 200 })
      const silent = yield* openRaw(port)
      const slow = yield* openRaw(port)
      const drip = yield* Effect.forkChild(Effect.gen(function*() {
        for (const character of request("/a", `X-Long: ${"a".repeat(1000)}`)) {
          slow.send(character)
          yield* pass(20)
        }
      }))
      yield* Effect.all([silent.closed, slow.closed])
      // Within the 20 s that its header takes.
      assert.isUndefined(drip.pollUnsafe())
      yield* Fiber.interrupt(drip)
      assert.deepStrictEqual([silent, slow].map(({ received }) => statuses(received())), [[408], [408]])
    }))

  it.live("while its answer is sent is cut", () =>
    Effect.gen(function*() {
      const { origin, port } = yield* start({ idleTimeout: 200 })
      const viewer = yield* openRaw(port)
      viewer.socket.pause()
      viewer.send(request("/large"))
      yield* eventually(
        "the transfer to be given up",
        Effect.sync(() => origin.requests.some(({ aborted }) => aborted))
      )
      viewer.socket.resume()
      yield* viewer.closed
      assert.isBelow(viewer.received().length, 24 * MiB)
    }))

  it.live("only briefly at a time gets its whole answer", () =>
    Effect.gen(function*() {
      const { port } = yield* start({ idleTimeout: 2000 })
      const viewer = yield* openRaw(port)
      viewer.send(last("/large"))
      while (!viewer.isClosed()) {
        viewer.socket.pause()
        yield* pass(400)
        viewer.socket.resume()
        yield* pass(10)
      }
      assert.isAbove(viewer.received().length, 24 * MiB)
    }))

  it.live("in the middle of its request body is cut", () =>
    Effect.gen(function*() {
      const { origin, port } = yield* start({ idleTimeout: 200 })
      origin.handlers.set("/never", () => {})
      const sender = yield* openRaw(port)
      sender.send(request("/never", "Content-Length: 1000") + "abc")
      yield* sender.closed
      assert.strictEqual(sender.received(), "")
    }))
})

describe("a viewer that is kept waiting", () => {
  it.live("by a slow origin is not cut", () =>
    Effect.gen(function*() {
      const { origin, port } = yield* start({ idleTimeout: 500 })
      const gate = makeGate()
      origin.files.set("/held", { ...fileOf(SIZE, 3), hold: { after: 50_000, until: gate.opened } })
      origin.handlers.set("/late", (_, response) => void setTimeout(1500).then(() => response.end("late")))
      const viewer = yield* openRaw(port)
      viewer.send(last("/held"))
      const late = yield* Effect.forkChild(exchange(port, last("/late")))
      yield* pass(1500)
      assert.isFalse(viewer.isClosed())
      yield* gate.open
      yield* viewer.closed
      assert.strictEqual(viewer.received().split("\r\n\r\n")[1]?.length, SIZE)
      assert.deepStrictEqual(statuses(yield* Fiber.join(late)), [200])
    }))

  it.live("by itself between two requests is not cut", () =>
    Effect.gen(function*() {
      const { port } = yield* start({ idleTimeout: 500, headerTimeout: 500 })
      const viewer = yield* openRaw(port)
      viewer.send(request("/a", "Range: bytes=0-0"))
      yield* answered(viewer)
      yield* pass(1500)
      viewer.send(request("/a", "Range: bytes=1-1"))
      yield* answered(viewer, 2)
    }))
})

/** Has `viewer` asked for more than sockets take, of what is handed over at once, and read nothing. */
const stuff = Effect.fnUntraced(function*(viewer: RawConnection) {
  viewer.send(request("/a"))
  yield* viewer.until("an answer", (received) => received.length > SIZE)
  viewer.socket.pause()
  for (let i = 0; i < 12; i++) {
    viewer.send(request("/a").repeat(16))
    yield* pass(20)
  }
})

/** Has `viewer` read on to the end of the connection, and sees that no answer was cut. */
const assertUncut = Effect.fnUntraced(function*(viewer: RawConnection) {
  viewer.socket.resume()
  yield* viewer.closed
  const answers = viewer.received().split("HTTP/1.1 200 OK\r\n").slice(1)
  assert.isAtLeast(answers.length, 16)
  for (const answer of answers) assert.strictEqual(answer.split("\r\n\r\n")[1]?.length, SIZE)
})

describe("connections", () => {
  /** Connections in the middle of an answer. */
  const busy = Effect.fnUntraced(function*(port: number, count: number) {
    const viewers: Array<RawConnection> = []
    for (let i = 0; i < count; i++) {
      const viewer = yield* openRaw(port)
      viewer.send(last("/held"))
      yield* answered(viewer)
      viewers.push(viewer)
    }
    return viewers
  })

  const full = Effect.gen(function*() {
    const proxy = yield* start({ maxConnections: 8 })
    const gate = makeGate()
    proxy.origin.files.set("/held", { ...fileOf(SIZE, 3), hold: { after: 50_000, until: gate.opened } })
    const viewers = yield* busy(proxy.port, 8)
    return { proxy, gate, viewers }
  })

  it.live("above the limit are answered 503, or not at all far above it", () =>
    Effect.gen(function*() {
      const { gate, proxy, viewers } = yield* full
      const ninth = yield* openRaw(proxy.port)
      const tenth = yield* openRaw(proxy.port)
      yield* tenth.closed
      assert.strictEqual(tenth.received(), "")
      ninth.send(request("/a") + request("/a"))
      yield* ninth.closed
      assert.deepStrictEqual(statuses(ninth.received()), [503])
      assert.match(ninth.received(), /\r\nretry-after: 1\r\n/i)
      assert.match(ninth.received(), /\r\nconnection: close\r\n/i)
      assert.match(ninth.received(), /\r\ncache-status: spillway; fwd=bypass; detail=OVERLOADED\r\n/i)
      yield* gate.open
      for (const viewer of viewers) {
        yield* viewer.closed
        assert.strictEqual(viewer.received().split("\r\n\r\n")[1]?.length, SIZE)
      }
      // The server may see their end later than they do.
      yield* eventually(
        "room",
        Effect.map(exchange(proxy.port, last("/a")), (received) => statuses(received)[0] === 200)
      )
    }))

  it.live("that are idle give way", () =>
    Effect.gen(function*() {
      const { port } = yield* start({ maxConnections: 4 })
      const viewers: Array<RawConnection> = []
      for (let i = 0; i < 6; i++) {
        const viewer = yield* openRaw(port)
        viewer.send(request("/a"))
        yield* viewer.until("an answer", (received) => received.length > SIZE)
        viewers.push(viewer)
      }
      yield* viewers[1]!.closed
      assert.deepStrictEqual(viewers.map((viewer) => viewer.isClosed()), [true, true, false, false, false, false])
      for (const viewer of viewers) assert.deepStrictEqual(statuses(viewer.received()), [200])
    }))

  it.live("do not give way while their first request arrives", () =>
    Effect.gen(function*() {
      const { port } = yield* start({ maxConnections: 1 })
      const viewer = yield* openRaw(port)
      const text = last("/a")
      viewer.send(text.slice(0, 20))
      yield* pass(50)
      assert.deepStrictEqual(statuses(yield* exchange(port, last("/a"))), [503])
      viewer.send(text.slice(20))
      yield* viewer.closed
      assert.deepStrictEqual(statuses(viewer.received()), [200])
    }))

  it.live("do not give way during a request", () =>
    Effect.gen(function*() {
      const { port } = yield* start({ maxConnections: 1 })
      const viewer = yield* openRaw(port)
      yield* stuff(viewer)
      assert.deepStrictEqual(statuses(yield* exchange(port, last("/a"))), [503])
      yield* assertUncut(viewer)
    }))
})

describe("input on one connection", () => {
  it.live("has at most 128 header lines", () =>
    Effect.gen(function*() {
      const { port } = yield* start()
      const withLines = (count: number) => last("/a", ...Array.from({ length: count - 2 }, (_, i) => `X-${i}: ${i}`))
      for (const [count, status] of [[128, 200], [129, 431], [200, 431], [1500, 431]] as const) {
        assert.deepStrictEqual(statuses(yield* exchange(port, withLines(count))), [status], String(count))
      }
    }))

  it.live("must name one host", () =>
    Effect.gen(function*() {
      const { port } = yield* start()
      const hosts: ReadonlyArray<readonly [string, number]> = [
        ["Host: localhost", 200],
        ["Host: media.example.org:8080", 200],
        ["Host: [::1]:80", 200],
        ["Host:", 200],
        ["Host: a%41.example", 200],
        ["Host: a b", 400],
        ["Host: a/b", 400],
        ["Host: user@a", 400],
        ["Host: a, b", 400],
        ["Host: a:80a", 400],
        ["Host: [::1", 400],
        ["Host: a\r\nHost: a", 400],
        ["Host: a\r\nHOST: b", 400],
        ["Host: a\r\nHost: b\r\nExpect: x", 400]
      ]
      for (const [host, status] of hosts) {
        const received = yield* exchange(port, `GET /a HTTP/1.1\r\n${host}\r\nConnection: close\r\n\r\n`)
        assert.deepStrictEqual(statuses(received), [status], host)
      }
    }))

  it.live("is answered in order, at most sixteen requests at a time", () =>
    Effect.gen(function*() {
      const { origin, port } = yield* start()
      const gate = makeGate()
      for (let i = 0; i < 40; i++) {
        origin.handlers.set(`/${i}`, (_, response) => void gate.opened.then(() => response.end(`answer ${i}.`)))
      }
      const viewer = yield* openRaw(port)
      viewer.send(Array.from({ length: 40 }, (_, i) => request(`/${i}`)).join(""))
      yield* eventually("the requests", Effect.sync(() => origin.requests.length >= 16))
      yield* pass(100)
      assert.strictEqual(origin.requests.length, 16)
      yield* gate.open
      yield* viewer.closed
      const answers = [...viewer.received().matchAll(/answer (\d+)\./g)].map(([, i]) => Number(i))
      assert.deepStrictEqual(answers, Array.from({ length: 16 }, (_, i) => i))
    }))

  it.live("is answered up to the sixteenth request if more is sent than read", () =>
    Effect.gen(function*() {
      const { port } = yield* start()
      const viewer = yield* openRaw(port)
      viewer.socket.pause()
      const part = request("/a", "Range: bytes=0-59999")
      for (let i = 0; i < 4; i++) {
        viewer.send(part.repeat(17))
        yield* pass(100)
      }
      viewer.socket.resume()
      yield* viewer.closed
      assert.strictEqual(statuses(viewer.received()).length, 16)
      assert.isAtLeast(viewer.received().length, 16 * 60_000)
    }))

  it.live("can be more than sixteen requests if they are answered at once", () =>
    Effect.gen(function*() {
      const { port } = yield* start()
      const viewer = yield* openRaw(port)
      for (let i = 0; i < 40; i++) {
        viewer.send(request("/a", `Range: bytes=${i}-${i}`))
        yield* answered(viewer, i + 1)
      }
      assert.isFalse(viewer.isClosed())
    }))

  it.live("can be a body that nobody reads, and the next request after it", () =>
    Effect.gen(function*() {
      const { port } = yield* start()
      const chunked = "3\r\nabc\r\n0\r\nX-Trailer: 1\r\n\r\n"
      const received = yield* exchange(
        port,
        request("/a", "Content-Length: 30", "Range: bytes=0-0") + "GET /b HTTP/1.1\r\nHost: x\r\n\r\n\r\n" +
          request("/a", "Transfer-Encoding: chunked", "Range: bytes=0-0") + chunked +
          request("/a", "Content-Length: 3").replace("GET", "HEAD") + "abc" +
          last("/a", "Range: bytes=0-0")
      )
      assert.deepStrictEqual(statuses(received), [206, 206, 200, 206])
    }))

  it.live("can be a body that waits for 100 (Continue), which is sent or refused", () =>
    Effect.gen(function*() {
      const { port } = yield* start()
      const fields = ["Expect: 100-continue", "Content-Length: 3"]
      // The answer needs no body, so that none is asked for, and what comes all the same is not taken for a request.
      const refused = yield* exchange(port, request("/a", ...fields) + "abc" + request("/a"))
      assert.deepStrictEqual(statuses(refused), [200])
      assert.match(refused, /\r\nconnection: close\r\n/i)
      assert.deepStrictEqual(statuses(yield* exchange(port, last("/a", "Expect: 200-ok"))), [417])
      assert.deepStrictEqual(statuses(yield* exchange(port, last("/a", "Expect: 100-continue"))), [200])
    }))
})

describe("pipelined requests", () => {
  /** An origin that answers `/late` when the gate opens. */
  const late = Effect.gen(function*() {
    const proxy = yield* start()
    const gate = makeGate()
    proxy.origin.handlers.set("/late", (_, response) => void gate.opened.then(() => response.end("late")))
    proxy.origin.files.set("/held", { ...fileOf(SIZE, 3), hold: { after: 50_000, until: gate.opened } })
    const viewer = yield* openRaw(proxy.port)
    const streams = Effect.map(
      proxy.ask("/_spillway/metrics", { headers: { host: "localhost" } }),
      ({ body }) => Number(/^spillway_streams (\d+)$/m.exec(body.toString())?.[1])
    )
    return { ...proxy, gate, viewer, streams }
  })

  it.live("are answered even if a later one is malformed", () =>
    Effect.gen(function*() {
      const { gate, viewer } = yield* late
      viewer.send(request("/late") + request("/missing"))
      yield* pass(50)
      viewer.send("nonsense\r\n\r\n")
      yield* pass(50)
      viewer.send("more nonsense\r\n\r\n")
      assert.isFalse(viewer.isClosed())
      yield* gate.open
      yield* viewer.closed
      assert.deepStrictEqual(statuses(viewer.received()), [200, 404, 400])
    }))

  it.live("are answered in order, also those with an unknown expectation", () =>
    Effect.gen(function*() {
      const { gate, viewer } = yield* late
      viewer.send(`${request("/late") + request("/a", "Expect: 200-ok")}nonsense\r\n\r\n`)
      yield* pass(100)
      yield* gate.open
      yield* viewer.closed
      assert.deepStrictEqual(statuses(viewer.received()), [200, 417, 400])
    }))

  it.live("end at once if more requests follow the last one", () =>
    Effect.gen(function*() {
      const { port, viewer } = yield* late
      viewer.send(request("/late").repeat(17 + 300))
      yield* viewer.closed
      const another = yield* openRaw(port)
      another.socket.setNoDelay()
      another.send(request("/late"))
      // A piece at a time is found malformed.
      for (let i = 0; i < 400 && !another.isClosed(); i++) {
        another.send("nonsense\r\n\r\n")
        yield* pass(2)
      }
      yield* another.closed
      assert.strictEqual(viewer.received() + another.received(), "")
    }))

  it.live("are answered once even if a body turns out to be malformed after the answer", () =>
    Effect.gen(function*() {
      const { viewer } = yield* late
      viewer.send(request("/a", "Range: bytes=0-0", "Transfer-Encoding: chunked") + "3\r\nabc")
      yield* answered(viewer)
      viewer.send("def\r\n")
      yield* viewer.closed
      assert.deepStrictEqual(statuses(viewer.received()), [206])
    }))

  it.live("are cut if the origin cuts them, also in the queue", () =>
    Effect.gen(function*() {
      const { gate, origin, viewer } = yield* late
      let cut = () => {}
      origin.handlers.set("/cut", (_, response) => {
        response.writeHead(200, { "content-length": "1000000", "cache-control": "no-store" }).write("a".repeat(100_000))
        cut = () => response.destroy()
      })
      viewer.send(request("/late") + request("/cut") + request("/a"))
      yield* eventually("the request", Effect.sync(() => origin.requests.some(({ url }) => url === "/cut")))
      yield* gate.open
      // The body has begun by then: earlier, the answer would be a 502.
      yield* viewer.until("the body", (received) => received.endsWith("aaa"))
      cut()
      yield* viewer.closed
      assert.strictEqual(statuses(viewer.received())[0], 200)
      assert.isAtMost(statuses(viewer.received()).length, 2)
      assert.notInclude(viewer.received(), "HTTP/1.1 206")
    }))

  it.live("are given up when the viewer leaves, in every way", () =>
    Effect.gen(function*() {
      const { port, streams, viewer } = yield* late
      const another = yield* openRaw(port)
      for (const { send } of [viewer, another]) send(request("/held") + request("/late"))
      yield* eventually("the streams", Effect.map(streams, (count) => count === 4))
      viewer.send("CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n")
      yield* viewer.closed
      another.socket.destroy()
      yield* eventually("the end of all streams", Effect.map(streams, (count) => count === 0))
    }))

  it.live("end with a request that offers an upgrade", () =>
    Effect.gen(function*() {
      const { viewer } = yield* late
      viewer.send(request("/a", "Upgrade: h2c", "Connection: Upgrade", "Range: bytes=0-0"))
      viewer.send(request("/a"))
      yield* viewer.closed
      assert.deepStrictEqual(statuses(viewer.received()), [206])
      assert.match(viewer.received(), /\r\nconnection: close\r\n/i)
    }))
})

describe("other versions of HTTP", () => {
  it.live("are answered in that version, or not at all", () =>
    Effect.gen(function*() {
      const { origin, port } = yield* start()
      origin.handlers.set("/chunked", (_, response) => {
        response.write("abc")
        response.end("def")
      })
      const old = yield* exchange(port, "GET /chunked HTTP/1.0\r\nTE: chunked\r\n\r\n")
      assert.notMatch(old, /transfer-encoding/i)
      assert.isTrue(old.endsWith("\r\n\r\nabcdef"))
      assert.deepStrictEqual(statuses(yield* exchange(port, request("/a").replace("1.1", "2.0"))), [505])
    }))
})

describe("streams", () => {
  const full = Effect.gen(function*() {
    const proxy = yield* start({ maxStreams: 2 })
    const gate = makeGate()
    for (const path of ["/held-1", "/held-2"]) {
      proxy.origin.files.set(path, { ...fileOf(SIZE, 3), hold: { after: 50_000, until: gate.opened } })
    }
    yield* proxy.ask("/a")
    const viewers: Array<RawConnection> = []
    for (const path of ["/held-1", "/held-2"]) {
      const viewer = yield* openRaw(proxy.port)
      viewer.send(last(path))
      yield* answered(viewer)
      viewers.push(viewer)
    }
    return { ...proxy, gate, viewers }
  })

  it.live("above the limit are answered 503, except from memory", () =>
    Effect.gen(function*() {
      const { ask, gate, origin, viewers } = yield* full
      const before = origin.requests.length
      for (const method of ["GET", "HEAD"]) {
        const refused = yield* ask("/large", { method })
        assert.strictEqual(refused.status, 503)
        assert.strictEqual(refused.headers["retry-after"], "1")
        assert.strictEqual(refused.headers["cache-status"], "spillway; fwd=bypass; detail=OVERLOADED")
      }
      assert.strictEqual(origin.requests.length, before)
      assert.strictEqual((yield* ask("/a")).status, 200)
      yield* gate.open
      yield* Effect.forEach(viewers, ({ closed }) => closed)
      assert.strictEqual((yield* ask("/large")).status, 200)
    }))

  it.live("are no longer counted when their viewers have left", () =>
    Effect.gen(function*() {
      const { ask, viewers } = yield* full
      viewers[0]!.socket.destroy()
      yield* eventually("room", Effect.map(ask("/large"), ({ status }) => status === 200))
      const metrics = yield* ask("/_spillway/metrics", { headers: { host: "localhost" } })
      assert.match(metrics.body.toString(), /^spillway_streams 1$/m)
    }))

  it.live("are each counted once, however they end", () =>
    Effect.gen(function*() {
      const { ask, gate, origin, port, viewers } = yield* full
      yield* gate.open
      yield* Effect.forEach(viewers, ({ closed }) => closed)
      origin.handlers.set("/cut", (_, response) => {
        response.writeHead(200, { "content-length": "1000" }).write("abc", () => response.destroy())
      })
      for (let i = 0; i < 3; i++) {
        yield* exchange(port, last("/cut"))
        yield* exchange(port, last("/missing"))
        yield* exchange(port, last("/large").replace("GET", "HEAD"))
        yield* exchange(port, last("/a", "If-None-Match: \"1\"", "Authorization: a"))
      }
      assert.strictEqual((yield* ask("/large")).status, 200)
      const metrics = yield* ask("/_spillway/metrics", { headers: { host: "localhost" } })
      assert.match(metrics.body.toString(), /^spillway_streams 0$/m)
    }))
})

describe("the end of the server", () => {
  it.effect("sends answers that are complete, and does not wait for idle connections", () =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const { port } = yield* Scope.provide(start(), scope)
      const silent = yield* openRaw(port)
      const viewer = yield* openRaw(port)
      yield* stuff(viewer)
      const kept = yield* openRaw(port)
      kept.send(request("/a"))
      yield* answered(kept)
      // The time of this clock doesn't pass, so nothing waits for the ten seconds that responses may take.
      const end = yield* Effect.forkChild(Scope.close(scope, Exit.void))
      yield* Effect.all([silent.closed, kept.closed])
      yield* pass(100)
      yield* assertUncut(viewer)
      yield* Fiber.join(end)
    }))

  it.effect("waits for answers that are under way, and for requests pipelined behind them", () =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const { origin, port } = yield* Scope.provide(start(), scope)
      const gate = makeGate()
      origin.files.set("/held", { ...fileOf(SIZE, 3), hold: { after: 50_000, until: gate.opened } })
      const viewers = [yield* openRaw(port), yield* openRaw(port)]
      for (const viewer of viewers) {
        viewer.send(request("/held"))
        yield* answered(viewer)
      }
      const end = yield* Effect.forkChild(Scope.close(scope, Exit.void))
      yield* pass(100)
      viewers[1]!.send(request("/a", "Range: bytes=0-0"))
      yield* pass(100)
      yield* gate.open
      for (const viewer of viewers) yield* viewer.closed
      assert.deepStrictEqual(viewers.map(({ received }) => statuses(received())), [[200], [200, 206]])
      assert.match(viewers[1]!.received(), /\r\nconnection: close\r\n/i)
      yield* Fiber.join(end)
    }))
})
