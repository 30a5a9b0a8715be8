import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { parseRoute, type Route } from "../../src/domain/Route.ts"
import { Server } from "../../src/index.ts"
import { ServerConfig } from "../../src/services/config/ServerConfig.ts"
import { eventually } from "../support/Program.ts"
import { makeRawOrigin, response } from "../support/RawOrigin.ts"
import { openRaw } from "./RawConnection.ts"
import { exchange, makeTestProxy } from "./TestProxy.ts"

/** A proxy before an origin that answers with what it was asked for. */
const start = Effect.gen(function*() {
  const fields = { "cache-control": "max-age=60", "etag": "\"1\"" }
  const origin = yield* makeRawOrigin(
    ({ fields: asked, target }) => asked["content-length"] === undefined ? response(200, fields, target) : undefined,
    ({ body, target }) => body.length < 6 ? undefined : response(200, {}, `${target} ${body.toString("hex")}`)
  )
  const proxy = yield* makeTestProxy({
    server: Server.layerNode({ host: "127.0.0.1", port: 0 }),
    origins: { origins: { routes: [parseRoute(origin.url) as Route], urlHosts: [], allowPrivate: false } }
  })
  return { ...proxy, origin }
}).pipe(Effect.provide(ServerConfig.layer({ idleTimeout: 1000, headerTimeout: 1000 })))

const request = (target: string, ...fields: ReadonlyArray<string>): string =>
  [`GET ${target} HTTP/1.1`, "Host: localhost", ...fields, "", ""].join("\r\n")

const bodyOf = (received: string): string => received.slice(received.indexOf("\r\n\r\n") + 4)

describe("a target with raw bytes", () => {
  const targets: ReadonlyArray<readonly [string, string]> = [
    ["/search?q=\xc3\xa9t\xc3\xa9", "/search?q=%C3%A9t%C3%A9"],
    ["/search?q=caf\xe9&r=\\", "/search?q=caf%E9&r=\\"],
    ["/\xe6\x96\x87/film.mp4", "/%E6%96%87/film.mp4"]
  ]

  it.live.each(targets)("is served as if it were percent-encoded: %j", ([target, asked]) =>
    Effect.gen(function*() {
      const { origin, port } = yield* start
      for (const path of [target, target, asked]) {
        assert.strictEqual(bodyOf(yield* exchange(port, request(path, "Connection: close"))), asked)
      }
      assert.deepStrictEqual(origin.requests.map(({ target }) => target), [asked])
    }))

  it.live("ends its connection, also after other requests", () =>
    Effect.gen(function*() {
      const { port } = yield* start
      const viewer = yield* openRaw(port)
      viewer.send(request("/a"))
      yield* viewer.until("the first answer", (received) => received.endsWith("/a"))
      viewer.send(request("/b?\xe9") + request("/c"))
      yield* viewer.closed
      assert.match(viewer.received(), /\/aHTTP\/1\.1 200 OK\r\nconnection: close\r\n[^]*\r\n\r\n\/b\?%E9$/)
    }))

  it.live("can come with a body, which is passed on unchanged", () =>
    Effect.gen(function*() {
      const { port } = yield* start
      const viewer = yield* openRaw(port)
      viewer.send("POST /p?\xe9 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 6\r\n\r\n\xe9\xff")
      yield* Effect.sleep("50 millis")
      viewer.send("\x00\xc3ab")
      yield* viewer.closed
      assert.strictEqual(bodyOf(viewer.received()), "/p?%E9 e9ff00c36162")
    }))

  it.live("does not bypass any limit", () =>
    Effect.gen(function*() {
      const { port } = yield* start
      const malformed = ["/../\xe9", "/\xe9/../a", "/a#\xe9", "a\xe9"]
      for (const target of malformed) {
        assert.match(yield* exchange(port, request(target, "Connection: close")), /^HTTP\/1\.1 400 /, target)
      }
      const admin = yield* exchange(port, request("/_spillway/api/\xe9", "Host: other", "Connection: close"))
      assert.match(admin, /^HTTP\/1\.1 400 /)
      // Neither one that does not go on, nor one that is not read.
      const silent = yield* openRaw(port)
      silent.send("GET /a?\xe9 HTTP/1.1\r\nHost: a\r\n")
      yield* silent.closed
      assert.match(silent.received(), /^(?:HTTP\/1\.1 408 |$)/)
      const left = yield* openRaw(port)
      left.send(request("/a?\xe9"))
      left.socket.destroy()
      const metrics = exchange(port, request("/_spillway/metrics", "Connection: close"))
      yield* eventually("its end", Effect.map(metrics, (text) => /^spillway_unsent_bytes 0$/m.test(text)))
    }))
})

describe("a target", () => {
  it.effect("reaches the origin exactly as it was sent, below the path of the origin's URL", () =>
    Effect.gen(function*() {
      const { ask, origin } = yield* makeTestProxy({ path: "/base/" })
      const targets = [
        "/a%20b/%C3%A4.mp4",
        "/a%2Fb",
        "/a?x=1&y=%2F+b&&z",
        "/a?x=a/../b",
        "/a?token=%00%ff",
        "//a//b/",
        "/a;v=1,2/~user/(x)!*",
        "/...",
        "/a..b/.c",
        "/%zz"
      ]
      for (const target of targets) {
        yield* ask(target)
        assert.strictEqual(origin.requests.at(-1)!.url, `/base${target}`)
      }
    }))
})
