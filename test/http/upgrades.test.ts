import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Layer, Scope } from "effect"
import type { Socket } from "node:net"
import { makeRoute } from "../../src/domain/Route.ts"
import { defaultPolicy, type RoutePolicy } from "../../src/domain/RoutePolicy.ts"
import { NodeServer } from "../../src/http/server/Server.ts"
import { GRACE_MILLIS } from "../../src/services/origin/OriginLimiter.ts"
import { randomBytes } from "../support/TestOrigin.ts"
import { makeUpgradeOrigin } from "../support/upgradeOrigin.ts"
import { openWebSocket } from "../support/webSocket.ts"
import { openRaw } from "./RawConnection.ts"
import { until, withTime } from "./Site.ts"
import { layerHttp, layerPlainHttp, makeTestProxy, type TestProxyOptions } from "./TestProxy.ts"

/** Spillway before an origin that changes protocols, with a route that allows that unless `policy` says otherwise. */
const start = (policy: Partial<RoutePolicy> = {}, options: TestProxyOptions = {}) =>
  Effect.gen(function*() {
    const origin = yield* makeUpgradeOrigin
    const url = new URL(origin.url)
    const routes = [makeRoute({ _tag: "All" }, url, { ...defaultPolicy(url), upgrades: true, ...policy })]
    const { ask, port, url: at } = yield* makeTestProxy({
      ...options,
      origins: { origins: { routes, urlHosts: [], allowPrivate: false }, ...options.origins }
    })
    return { origin, ask, port, url: at }
  })

const rawRequest = (protocol: string, path = "/raw") =>
  `GET ${path} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: ${protocol}\r\n\r\n`

describe("a WebSocket", () => {
  it.live("passes text, binary and large messages in both directions", () =>
    Effect.gen(function*() {
      const { origin, url } = yield* start()
      const { ask, socket } = yield* openWebSocket(`${url}/chat?room=1`, ["other", "chat"])
      assert.strictEqual(socket.protocol, "chat")
      const text = yield* ask("grüße")
      assert.deepStrictEqual([String(text.data), text.isBinary], ["grüße", false])
      for (const size of [0, 1, 125, 126, 65_535, 65_536, 5_000_000]) {
        const message = randomBytes(size, size + 1)
        const { data, isBinary } = yield* ask(message)
        assert.isTrue(isBinary)
        assert.isTrue(data.equals(message), `${size}`)
      }
      const [offer] = origin.offers
      assert.strictEqual(offer!.url, "/chat?room=1")
      assert.strictEqual(offer!.headers["via"], "1.1 spillway")
    }))

  it.live("passes close codes and reasons on from either side", () =>
    Effect.gen(function*() {
      const { origin, url } = yield* start()
      const first = yield* openWebSocket(url)
      first.socket.close(4001, "enough")
      yield* until("the close", () => origin.closed.length === 1)
      assert.deepStrictEqual(origin.closed[0], { code: 4001, reason: "enough" })
      assert.strictEqual((yield* first.closed).code, 4001)
      const second = yield* openWebSocket(url)
      for (const webSocket of origin.webSockets) webSocket.close(1012, "restart")
      assert.deepStrictEqual(yield* second.closed, { code: 1012, reason: "restart" })
    }))

  it.live("ends when the origin dies", () =>
    Effect.gen(function*() {
      const { origin, url } = yield* start()
      const viewer = yield* openWebSocket(url)
      yield* origin.die
      assert.strictEqual((yield* viewer.closed).code, 1006)
    }))

  it.live("ends at the origin when the viewer dies", () =>
    Effect.gen(function*() {
      const { origin, url } = yield* start()
      const viewer = yield* openWebSocket(url)
      viewer.socket.terminate()
      yield* until("the close", () => origin.closed.length === 1)
      assert.strictEqual(origin.closed[0]!.code, 1006)
    }))

  it.live("gets the origin's refusal with its fields and body", () =>
    Effect.gen(function*() {
      const { url } = yield* start()
      const { body, headers, status } = yield* Effect.flip(openWebSocket(`${url}/refused`))
      assert.deepStrictEqual([status, body], [403, "not you"])
      assert.deepInclude(headers, { "set-cookie": ["a=b"], "cache-status": "spillway; fwd=bypass; detail=UPGRADE" })
    }))

  it.effect("gets 502 if the origin can't be reached, and 504 if it doesn't respond", () =>
    Effect.gen(function*() {
      const { origin, url } = yield* start()
      const silent = yield* Effect.forkChild(Effect.flip(openWebSocket(`${url}/silent`)))
      yield* until("the request", () => origin.offers.length === 1)
      assert.strictEqual((yield* withTime(Fiber.join(silent))).status, 504)
      yield* origin.die
      assert.strictEqual((yield* Effect.flip(openWebSocket(url))).status, 502)
      assert.strictEqual(origin.offers.length, 1)
    }))

  it.live("gets 501 on a route that doesn't allow it, and the origin isn't asked", () =>
    Effect.gen(function*() {
      const { ask, origin, url } = yield* start({ upgrades: false })
      yield* ask("/a")
      const { body, headers, status } = yield* Effect.flip(openWebSocket(`${url}/a`))
      assert.deepStrictEqual([status, body], [501, "WebSocket is not enabled here\n"])
      assert.deepInclude(headers, { "cache-status": "spillway; fwd=bypass; detail=NO_UPGRADE" })
      assert.strictEqual(origin.offers.length, 0)
    }))
})

describe("another protocol", () => {
  it.live("is passed on, and each side may end before the other", () =>
    Effect.gen(function*() {
      const { origin, port } = yield* start()
      const viewer = yield* openRaw(port)
      viewer.send(rawRequest("raw"))
      yield* until("the greeting", () => viewer.received().endsWith("\r\n\r\nhello "))
      assert.match(viewer.received(), /^HTTP\/1\.1 101 /)
      assert.match(viewer.received(), /\r\nupgrade: raw\r\n/i)
      assert.match(viewer.received(), /\r\nx-own: 1\r\n/i)
      const [connection] = origin.raw
      let got = ""
      connection!.on("data", (data) => got += data.toString())
      viewer.send("question")
      viewer.socket.end()
      yield* until("the end", () => connection!.readableEnded)
      assert.strictEqual(got, "question")
      connection!.end("answer")
      yield* viewer.closed
      assert.match(viewer.received(), /hello answer$/)
    }))

  it.live("goes on in one direction when the other has ended", () =>
    Effect.gen(function*() {
      const { origin, port } = yield* start()
      const viewer = yield* openRaw(port)
      viewer.socket.allowHalfOpen = true
      viewer.send(rawRequest("raw"))
      yield* until("the connection", () => origin.raw.length === 1)
      const [connection] = origin.raw
      let got = 0
      connection!.on("data", (data) => got += data.length)
      connection!.end("bye")
      yield* until("the end", () => viewer.received().endsWith("hello bye") && viewer.socket.readableEnded)
      const large = randomBytes(3_000_000)
      viewer.socket.end(large)
      yield* until("the bytes", () => got === large.length)
      yield* viewer.closed
    }))

  it.live("is read from one side only as fast as the other takes it", () =>
    Effect.gen(function*() {
      const { origin, port } = yield* start()
      const viewer = yield* openRaw(port)
      viewer.send(rawRequest("raw"))
      yield* until("the connection", () => origin.raw.length === 1)
      viewer.socket.pause()
      const [connection] = origin.raw
      const piece = randomBytes(1024 ** 2)
      const send = Effect.callback<boolean>((resume) => {
        const timer = setTimeout(() => resume(Effect.succeed(false)), 500)
        connection!.write(piece, () => {
          clearTimeout(timer)
          resume(Effect.succeed(true))
        })
      })
      let sent = 1
      // All that the kernel and Spillway hold.
      while (yield* send) {
        sent += 1
        assert.isBelow(sent, 100)
      }
      viewer.socket.resume()
      yield* until("the bytes", () => viewer.received().length > sent * piece.length)
    }))

  it.live("is refused like any other request if it is malformed", () =>
    Effect.gen(function*() {
      const { origin, port } = yield* start()
      const viewer = yield* openRaw(port)
      viewer.send(rawRequest("raw").replace("Host: a", "Host: a/b"))
      yield* viewer.closed
      assert.match(viewer.received(), /^HTTP\/1\.1 400 /)
      assert.strictEqual(origin.offers.length, 0)
    }))

  it.live("is not changed to behind a response that is under way", () =>
    Effect.gen(function*() {
      const { origin, port } = yield* start()
      const viewer = yield* openRaw(port)
      viewer.send("GET /a HTTP/1.1\r\nHost: a\r\n\r\n" + rawRequest("websocket"))
      yield* viewer.closed
      assert.match(
        viewer.received(),
        /^HTTP\/1\.1 200 [^]*HTTP\/1\.1 501 [^]*This connection cannot change its protocol\n$/
      )
      assert.strictEqual(origin.offers.length, 0)
    }))

  it.live("is ignored on a route that doesn't allow it, as HTTP itself always is", () =>
    Effect.gen(function*() {
      const { ask, origin, port } = yield* start({ upgrades: false })
      yield* ask("/a")
      for (const protocol of ["raw", "h2c", "TLS/1.2, HTTP/1.1"]) {
        const viewer = yield* openRaw(port)
        viewer.send(rawRequest(protocol, "/a"))
        yield* viewer.closed
        assert.match(viewer.received(), /^HTTP\/1\.1 200 [^]*\r\n\r\nplain \/a$/, protocol)
      }
      assert.strictEqual(origin.offers.length, 0)
    }))
})

describe("a tunnel", () => {
  it.live("counts as a connection of a viewer, which doesn't make room for others", () =>
    Effect.gen(function*() {
      const { ask, url } = yield* start({}, { limits: { maxConnections: 1 } })
      const { ask: askSocket } = yield* openWebSocket(url)
      assert.strictEqual((yield* ask("/a")).status, 503)
      assert.strictEqual(String((yield* askSocket("still there")).data), "still there")
    }))

  it.live("counts as a stream", () =>
    Effect.gen(function*() {
      const { url } = yield* start({}, { limits: { maxStreams: 1 } })
      yield* openWebSocket(url)
      assert.strictEqual((yield* Effect.flip(openWebSocket(url))).status, 503)
    }))

  it.effect("counts as a request to the origin, and is closed for others when it has been silent", () =>
    Effect.gen(function*() {
      const { url } = yield* start({}, { origins: { maxRequests: 1, firstByteTimeout: 3_600_000 } })
      const first = yield* openWebSocket(url)
      const second = yield* withTime(openWebSocket(url))
      assert.strictEqual((yield* first.closed).code, 1006)
      assert.strictEqual(String((yield* second.ask("here")).data), "here")
    }))

  it.effect("is not closed for others before that", () =>
    Effect.gen(function*() {
      const { url } = yield* start({}, { origins: { maxRequests: 1, firstByteTimeout: GRACE_MILLIS / 2 } })
      const first = yield* openWebSocket(url)
      assert.strictEqual((yield* withTime(Effect.flip(openWebSocket(url)))).status, 503)
      assert.strictEqual(String((yield* first.ask("here")).data), "here")
    }))

  it.live("stays open when nothing moves for long, unless its viewer takes no bytes", () =>
    Effect.gen(function*() {
      const accepted: Array<Socket> = []
      const server = Layer.effectDiscard(
        Effect.map(NodeServer, (node) => node.on("connection", (socket) => accepted.push(socket)))
      ).pipe(Layer.provideMerge(layerHttp))
      const { origin, port, url } = yield* start({}, { server })
      const { ask } = yield* openWebSocket(url)
      // As Node does after the idle time.
      accepted[0]!.emit("timeout")
      assert.strictEqual(String((yield* ask("still there")).data), "still there")
      const viewer = yield* openRaw(port)
      viewer.send(rawRequest("raw"))
      yield* until("the connection", () => origin.raw.length === 1)
      viewer.socket.pause()
      origin.raw[0]!.write(randomBytes(20_000_000))
      yield* until("a full connection", () => accepted[1]!.writableLength > 0)
      accepted[1]!.emit("timeout")
      yield* until("the end", () => origin.raw[0]!.destroyed)
    }))

  it.live("is cut at the end of the server", () =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const { origin, url } = yield* Scope.provide(start(), scope)
      const viewer = yield* openWebSocket(url)
      yield* Scope.close(scope, Exit.void)
      assert.strictEqual((yield* viewer.closed).code, 1006)
      yield* until("the end", () => origin.webSockets.size === 0)
    }))
})

describe("a WebSocket at a server of an application", () => {
  it.live("passes too, and is refused too", () =>
    Effect.gen(function*() {
      const { origin, url } = yield* start({}, { server: layerPlainHttp })
      const { ask, closed, socket } = yield* openWebSocket(url)
      const message = randomBytes(300_000)
      assert.isTrue((yield* ask(message)).data.equals(message))
      socket.close(4001, "enough")
      assert.strictEqual((yield* closed).code, 4001)
      yield* until("the close", () => origin.closed.length === 1)
      assert.strictEqual((yield* Effect.flip(openWebSocket(`${url}/refused`))).status, 403)
      const without = yield* start({ upgrades: false }, { server: layerPlainHttp })
      assert.strictEqual((yield* Effect.flip(openWebSocket(without.url))).status, 501)
    }))
})
