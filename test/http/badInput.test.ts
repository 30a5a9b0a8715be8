import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Server from "../../src/http/server/Server.ts"
import { randomBytes } from "../support/TestOrigin.ts"
import { exchange, makeTestProxy, type TestProxy } from "./TestProxy.ts"

const bytes = randomBytes(100_000)

const start = Effect.gen(function*() {
  const proxy = yield* makeTestProxy({ server: Server.layerNode({ host: "127.0.0.1", port: 0 }) })
  proxy.origin.files.set("/a", { bytes, etag: "\"v1\"", headers: { "cache-control": "max-age=60" } })
  return proxy
})

/** A request as text, on a connection that ends with its answer. */
const get = (target: string, ...fields: ReadonlyArray<string>): string =>
  ["GET " + target + " HTTP/1.1", "Host: test", "Connection: close", ...fields, "", ""].join("\r\n")

const statusOf = (received: string): number => {
  const match = /^HTTP\/1\.1 (\d{3}) [^\r\n]*\r\n/.exec(received)
  assert.isNotNull(match, JSON.stringify(received.slice(0, 200)))
  return Number(match![1])
}

const bodyOf = (received: string): string => received.slice(received.indexOf("\r\n\r\n") + 4)

/** What a body about a wrong request must not show: stacks, files, or the address behind. */
const assertDiscreet = ({ origin }: TestProxy, received: string): void => {
  const body = bodyOf(received)
  if (body === bytes.toString("latin1")) return
  assert.notMatch(body, /\n\s+at |node_modules|\.ts:\d|\.js:\d|Error:|file:\/\//)
  assert.notInclude(received, origin.url)
}

/** The server is as it was: it answers the next one. */
const assertServing = Effect.fnUntraced(function*({ ask }: TestProxy) {
  const answer = yield* ask("/a")
  assert.strictEqual(answer.status, 200)
  assert.isTrue(answer.body.equals(bytes))
})

const assertAnswered = Effect.fnUntraced(function*(
  proxy: TestProxy,
  request: string,
  expected: number | ReadonlyArray<number>
) {
  const received = yield* exchange(proxy.port, request)
  const status = statusOf(received)
  assert.include(typeof expected === "number" ? [expected] : expected, status, JSON.stringify(request.slice(0, 100)))
  assertDiscreet(proxy, received)
  yield* assertServing(proxy)
  return received
})

describe("malformed Range fields", () => {
  const fields = [
    "",
    "bytes",
    "bytes=",
    "bytes=-",
    "bytes=--5",
    "bytes=5-2",
    "bytes=a-b",
    "bytes=0x0-0x5",
    "bytes=1.5-2",
    "bytes=0-5,10-5",
    `bytes=${Array.from({ length: 1000 }, (_, i) => `${i}-${i}`).join(",")},x`,
    "bytes=1-2-3",
    "bytes 0-5",
    "chars=0-5",
    "=0-5",
    "0-5",
    "bytes=0-5;q=1",
    "bytes=0 - 5",
    "bytes=\xa00-5",
    "bytes=\xb2-\xb3",
    "none"
  ]

  it.effect("are ignored", () =>
    Effect.gen(function*() {
      const proxy = yield* start
      for (const field of fields) {
        const received = yield* assertAnswered(proxy, get("/a", `Range: ${field}`), 200)
        assert.strictEqual(bodyOf(received), bytes.toString("latin1"), field.slice(0, 50))
      }
    }))

  it.effect("are ignored when they come twice", () =>
    Effect.gen(function*() {
      const proxy = yield* start
      yield* assertAnswered(proxy, get("/a", "Range: bytes=0-5", "Range: bytes=7-9"), [200, 400])
    }))

  it.effect("with huge numbers are answered", () =>
    Effect.gen(function*() {
      const proxy = yield* start
      const nines = "9".repeat(4000)
      yield* assertAnswered(proxy, get("/a", `Range: bytes=${nines}-`), 416)
      yield* assertAnswered(proxy, get("/a", `Range: bytes=${nines}-${nines}`), 416)
      yield* assertAnswered(proxy, get("/a", `Range: bytes=-${nines}`), 206)
      yield* assertAnswered(proxy, get("/a", `Range: bytes=0-${nines}`), 206)
      yield* assertAnswered(proxy, get("/a", "Range: bytes=-0"), 416)
    }))

  it.effect("do no harm in other conditional fields", () =>
    Effect.gen(function*() {
      const proxy = yield* start
      const junk = ["", "\"", "W/", "W/\"", "\"\"", ",,,", "*, *", "\"a\" \"b\"", "Tue, 99 Foo 0000", "-1", "\xff"]
      for (const value of [...junk, "\"".repeat(5000), "W/".repeat(2500)]) {
        for (const name of ["If-None-Match", "If-Modified-Since", "If-Range", "If-Match", "If-Unmodified-Since"]) {
          const received = yield* exchange(proxy.port, get("/a", `${name}: ${value}`, "Range: bytes=0-5"))
          assert.include([200, 206, 304, 412], statusOf(received), `${name}: ${value.slice(0, 50)}`)
          assertDiscreet(proxy, received)
        }
      }
      yield* assertServing(proxy)
    }))
})

describe("absurd targets", () => {
  const refused: ReadonlyArray<readonly [string, number]> = [
    [`/${"a".repeat(9000)}`, 414],
    [`/a?${"b".repeat(9000)}`, 414],
    ["/../a", 400],
    ["/..", 400],
    ["/a/../../../../etc/passwd", 400],
    ["/%2e%2e/a", 400],
    ["/%2E%2E/%2e%2e/etc/passwd", 400],
    ["/.%2e/a", 400],
    ["/a/%2e", 400],
    ["/..\\a", 400],
    ["/\\other.example/a", 400],
    ["\\a", 400],
    ["a", 400],
    ["/\t../a", 400],
    ["/a#b", 400],
    ["/a\0b", 400],
    ["/a\x01b", 400],
    ["/a\x7fb", 400],
    ["/a b", 400]
  ]

  it.effect("are refused", () =>
    Effect.gen(function*() {
      const proxy = yield* start
      for (const [target, status] of refused) {
        yield* assertAnswered(proxy, get(target), status)
      }
      assert.deepStrictEqual([...new Set(proxy.origin.requests.map(({ url }) => url))], ["/a"])
    }))

  it.effect("in absolute form go to the one origin, whichever host they name", () =>
    Effect.gen(function*() {
      const proxy = yield* start
      for (
        const target of ["http://test/a", "http://other.example/a", "HTTPS://user@other.example:81/a", "ftp://test/a"]
      ) {
        yield* assertAnswered(proxy, get(target), [200, 400])
      }
      for (const target of ["http://test/../a", "http://test/b/%2e%2e/../a", "http://other.example//a"]) {
        yield* assertAnswered(proxy, get(target), [200, 400, 404])
      }
      for (const { url } of proxy.origin.requests) assert.include(["/a", "//a"], url)
      for (const target of ["*", "http://other.example", "http://other.example?/a"]) {
        yield* assertAnswered(proxy, get(target), [200, 400, 404])
      }
      for (const { headers } of proxy.origin.requests) assert.strictEqual(`http://${headers.host}`, proxy.origin.url)
    }))

  const passedOn = [
    "//a",
    "//other.example/a",
    "///",
    "/@other.example/",
    "/a%00b",
    "/%zz",
    "/%",
    "/%2",
    "/%ff%fe",
    "/%2fetc%2fpasswd",
    "/%5c..%5ca",
    "/a;b=c",
    "/<script>",
    "/a\"b",
    "/{a}|b^c`d",
    "/a?b=../../c",
    "/a?b\\..\\c",
    "/./b",
    "/a/.",
    "/a?????",
    "/.../a",
    "/\xe9",
    "/\xff\xfe"
  ]

  it.effect("that still name a path are passed to the origin", () =>
    Effect.gen(function*() {
      const proxy = yield* start
      for (const target of passedOn) {
        const received = yield* exchange(proxy.port, get(target))
        assert.include([400, 404], statusOf(received), target)
        assertDiscreet(proxy, received)
      }
      yield* assertServing(proxy)
      for (const { url } of proxy.origin.requests) assert.match(url, /^\/[\x21-\x7e]*$/)
    }))
})

describe("absurd fields", () => {
  it.effect("that are too many or too large are answered 431", () =>
    Effect.gen(function*() {
      const proxy = yield* start
      yield* assertAnswered(proxy, get("/a", `X-Large: ${"a".repeat(20_000)}`), 431)
      yield* assertAnswered(proxy, get("/a", `${"x".repeat(20_000)}: a`), 431)
      yield* assertAnswered(proxy, get("/a", ...Array.from({ length: 2000 }, (_, i) => `X-${i}: ${i}`)), 431)
      yield* assertAnswered(proxy, get(`/${"a".repeat(20_000)}`), 431)
    }))

  const malformed: ReadonlyArray<readonly [string, string]> = [
    ["without a colon", get("/a", "nonsense")],
    ["with a space before the colon", get("/a", "X-Own : 1")],
    ["without a name", get("/a", ": 1")],
    ["with a name that is no token", get("/a", "X(Own): 1")],
    ["with a NUL", get("/a", "X-Own: a\0b")],
    ["with a bare CR", get("/a", "X-Own: a\rb")],
    ["that begin with a space", "GET /a HTTP/1.1\r\n Host: test\r\nConnection: close\r\n\r\n"],
    ["without Host", "GET /a HTTP/1.1\r\nConnection: close\r\n\r\n"],
    ["with a length that is no number", get("/a", "Content-Length: ten")],
    ["with a negative length", get("/a", "Content-Length: -1")],
    ["with two lengths", get("/a", "Content-Length: 1", "Content-Length: 2")],
    ["with length and coding", `${get("/a", "Content-Length: 4", "Transfer-Encoding: chunked")}0\r\n\r\n`],
    ["with a coding that does not end in chunked", get("/a", "Transfer-Encoding: chunked, gzip")],
    ["with a chunk size that is none", `${get("/a", "Transfer-Encoding: chunked").replace("GET", "POST")}zz\r\n`]
  ]

  it.effect.each(malformed)("%s", ([, request]) =>
    Effect.gen(function*() {
      const proxy = yield* start
      // A chunk of the body may be found wrong after the answer.
      yield* assertAnswered(proxy, request, request.startsWith("POST") ? [400, 405] : 400)
    }))

  it.effect("that are only unusual are answered", () =>
    Effect.gen(function*() {
      const proxy = yield* start
      yield* assertAnswered(proxy, get("/a", "X-Own: \xe9\xff"), 200)
      yield* assertAnswered(proxy, get("/a", "X-Own:"), 200)
      yield* assertAnswered(proxy, get("/a", "__proto__: 1", "constructor: 2", "toString: 3"), 200)
      yield* assertAnswered(proxy, get("/a", "Accept-Encoding: gzip;q=nonsense"), 200)
      yield* assertAnswered(proxy, get("/a", "Expect: 200-ok"), [200, 417])
      yield* assertAnswered(proxy, get("/a", "Connection: etag, content-length, cache-status"), 200)
    }))

  it.effect.each(["other", "h2c", ""])(
    "that ask for an upgrade to %j get the file without one",
    (protocol) =>
      Effect.gen(function*() {
        const proxy = yield* start
        // More than a socket takes at once.
        const large = randomBytes(4_000_000, 2)
        proxy.origin.files.set("/large", { bytes: large, etag: "\"v1\"" })
        const request = get("/large", `Upgrade: ${protocol}`).replace("Connection: close", "Connection: Upgrade, close")
        const received = yield* assertAnswered(proxy, request, 200)
        assert.isTrue(bodyOf(received) === large.toString("latin1"))
      })
  )

  it.effect("do no harm to a viewer with credentials", () =>
    Effect.gen(function*() {
      const proxy = yield* start
      yield* assertAnswered(proxy, get("/a", "Authorization: \xe9\xff"), [200, 502])
      yield* assertAnswered(proxy, get("/a", "Authorization: a", "Expect: 100-continue", "TE: trailers"), [100, 200])
      yield* assertAnswered(proxy, get("/a", "Authorization: a", "Upgrade: h2c", "HTTP2-Settings: AA"), 200)
      yield* assertAnswered(proxy, get("/a", "Authorization: a", "Content-Length: 3") + "abc", 200)
      yield* assertAnswered(
        proxy,
        get("/a", "Authorization: a", "Transfer-Encoding: chunked") + "3\r\nabc\r\n0\r\n\r\n",
        200
      )
    }))
})

describe("a malformed request", () => {
  const cases: ReadonlyArray<readonly [string, string, number | ReadonlyArray<number>]> = [
    ["HTTP/0.9", "GET /a\r\n\r\n", [200, 400]],
    ["HTTP/3.0", "GET /a HTTP/3.0\r\nHost: test\r\n\r\n", 400],
    ["HTTP/1.1 in lower case", "GET /a http/1.1\r\nHost: test\r\n\r\n", 400],
    ["a method that no one knows", get("/a").replace("GET", "BREW"), 400],
    ["a method in lower case", get("/a").replace("GET", "get"), 400],
    ["a long method", get("/a").replace("GET", "A".repeat(5000)), 400],
    ["a method that the parser knows", get("/a").replace("GET", "MKCOL"), 200],
    ["OPTIONS *", get("*").replace("GET", "OPTIONS"), 204],
    ["the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400],
    ["the start of TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400],
    ["bytes", randomBytes(500, 9).toString("latin1"), 400],
    ["NULs", "\0".repeat(500), 400],
    ["an answer", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 400],
    ["more spaces than needed", get("/a").replaceAll("/a", "  /a  "), [200, 400]]
  ]

  it.effect.each(cases)("%s", ([, request, expected]) =>
    Effect.gen(function*() {
      const proxy = yield* start
      yield* assertAnswered(proxy, request, expected)
    }))

  it.effect("HTTP/1.0 is answered", () =>
    Effect.gen(function*() {
      const proxy = yield* start
      const received = yield* assertAnswered(proxy, "GET /a HTTP/1.0\r\n\r\n", 200)
      assert.strictEqual(bodyOf(received), bytes.toString("latin1"))
    }))

  it.effect("HTTP/1.0 gets a body of unknown length without chunks", () =>
    Effect.gen(function*() {
      const proxy = yield* start
      proxy.origin.handlers.set("/x", (_, response) => void response.writeHead(200, {}).end(bytes))
      const received = yield* assertAnswered(proxy, "GET /x HTTP/1.0\r\n\r\n", 200)
      assert.strictEqual(bodyOf(received), bytes.toString("latin1"))
    }))

  it.effect("CONNECT is refused", () =>
    Effect.gen(function*() {
      const proxy = yield* start
      const received = yield* exchange(proxy.port, "CONNECT other.example:80 HTTP/1.1\r\nHost: other.example\r\n\r\n")
      assert.strictEqual(statusOf(received), 405)
      yield* assertServing(proxy)
    }))

  it.effect("half a request and then the end of the connection", () =>
    Effect.gen(function*() {
      const proxy = yield* start
      const whole = get("/a", "Range: bytes=0-5")
      for (const length of [0, 1, 4, 10, 25, whole.length - 4, whole.length - 1]) {
        const received = yield* exchange(proxy.port, whole.slice(0, length), (socket) => socket.end())
        if (received !== "") assert.strictEqual(statusOf(received), 400)
        yield* exchange(proxy.port, whole.slice(0, length), (socket) => socket.destroySoon())
      }
      yield* assertServing(proxy)
    }))

  it.effect("a request whose answer nobody reads", () =>
    Effect.gen(function*() {
      const proxy = yield* start
      for (let i = 0; i < 10; i++) {
        yield* exchange(proxy.port, get("/a"), (socket) => socket.once("data", () => socket.resetAndDestroy()))
      }
      yield* assertServing(proxy)
    }))

  it.effect("a body that never comes", () =>
    Effect.gen(function*() {
      const proxy = yield* start
      const request = get("/a", "Content-Length: 1000").replace("GET", "POST")
      const received = yield* exchange(proxy.port, request, (socket) => socket.end("abc"))
      if (received !== "") assert.include([400, 405], statusOf(received))
      yield* assertServing(proxy)
    }))

  it.effect("a large body that nobody reads", () =>
    Effect.gen(function*() {
      const proxy = yield* start
      const body = "a".repeat(2_000_000)
      const request = get("/a", `Content-Length: ${body.length}`).replace("GET", "POST")
      const received = yield* exchange(proxy.port, request + body)
      // It goes to the origin, whose answer may come before the end of it.
      if (received !== "") assert.strictEqual(statusOf(received), 200)
      yield* assertServing(proxy)
    }))
})

describe("pipelined requests", () => {
  const pipelined = (target: string, ...fields: ReadonlyArray<string>) =>
    get(target, ...fields).replace("Connection: close\r\n", "")

  it.effect("are answered in order", () =>
    Effect.gen(function*() {
      const proxy = yield* start
      const received = yield* exchange(
        proxy.port,
        pipelined("/a", "Range: bytes=0-4") + pipelined("/missing") + pipelined("/../a") +
          pipelined("/a", "Range: bytes=5-9") + pipelined("/a").replace("GET", "HEAD") +
          pipelined("/a").replace("GET", "PUT") +
          get("/a", "Range: bytes=10-14")
      )
      const statuses = [...received.matchAll(/HTTP\/1\.1 (\d{3}) /g)].map(([, status]) => Number(status))
      assert.deepStrictEqual(statuses, [206, 404, 400, 206, 200, 200, 206])
      const text = bytes.toString("latin1")
      assert.isTrue(received.endsWith(text.slice(10, 15)))
      assert.include(received, `\r\n\r\n${text.slice(5, 10)}HTTP/1.1 200`)
      yield* assertServing(proxy)
    }))

  it.effect("with garbage after them end only the connection", () =>
    Effect.gen(function*() {
      const proxy = yield* start
      const received = yield* exchange(proxy.port, `${pipelined("/a", "Range: bytes=0-4")}nonsense\r\n\r\n`)
      if (received !== "") assert.include([206, 400], statusOf(received))
      assertDiscreet(proxy, received)
      yield* assertServing(proxy)
    }))
})
