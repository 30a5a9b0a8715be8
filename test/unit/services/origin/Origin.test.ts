import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Exit, Fiber, Layer, Scope, Stream } from "effect"
import { HttpClient, HttpClientResponse } from "effect/http"
import type { LookupAddress } from "node:dns"
import type { LookupFunction } from "node:net"
import { inspect } from "node:util"
import type { OriginError } from "../../../../src/domain/OriginError.ts"
import { type Origins, parseRoute, type Route } from "../../../../src/domain/Route.ts"
import { OriginConfig, type OriginOptions } from "../../../../src/services/config/OriginConfig.ts"
import { Origin, type OriginRequest } from "../../../../src/services/origin/Origin.ts"
import { HostLookup, publicOnly } from "../../../../src/services/origin/originConnections.ts"
import { freePort } from "../../../support/freePort.ts"
import { makeRawOrigin, type RawRequest, response } from "../../../support/RawOrigin.ts"
import { MiB, randomBytes, sha256 } from "../../../support/TestOrigin.ts"

/** Long enough for what comes to come, and short enough to be waited for, in milliseconds. */
const SHORT = 120

const resolving = (names: Record<string, ReadonlyArray<string>>): LookupFunction => (hostname, options, callback) => {
  const found = (names[hostname] ?? []).map((address) => ({ address, family: address.includes(":") ? 6 : 4 }))
  if (found.length === 0) return callback(Object.assign(new Error("no such name"), { code: "ENOTFOUND" }), [])
  if (options.all === true) return callback(null, found)
  callback(null, found[0]!.address, found[0]!.family)
}

/** An `Origin` with `options`, for which `names` have these addresses. */
const makeOrigin = (options: Partial<OriginOptions> = {}, names: Record<string, ReadonlyArray<string>> = {}) =>
  Origin.layer.pipe(
    Layer.provide(OriginConfig.layer(options)),
    Layer.provide(Layer.succeed(HostLookup, resolving(names))),
    Layer.build,
    Effect.map(Context.get(Origin))
  )

const origins = (routes: ReadonlyArray<string>, options: Partial<Origins> = {}): Origins => ({
  routes: routes.map((text) => parseRoute(text) as Route),
  urlHosts: [],
  allowPrivate: false,
  ...options
})

const get = (url: string, more: Partial<OriginRequest> = {}): OriginRequest => ({
  method: "GET",
  url,
  headers: {},
  ...more
})

const text = (body: Stream.Stream<Uint8Array, OriginError>) =>
  Effect.map(Stream.mkUint8Array(body), (bytes) => Buffer.from(bytes).toString("latin1"))

/** The whole answer. */
const ask = (origin: Origin["Service"], request: OriginRequest) =>
  Effect.scoped(Effect.gen(function*() {
    const { body, headers, status } = yield* origin.request(request)
    return { status, headers, body: yield* text(body) }
  }))

/** Tries again until `condition` holds, for at most a second. */
const until = (condition: () => boolean) =>
  Effect.sleep(5).pipe(
    Effect.repeat({ until: () => condition(), times: 200 }),
    Effect.andThen(Effect.sync(() => assert.isTrue(condition())))
  )

const parts = (count: number, size: number) =>
  Array.from({ length: count }, (_, index) => new Uint8Array(randomBytes(size, index + 1)))

/** What is in the chunks of a chunked body. */
const dechunked = (bytes: Buffer): { readonly content: Buffer; readonly whole: boolean } => {
  const pieces: Array<Buffer> = []
  let at = 0
  while (true) {
    const end = bytes.indexOf("\r\n", at)
    const length = end < 0 ? Number.NaN : Number.parseInt(bytes.subarray(at, end).toString(), 16)
    if (!(length > 0)) return { content: Buffer.concat(pieces), whole: length === 0 }
    pieces.push(bytes.subarray(end + 2, end + 2 + length))
    at = end + 2 + length + 2
  }
}

describe("a request", () => {
  it.live("has the fields of the caller and Spillway's own", () =>
    Effect.gen(function*() {
      const server = yield* makeRawOrigin(() => response(200, { "x-b": "2" }, "hello"))
      const origin = yield* makeOrigin()
      const answer = yield* ask(
        origin,
        get(`${server.url}/a%2Fb?c=%20+d&c`, {
          headers: { range: "bytes=1-", expect: "100-continue", "x-a": "1" }
        })
      )
      assert.strictEqual(answer.status, 200)
      assert.strictEqual(answer.headers["x-b"], "2")
      assert.strictEqual(answer.body, "hello")
      const [seen] = server.requests
      assert.strictEqual(seen!.target, "/a%2Fb?c=%20+d&c")
      assert.deepStrictEqual(seen!.fields, {
        host: `127.0.0.1:${server.port}`,
        connection: "keep-alive",
        range: "bytes=1-",
        "x-a": "1",
        "accept-encoding": "identity",
        "user-agent": "spillway",
        via: "1.1 spillway"
      })
    }))

  it.live("keeps the user agent that it comes from, and the proxies that it came through", () =>
    Effect.gen(function*() {
      const server = yield* makeRawOrigin(() => response(200))
      const origin = yield* makeOrigin()
      yield* ask(origin, get(server.url, { headers: { "user-agent": "player/1", via: "1.0 a, 2 b" } }))
      assert.strictEqual(server.requests[0]!.fields["user-agent"], "player/1")
      assert.strictEqual(server.requests[0]!.fields["via"], "1.0 a, 2 b, 1.1 spillway")
    }))

  it.live("has any method, and the content codings that the caller accepts", () =>
    Effect.gen(function*() {
      const server = yield* makeRawOrigin(() => response(207, {}, "many"))
      const origin = yield* makeOrigin()
      for (const method of ["GET", "PROPFIND", "DELETE", "OPTIONS", "BREW"]) {
        const answer = yield* ask(origin, get(server.url, { method, headers: { "accept-encoding": "gzip" } }))
        assert.strictEqual(answer.status, 207)
        assert.strictEqual(answer.body, "many")
        assert.strictEqual(server.requests.at(-1)!.method, method)
        assert.strictEqual(server.requests.at(-1)!.fields["accept-encoding"], "gzip")
      }
    }))

  it.live("does not contact anybody offline", () =>
    Effect.gen(function*() {
      const server = yield* makeRawOrigin(() => response(200))
      const origin = yield* makeOrigin({ offline: true })
      const error = yield* Effect.flip(ask(origin, get(`${server.url}/?secret`)))
      assert.strictEqual(error._tag, "OriginUnreachable")
      assert.include(error.message, "--offline")
      assert.notInclude(inspect(error), "secret")
      assert.strictEqual(server.connections(), 0)
    }))
})

describe("a request with a body", () => {
  /** Answers when all of `length` bytes are there. */
  const receiving = (length: number, begin: (request: RawRequest) => void = () => {}) =>
    makeRawOrigin(begin, ({ body }) => body.length === length ? response(201) : undefined)

  it.live("streams it up, with back pressure", () =>
    Effect.gen(function*() {
      const pieces = parts(80, 64 * 1024)
      const expected = sha256(Buffer.concat(pieces))
      const server = yield* receiving(5 * MiB, ({ socket }) => void socket.pause())
      const origin = yield* makeOrigin()
      let given = 0
      const body = Stream.fromIterable(pieces).pipe(
        Stream.rechunk(1),
        Stream.tap((piece) => Effect.sync(() => given += piece.length))
      )
      const uploading = yield* Effect.forkChild(ask(
        origin,
        get(server.url, { method: "PUT", headers: { "content-length": String(5 * MiB), "content-type": "a/b" }, body })
      ))
      yield* until(() => server.requests.length === 1 && given > 0)
      yield* Effect.sleep(100)
      // The rest waits: what was taken is on its way in the system's buffers.
      assert.isBelow(given, 5 * MiB)
      const before = given
      yield* Effect.sleep(50)
      assert.strictEqual(given, before)
      server.requests[0]!.socket.resume()
      assert.strictEqual((yield* Fiber.join(uploading)).status, 201)
      const [seen] = server.requests
      assert.strictEqual(seen!.fields["content-length"], String(5 * MiB))
      assert.strictEqual(seen!.fields["content-type"], "a/b")
      assert.isUndefined(seen!.fields["transfer-encoding"])
      assert.strictEqual(sha256(seen!.body), expected)
    }))

  it.live("sends it in chunks when its length is not known, and invents no type", () =>
    Effect.gen(function*() {
      const pieces = parts(3, 100_000)
      const body = Stream.mapEffect(Stream.fromIterable(pieces), (piece) => Effect.delay(Effect.succeed(piece), 5))
      const server = yield* makeRawOrigin(() => {}, ({ body }) => dechunked(body).whole ? response(200) : undefined)
      const origin = yield* makeOrigin()
      yield* ask(origin, get(server.url, { method: "POST", body }))
      const [seen] = server.requests
      assert.strictEqual(seen!.fields["transfer-encoding"], "chunked")
      assert.isUndefined(seen!.fields["content-length"])
      assert.isUndefined(seen!.fields["content-type"])
      assert.strictEqual(sha256(dechunked(seen!.body).content), sha256(Buffer.concat(pieces)))
    }))

  it.live("has no time-out while whoever sends it takes its time", () =>
    Effect.gen(function*() {
      const server = yield* receiving(5)
      // Long enough for the answer on a busy machine.
      const limit = 1000
      const origin = yield* makeOrigin({ firstByteTimeout: limit })
      const slow = Stream.fromIterable(["he", "l", "lo"]).pipe(
        Stream.mapEffect((letters) => Effect.delay(Effect.succeed(Buffer.from(letters)), limit * 1.3))
      )
      const answer = yield* ask(
        origin,
        get(server.url, { method: "POST", headers: { "content-length": "5" }, body: slow })
      )
      assert.strictEqual(answer.status, 201)
    }))

  it.live("has one when the origin does not take it, or does not answer it", () =>
    Effect.gen(function*() {
      const origin = yield* makeOrigin({ firstByteTimeout: SHORT })
      const deaf = yield* makeRawOrigin((request) => void request.socket.pause())
      const mute = yield* makeRawOrigin(() => {})
      for (const [url, size] of [[deaf.url, 16 * MiB], [mute.url, 10]] as const) {
        const body = Stream.fromIterable(parts(16, size / 16))
        const error = yield* Effect.flip(ask(origin, get(url, { method: "POST", body })))
        assert.strictEqual(error._tag === "OriginTimeout" && error.phase, "header")
      }
    }))

  it.live("fails without what its body says when that fails, and cuts the connection", () =>
    Effect.gen(function*() {
      const server = yield* makeRawOrigin(() => {})
      const origin = yield* makeOrigin()
      const body = Stream.concat(Stream.make(Buffer.from("hello")), Stream.fail(new Error("secret")))
      const error = yield* Effect.flip(ask(origin, get(server.url, { method: "POST", body })))
      assert.strictEqual(error._tag, "OriginUnreachable")
      assert.notInclude(inspect(error, { depth: 9 }), "secret")
      yield* until(() => server.open() === 0)
    }))

  it.live("gets an answer that does not wait for it", () =>
    Effect.gen(function*() {
      const server = yield* makeRawOrigin(() => response(413, { connection: "close" }, "too much"))
      const origin = yield* makeOrigin()
      const endless = Stream.forever(Stream.make(new Uint8Array(1024)))
      const answer = yield* ask(origin, get(server.url, { method: "POST", body: endless }))
      assert.strictEqual(answer.status, 413)
      assert.strictEqual(answer.body, "too much")
      yield* until(() => server.open() === 0)
    }))
})

describe("an answer", () => {
  it.live("is the final one after interim ones", () =>
    Effect.gen(function*() {
      const server = yield* makeRawOrigin(() =>
        "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\nx-early: 1\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n" +
        response(200, { "x-final": "1" }, "hello")
      )
      const origin = yield* makeOrigin()
      const answer = yield* ask(origin, get(server.url))
      assert.strictEqual(answer.status, 200)
      assert.strictEqual(answer.body, "hello")
      assert.deepStrictEqual({ ...answer.headers }, { "content-length": "5", "x-final": "1" })
    }))

  it.live("comes in chunks, whose trailers are dropped, and its connection is used again", () =>
    Effect.gen(function*() {
      const server = yield* makeRawOrigin(() =>
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n" +
        "5;ext=1\r\nhello\r\n6\r\n world\r\n0\r\nx-sum: 1\r\netag: \"forged\"\r\n\r\n"
      )
      const origin = yield* makeOrigin()
      for (let i = 0; i < 3; i++) {
        const answer = yield* ask(origin, get(server.url))
        assert.strictEqual(answer.body, "hello world")
        assert.deepStrictEqual({ ...answer.headers }, { "transfer-encoding": "chunked", trailer: "x-sum" })
        yield* Effect.sleep(20)
      }
      assert.strictEqual(server.connections(), 1)
    }))

  it.live("without a body leaves its connection at once, though its scope is open", () =>
    Effect.gen(function*() {
      const server = yield* makeRawOrigin(({ method, target }) =>
        method === "HEAD" ? "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n" : `HTTP/1.1 ${target.slice(1)} X\r\n\r\n`
      )
      const origin = yield* makeOrigin({ maxRequests: 1 })
      for (
        const [method, path] of [["GET", "/304"], ["GET", "/204"], ["GET", "/304"], ["HEAD", "/"], ["GET", "/204"]]
      ) {
        const answer = yield* origin.request(get(server.url + path!, { method: method! }))
        assert.strictEqual(yield* text(answer.body), "")
        yield* Effect.sleep(20)
      }
      // Only the answer to HEAD costs its connection, which might be out of step.
      assert.strictEqual(server.connections(), 2)
    }))

  it.live("whose scope closes cuts its connection", () =>
    Effect.gen(function*() {
      const server = yield* makeRawOrigin(() => "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello")
      const origin = yield* makeOrigin()
      const scope = yield* Scope.make()
      yield* Scope.provide(origin.request(get(server.url)), scope)
      assert.strictEqual(server.open(), 1)
      yield* Scope.close(scope, Exit.void)
      yield* until(() => server.open() === 0)
    }))

  it.live("that is not waited for any more costs no connection", () =>
    Effect.gen(function*() {
      const server = yield* makeRawOrigin(() => {})
      const origin = yield* makeOrigin()
      const fiber = yield* Effect.forkChild(ask(origin, get(server.url)))
      yield* until(() => server.requests.length === 1)
      yield* Fiber.interrupt(fiber)
      yield* until(() => server.open() === 0)
    }))

  it.live("that breaks off fails at the byte where it did", () =>
    Effect.gen(function*() {
      const server = yield* makeRawOrigin((request) => {
        request.socket.end("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello")
      })
      const origin = yield* makeOrigin()
      const error = yield* Effect.flip(ask(origin, get(`${server.url}/a?secret`, { headers: { cookie: "secret" } })))
      assert.strictEqual(error._tag === "OriginBodyFailed" && error.offset, 5)
      assert.strictEqual(error.url, `${server.url}/a?…`)
      assert.notInclude(inspect(error, { depth: 9 }), "secret")
    }))
})

describe("time-outs", () => {
  const phaseOf = (origin: Origin["Service"], request: OriginRequest) =>
    Effect.map(Effect.flip(ask(origin, request)), (error) => error._tag === "OriginTimeout" ? error.phase : error._tag)

  it.live("connect: where no connection comes to stand", () =>
    Effect.gen(function*() {
      // Nobody shakes hands for TLS. The limit is kept give or take half a second.
      const server = yield* makeRawOrigin(() => {})
      const origin = yield* makeOrigin({ connectTimeout: 50 })
      assert.strictEqual(yield* phaseOf(origin, get(server.url.replace("http:", "https:"))), "connect")
      yield* until(() => server.open() === 0)
    }))

  it.live("header: where no answer begins, or does not go on to the end of its header", () =>
    Effect.gen(function*() {
      const server = yield* makeRawOrigin(({ target }) =>
        target === "/none" ? undefined : target === "/half" ? "HTTP/1.1 200 OK\r\nx-a" : "HTTP/1.1 103 Hints\r\n\r\n"
      )
      const origin = yield* makeOrigin({ firstByteTimeout: SHORT })
      for (const path of ["/none", "/half", "/interim"]) {
        assert.strictEqual(yield* phaseOf(origin, get(server.url + path)), "header")
      }
      yield* until(() => server.open() === 0)
    }))

  it.live("body: where it does not go on", () =>
    Effect.gen(function*() {
      const server = yield* makeRawOrigin(() => "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello")
      const origin = yield* makeOrigin({ silenceTimeout: SHORT })
      assert.strictEqual(yield* phaseOf(origin, get(server.url)), "body")
      yield* until(() => server.open() === 0)
    }))

  it.live("do not strike a body that goes on slowly, or that is read slowly", () =>
    Effect.gen(function*() {
      // Pieces come much more often, so that a busy machine doesn't make a silence.
      const limit = 1000
      const server = yield* makeRawOrigin(({ socket }) => {
        socket.write("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n")
        const timer = setInterval(() => socket.write("x"), limit / 4)
        socket.on("close", () => clearInterval(timer))
      })
      const origin = yield* makeOrigin({ silenceTimeout: limit })
      assert.strictEqual((yield* ask(origin, get(server.url))).body, "xxxxx")
      const whole = yield* makeRawOrigin(() => response(200, {}, "y".repeat(MiB)))
      const slowly = yield* Effect.scoped(Effect.gen(function*() {
        const { body } = yield* origin.request(get(whole.url))
        let pauses = 1
        return yield* text(Stream.tap(body, () => pauses-- > 0 ? Effect.sleep(limit * 1.5) : Effect.void))
      }))
      assert.strictEqual(slowly.length, MiB)
    }))
})

describe("errors", () => {
  it.live("name the errno and no secret where nobody listens", () =>
    Effect.gen(function*() {
      const port = yield* freePort
      const origin = yield* makeOrigin({}, { "two.test": ["::1", "127.0.0.1"] })
      for (const host of ["127.0.0.1", "two.test"]) {
        const error = yield* Effect.flip(
          ask(origin, get(`http://user:secret@${host}:${port}/a?secret`, { headers: { authorization: "secret" } }))
        )
        assert.strictEqual(error._tag, "OriginUnreachable")
        assert.strictEqual(error.url, `http://${host}:${port}/a?…`)
        const { cause } = error as { readonly cause?: unknown }
        assert.strictEqual((cause as NodeJS.ErrnoException).code, "ECONNREFUSED")
        assert.notInclude(inspect(error, { depth: 9, showHidden: true }), "secret")
        assert.notInclude(error.message, "secret")
      }
    }))

  it.live("tell nothing of the request or the answer where there is no errno", () =>
    Effect.gen(function*() {
      const server = yield* makeRawOrigin(({ socket, target }) =>
        target === "/close" ? void socket.end() : "SECRET NONSENSE\r\n\r\n"
      )
      const origin = yield* makeOrigin()
      for (const path of ["/close", "/nonsense"]) {
        const error = yield* Effect.flip(ask(origin, get(`${server.url + path}?secret`, { headers: { a: "secret" } })))
        assert.strictEqual(error._tag, "OriginUnreachable")
        assert.notMatch(inspect(error, { depth: 9, showHidden: true }), /secret/i)
      }
    }))

  it.live("tell of what is no URL, or cannot be sent", () =>
    Effect.gen(function*() {
      const server = yield* makeRawOrigin(() => response(200))
      const origin = yield* makeOrigin()
      for (const request of [get("nonsense?secret"), get(server.url, { headers: { "x-a": "secret\r\nx-b: 1" } })]) {
        const error = yield* Effect.flip(ask(origin, request))
        assert.strictEqual(error._tag, "OriginUnreachable")
        assert.notInclude(inspect(error, { depth: 9 }), "secret")
      }
      assert.strictEqual(server.requests.length, 0)
    }))
})

describe("access to public addresses only", () => {
  it.live("refuses addresses in the URL, in any spelling, without a connection", () =>
    Effect.gen(function*() {
      const server = yield* makeRawOrigin(() => response(200))
      const origin = yield* makeOrigin()
      for (
        const host of [
          "127.0.0.1",
          "127.1",
          "0x7f000001",
          "2130706433",
          "0.0.0.0",
          "[::1]",
          "[::ffff:127.0.0.1]",
          "[::]"
        ]
      ) {
        const url = `http://${host}:${server.port}/a`
        const error = yield* Effect.flip(ask(origin, get(`${url}?secret`, { access: "public" })))
        assert.strictEqual(error._tag, "OriginForbidden")
        assert.isTrue(error.message.endsWith("/a?…: address not allowed"))
      }
      assert.strictEqual(server.connections(), 0)
    }))

  it.live("refuses a name that resolves to others, even where a connection to it is open", () =>
    Effect.gen(function*() {
      const server = yield* makeRawOrigin(() => response(200, {}, "inside"))
      const origin = yield* makeOrigin({}, {
        "rebind.test": ["127.0.0.1"],
        "both.test": ["127.0.0.1", "::1", "10.0.0.1", "fd00::1"]
      })
      for (const host of ["rebind.test", "both.test"]) {
        const url = `http://${host}:${server.port}/`
        assert.strictEqual((yield* ask(origin, get(url))).body, "inside")
        const before = server.connections()
        const error = yield* Effect.flip(ask(origin, get(url, { access: "public" })))
        assert.strictEqual(error._tag, "OriginForbidden")
        assert.strictEqual(server.connections(), before)
        assert.strictEqual((yield* ask(origin, get(url, { access: "any" }))).body, "inside")
      }
    }))

  it.live("is said to be unreachable where a name does not resolve", () =>
    Effect.gen(function*() {
      const origin = yield* makeOrigin()
      const error = yield* Effect.flip(ask(origin, get("http://none.test/", { access: "public" })))
      assert.strictEqual(error._tag, "OriginUnreachable")
    }))

  const resolve = (addresses: ReadonlyArray<string>, all: boolean) =>
    Effect.callback<ReadonlyArray<string>, Error>((resume) =>
      publicOnly(resolving({ "a.test": addresses }))(
        "a.test",
        { all },
        (error: Error | null, found: string | ReadonlyArray<LookupAddress>) =>
          resume(
            error === null
              ? Effect.succeed(typeof found === "string" ? [found] : found.map(({ address }) => address))
              : Effect.fail(error)
          )
      )
    )

  it.live("lets the public ones of several through", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(
        yield* resolve(["10.0.0.1", "8.8.8.8", "::1", "2606:4700::1", "::ffff:127.0.0.1"], true),
        ["8.8.8.8", "2606:4700::1"]
      )
      assert.deepStrictEqual(yield* resolve(["8.8.8.8", "10.0.0.1"], false), ["8.8.8.8"])
      yield* Effect.flip(resolve(["10.0.0.1", "8.8.8.8"], false))
      yield* Effect.flip(resolve(["10.0.0.1", "fe80::1"], true))
      yield* Effect.flip(resolve([], true))
    }))

  it.live("cannot be had of a client from elsewhere", () =>
    Effect.gen(function*() {
      const client = HttpClient.make((request) =>
        Effect.succeed(HttpClientResponse.fromWeb(request, new Response("hello")))
      )
      const origin = yield* Layer.build(Origin.layerNoDeps).pipe(
        Effect.map(Context.get(Origin)),
        Effect.provideService(HttpClient.HttpClient, client),
        Effect.provide(OriginConfig.layer())
      )
      assert.strictEqual((yield* ask(origin, get("http://a.test/"))).body, "hello")
      const error = yield* Effect.flip(ask(origin, get("http://a.test/", { access: "public" })))
      assert.strictEqual(error._tag, "OriginForbidden")
    }))
})

describe("redirects", () => {
  const to = (location: string, status = 302) => response(status, { location }, "moved")

  it.live("are followed within an origin, with all fields", () =>
    Effect.gen(function*() {
      const server = yield* makeRawOrigin(({ target }) => {
        const [, step] = /^\/(\d)$/.exec(target) ?? []
        if (step === undefined) return response(206, {}, "there")
        const status = [301, 302, 303, 307, 308][Number(step)]!
        return to(step === "4" ? "there?a=b#fragment" : String(Number(step) + 1), status)
      })
      const origin = yield* makeOrigin()
      const headers = { range: "bytes=5-", "if-none-match": "\"a\"", authorization: "a", cookie: "b" }
      const answer = yield* ask(origin, get(`${server.url}/0`, { headers }))
      assert.strictEqual(answer.status, 206)
      assert.strictEqual(answer.body, "there")
      assert.deepStrictEqual(
        server.requests.map(({ target }) => target),
        ["/0", "/1", "/2", "/3", "/4", "/there?a=b"]
      )
      for (const { fields } of server.requests) assert.deepInclude(fields, { ...headers, via: "1.1 spillway" })
    }))

  it.live("are followed for HEAD, and for no other method", () =>
    Effect.gen(function*() {
      const server = yield* makeRawOrigin(({ method, target }) =>
        target === "/b" ? response(200) : method === "HEAD" ? "HTTP/1.1 301 X\r\nlocation: /b\r\n\r\n" : to("/b", 307)
      )
      const origin = yield* makeOrigin()
      assert.strictEqual((yield* ask(origin, get(server.url, { method: "HEAD" }))).status, 200)
      assert.deepStrictEqual(server.requests.map(({ method }) => method), ["HEAD", "HEAD"])
      for (const method of ["POST", "OPTIONS", "PROPFIND"]) {
        const answer = yield* ask(origin, get(server.url, { method }))
        assert.strictEqual(answer.status, 307)
        assert.strictEqual(answer.body, "moved")
      }
      const withBody = yield* ask(origin, get(server.url, { body: Stream.make(Buffer.from("a")) }))
      assert.strictEqual(withBody.status, 307)
    }))

  it.live("are answers like others after five", () =>
    Effect.gen(function*() {
      const server = yield* makeRawOrigin(({ target }) => to(`${target}x`))
      const origin = yield* makeOrigin()
      const answer = yield* ask(origin, get(`${server.url}/`))
      assert.strictEqual(answer.status, 302)
      assert.strictEqual(answer.headers["location"], "/xxxxxx")
      assert.strictEqual(answer.body, "moved")
      assert.strictEqual(server.requests.length, 6)
    }))

  it.live("that lead in a circle end", () =>
    Effect.gen(function*() {
      const server = yield* makeRawOrigin(({ target }) => to(target === "/a" ? "/b" : "/a"))
      const origin = yield* makeOrigin()
      assert.strictEqual((yield* ask(origin, get(`${server.url}/a`))).status, 302)
      assert.strictEqual(server.requests.length, 6)
    }))

  it.live("are answers like others where there is nowhere to go", () =>
    Effect.gen(function*() {
      const server = yield* makeRawOrigin(({ target }) => {
        switch (target) {
          case "/none":
            return response(302)
          case "/ftp":
            return to("ftp://127.0.0.1/a")
          case "/bad":
            return to("http://a b/")
          case "/300":
            return to("/x", 300)
          case "/304":
            return "HTTP/1.1 304 X\r\nlocation: /x\r\n\r\n"
          default:
            return to("/x", 201)
        }
      })
      const origin = yield* makeOrigin()
      for (
        const [path, status] of [["none", 302], ["ftp", 302], ["bad", 302], ["300", 300], ["304", 304], ["y", 201]]
      ) {
        assert.strictEqual((yield* ask(origin, get(`${server.url}/${path}`))).status, status)
      }
      assert.strictEqual(server.requests.length, 6)
    }))

  it.live("to a server that may not be contacted are not followed: it sees no connection", () =>
    Effect.gen(function*() {
      const forbidden = yield* makeRawOrigin(() => response(200, {}, "inside"))
      const server = yield* makeRawOrigin(() => to(`${forbidden.url}/a`, 301))
      const origin = yield* makeOrigin({ origins: origins([server.url]) })
      const answer = yield* ask(origin, get(server.url))
      assert.strictEqual(answer.status, 301)
      assert.strictEqual(answer.headers["location"], `${forbidden.url}/a`)
      assert.strictEqual(answer.body, "moved")
      assert.strictEqual(forbidden.connections(), 0)
    }))

  it.live("to another origin that may be are followed without what is meant for the first", () =>
    Effect.gen(function*() {
      const other = yield* makeRawOrigin(() => response(200, {}, "other"))
      const server = yield* makeRawOrigin(() => to(`http://user:secret@127.0.0.1:${other.port}/b?c#d`))
      const origin = yield* makeOrigin({ origins: origins([server.url, `/elsewhere=${other.url}/path`]) })
      const answer = yield* ask(
        origin,
        get(server.url, {
          headers: {
            authorization: "secret",
            cookie: "secret",
            host: "first.example",
            range: "bytes=1-",
            "if-range": "\"a\"",
            "user-agent": "player"
          }
        })
      )
      assert.strictEqual(answer.body, "other")
      assert.strictEqual(server.requests[0]!.fields["host"], "first.example")
      const [seen] = other.requests
      assert.strictEqual(seen!.target, "/b?c")
      assert.notInclude(seen!.head, "secret")
      assert.strictEqual(seen!.fields["host"], `127.0.0.1:${other.port}`)
      assert.deepInclude(seen!.fields, { range: "bytes=1-", "if-range": "\"a\"", "user-agent": "player" })
    }))

  it.live("to a host that may be named go to public addresses only, unless others are allowed", () =>
    Effect.gen(function*() {
      const inside = yield* makeRawOrigin(() => response(200, {}, "inside"))
      const server = yield* makeRawOrigin(() => to(`http://rebind.test:${inside.port}/a?secret`))
      const names = { "rebind.test": ["127.0.0.1"] }
      const urlHosts = [`rebind.test:${inside.port}`]
      const careful = yield* makeOrigin({ origins: origins([server.url], { urlHosts }) }, names)
      const error = yield* Effect.flip(ask(careful, get(server.url)))
      assert.strictEqual(error._tag, "OriginForbidden")
      assert.strictEqual(error.url, `http://rebind.test:${inside.port}/a?…`)
      assert.strictEqual(inside.connections(), 0)
      const open = yield* makeOrigin({ origins: origins([server.url], { urlHosts, allowPrivate: true }) }, names)
      assert.strictEqual((yield* ask(open, get(server.url))).body, "inside")
    }))

  it.live("leave their connection for the next request where their body comes soon", () =>
    Effect.gen(function*() {
      const server = yield* makeRawOrigin(({ socket, target }) => {
        if (target === "/xxxxx") return response(200, {}, "there")
        const answer = to(`${target}x`)
        setTimeout(() => socket.write(answer.slice(-5)), 10)
        return answer.slice(0, -5)
      })
      const origin = yield* makeOrigin()
      assert.strictEqual((yield* ask(origin, get(`${server.url}/`))).body, "there")
      assert.strictEqual(server.requests.length, 6)
      assert.isAtMost(server.connections(), 2)
    }))

  it.live("wait neither for a body without end, nor for one that does not come", () =>
    Effect.gen(function*() {
      let sent = 0
      const server = yield* makeRawOrigin(({ socket, target }) => {
        if (target === "/b") return response(200, {}, "there")
        socket.write("HTTP/1.1 302 X\r\nlocation: /b\r\ncontent-length: 999999999\r\n\r\n")
        const more = () => {
          if (!socket.writable) return
          sent += 64 * 1024
          socket.write(Buffer.alloc(64 * 1024), () => setImmediate(more))
        }
        if (target === "/endless") more()
      })
      const origin = yield* makeOrigin()
      for (const path of ["/endless", "/none"]) {
        assert.strictEqual((yield* ask(origin, get(server.url + path))).body, "there")
      }
      // What the system's buffers hold.
      assert.isBelow(sent, 2 * MiB)
      yield* until(() => server.open() <= 2)
    }))

  it.live("give their place back before the next request", () =>
    Effect.gen(function*() {
      const server = yield* makeRawOrigin(({ target }) => target === "/b" ? response(200, {}, "there") : to("/b"))
      const origin = yield* makeOrigin({ maxRequests: 1 })
      assert.strictEqual((yield* ask(origin, get(`${server.url}/a`))).body, "there")
    }))
})

describe("the number of requests under way", () => {
  const slow = makeRawOrigin(({ target }) =>
    target === "/quick" ? response(200) : "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello"
  )

  it.live("has a bound for each origin, and a place is free when a scope closes", () =>
    Effect.gen(function*() {
      const server = yield* slow
      const other = yield* slow
      const origin = yield* makeOrigin({ maxRequests: 2, firstByteTimeout: 1000 })
      const scopes = [yield* Scope.make(), yield* Scope.make()]
      for (const scope of scopes) yield* Scope.provide(origin.request(get(server.url)), scope)
      const third = yield* Effect.forkChild(ask(origin, get(`${server.url}/quick`)))
      yield* ask(origin, get(`${other.url}/quick`))
      yield* Effect.sleep(20)
      assert.strictEqual(server.requests.length, 2)
      yield* Scope.close(scopes[0]!, Exit.void)
      assert.strictEqual((yield* Fiber.join(third)).status, 200)
      yield* Scope.close(scopes[1]!, Exit.void)
    }))

  it.live("is bounded by time: the phase is queue", () =>
    Effect.gen(function*() {
      const server = yield* slow
      const origin = yield* makeOrigin({ maxRequests: 1, firstByteTimeout: SHORT })
      yield* origin.request(get(server.url))
      const error = yield* Effect.flip(ask(origin, get(`${server.url}/quick`)))
      assert.strictEqual(error._tag === "OriginTimeout" && error.phase, "queue")
      assert.strictEqual(server.requests.length, 1)
    }))

  it.live("counts neither those that failed nor those that gave up", () =>
    Effect.gen(function*() {
      const server = yield* makeRawOrigin(({ socket, target }) =>
        target === "/cut" ? void socket.end() : target === "/mute" ? undefined : response(200)
      )
      const origin = yield* makeOrigin({ maxRequests: 1, firstByteTimeout: 2000 })
      // In a scope that stays open.
      for (const path of ["/cut", "/mute"]) yield* Effect.flip(origin.request(get(server.url + path)))
      const fiber = yield* Effect.forkChild(ask(origin, get(`${server.url}/mute`)))
      yield* until(() => server.requests.length === 3)
      yield* Fiber.interrupt(fiber)
      assert.strictEqual((yield* ask(origin, get(`${server.url}/quick`))).status, 200)
    }))

  it.live("lets a viewer's request go before one in the background", () =>
    Effect.gen(function*() {
      const server = yield* slow
      const origin = yield* makeOrigin({ maxRequests: 1, firstByteTimeout: 1000 })
      const scope = yield* Scope.make()
      yield* Scope.provide(origin.request(get(server.url)), scope)
      const background = get(`${server.url}/quick`, { background: true, headers: { "x-who": "background" } })
      const viewer = get(`${server.url}/quick`, { headers: { "x-who": "viewer" } })
      const fibers = [
        yield* Effect.forkChild(ask(origin, background), { startImmediately: true }),
        yield* Effect.forkChild(ask(origin, viewer), { startImmediately: true })
      ]
      yield* Scope.close(scope, Exit.void)
      yield* Effect.forEach(fibers, Fiber.join)
      const who = server.requests.slice(1).map(({ fields }: RawRequest) => fields["x-who"])
      assert.deepStrictEqual(who, ["viewer", "background"])
    }))
})
