import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Layer, Logger, References } from "effect"
import { TestClock } from "effect/testing"
import { type LookupFunction } from "node:net"
import { type OriginError, OriginForbidden, OriginUnexpected, OriginUnreachable } from "../../src/domain/OriginError.ts"
import { make as makeResource } from "../../src/domain/Resource.ts"
import { makeRoute, type Origins, parseRoute, type Route } from "../../src/domain/Route.ts"
import type { Location, Refusal } from "../../src/services/origin/askOrigin.ts"
import { HostLookup } from "../../src/services/origin/originConnections.ts"
import { LOCATE_MILLIS, OriginResolver, type Wanted } from "../../src/services/origin/OriginResolver.ts"
import { story } from "../support/cacheStatus.ts"
import { eventually } from "../support/Program.ts"
import { makeRawOrigin, response } from "../support/RawOrigin.ts"
import { makeSignedOrigin, type SignedOptions, type SignedOrigin } from "../support/SignedOrigin.ts"
import { fileOf, makeTestOrigin, MiB, randomBytes, sha256, type TestOrigin } from "../support/TestOrigin.ts"
import { exchange, makeTestProxy, type TestProxy } from "./TestProxy.ts"

const bytes = randomBytes(MiB, 7)

const pathOf = (target: string): string => target.split("?", 1)[0]!

/** What is asked of a resolver. */
interface Calls {
  readonly identified: Array<Wanted>
  readonly located: Array<Refusal | undefined>
}

/**
 * A resolver as an application would have: files are known by their path, whatever the viewer's query, and are had at `origin` with
 * a signature of `sign`'s.
 */
const signing = (
  url: string,
  calls: Calls,
  sign: (refusal: Refusal | undefined) => string
): Layer.Layer<OriginResolver> =>
  Layer.succeed(OriginResolver, {
    identify: (wanted) => {
      calls.identified.push(wanted)
      return makeResource(url + pathOf(wanted.target))
    },
    locate: (_, resource, refusal) =>
      Effect.sync(() => {
        calls.located.push(refusal)
        return { url: `${resource.url}?sig=${sign(refusal)}&expires=1`, headers: {} }
      })
  })

const startSigned = Effect.fnUntraced(function*(
  options: SignedOptions,
  signer: (origin: SignedOrigin) => (refusal: Refusal | undefined) => string
) {
  const origin = yield* makeSignedOrigin(options)
  const calls: Calls = { identified: [], located: [] }
  const proxy = yield* makeTestProxy({ resolver: () => signing(origin.url, calls, signer(origin)) })
  return { ...proxy, origin, calls }
})

describe("a resolver that signs URLs", () => {
  it.live("lets viewers with different signatures share one entry and one transfer", () =>
    Effect.gen(function*() {
      const { ask, calls, origin } = yield* startSigned({ bytes, refusal: 403 }, ({ sign }) => sign)
      const viewers = Array.from({ length: 5 }, (_, i) => ask(`/film?sig=viewer-${i}&expires=${i}`))
      for (const { body } of yield* Effect.all(viewers, { concurrency: "unbounded" })) {
        assert.strictEqual(sha256(body), sha256(bytes))
      }
      assert.deepStrictEqual(origin.requests.map(({ signature }) => signature), ["signature-1"])
      assert.lengthOf(calls.located, 1)
      const keys = new Set<string>()
      for (let i = 0; i < 3; i++) {
        const { headers } = yield* ask(`/film?sig=later-${i}`, { headers: { range: `bytes=${i}-${i + 9}` } })
        assert.strictEqual(story(headers), "spillway; hit")
        keys.add(String(headers["cache-status"]).replace(/.*key=/, ""))
      }
      assert.deepStrictEqual([...keys], [`"${makeResource(`${origin.url}/film`).id}"`])
      // A hit needs no location.
      assert.lengthOf(calls.located, 1)
    }))

  it.live("signs each request to the origin", () =>
    Effect.gen(function*() {
      const { ask, origin } = yield* startSigned({ bytes, refusal: 403 }, ({ revoke, sign }) => {
        let last: string | undefined
        return () => {
          if (last !== undefined) revoke(last)
          return last = sign()
        }
      })
      yield* ask("/film", { headers: { range: "bytes=0-9" } })
      yield* ask("/film", { headers: { range: "bytes=500000-500009" } })
      assert.strictEqual((yield* ask("/film?x", { method: "HEAD" })).status, 200)
      assert.strictEqual((yield* ask("/film", { method: "POST", body: "x" })).status, 200)
      const signatures = origin.requests.map(({ signature }) => signature)
      assert.strictEqual(new Set(signatures).size, signatures.length)
      assert.isTrue(origin.requests.every(({ status }) => status < 300))
    }))

  it.live.each([401, 403] as const)(
    "is asked again when a signature expires in mid-body (%i), and the stream continues at the exact byte",
    (refusal) =>
      Effect.gen(function*() {
        const expiresAt = 300_001
        // A signature is used for as long as it is not refused.
        const { ask, calls, origin } = yield* startSigned({ bytes, refusal, expiresAt }, ({ sign }) => {
          let last = sign()
          return (refused) => refused === undefined ? last : last = sign()
        })
        const viewers = Array.from({ length: 4 }, (_, i) => ask(`/film?sig=${i}`))
        for (const { body, status } of yield* Effect.all(viewers, { concurrency: "unbounded" })) {
          assert.strictEqual(status, 200)
          assert.strictEqual(sha256(body), sha256(bytes))
        }
        assert.deepStrictEqual(
          origin.requests.map(({ from, signature, status }) => [signature, status, from]),
          [
            ["signature-1", 200, 0],
            ["signature-1", refusal, expiresAt],
            ["signature-2", 206, expiresAt]
          ]
        )
        const refusals = calls.located.filter((refused) => refused !== undefined)
        assert.lengthOf(refusals, 1)
        assert.strictEqual(refusals[0]!.status, refusal)
        assert.include(refusals[0]!.location.url, "sig=signature-1")
      })
  )

  it.live("that gives a refused location again fails the answer, once for viewers with the same target and fields", () =>
    Effect.gen(function*() {
      const { ask, calls, origin } = yield* startSigned({ bytes, refusal: 403, expiresAt: 300_000 }, ({ sign }) => {
        const only = sign()
        return () => only
      })
      const exits = yield* Effect.forEach([1, 2, 3], () => Effect.exit(ask("/film")), {
        concurrency: "unbounded"
      })
      assert.deepStrictEqual(exits.map(({ _tag }) => _tag), ["Failure", "Failure", "Failure"])
      assert.deepStrictEqual(origin.requests.map(({ status }) => status), [200, 403])
      assert.lengthOf(calls.located.filter((refused) => refused !== undefined), 1)
      // Before the first byte, there is an answer: that of the origin where nothing else is known of the file.
      assert.strictEqual((yield* ask("/film", { headers: { range: "bytes=900000-" } })).status, 502)
      const refused = yield* ask("/other")
      assert.strictEqual(refused.status, 403)
      assert.strictEqual(refused.body.toString(), "signature\n")
    }))
})

/** A resolver that knows the key of everything, and locates it by `locate`. */
const locating = (locate: (refusal: Refusal | undefined) => Effect.Effect<Location, OriginError>) =>
  Layer.succeed(OriginResolver, {
    identify: ({ target }) => makeResource(`http://files.example${pathOf(target)}`),
    locate: (_, _resource, refusal) => locate(refusal)
  })

describe("a resolver that fails", () => {
  const url = "http://files.example/film?…"

  it.live.each(
    [
      [new OriginUnreachable({ url, cause: "no signature: secret" }), 502, "ORIGIN_UNREACHABLE"],
      [new OriginUnexpected({ url, status: 500, detail: "secret" }), 502, "ORIGIN_UNEXPECTED"],
      [new OriginForbidden({ url }), 403, "ADDRESS_NOT_ALLOWED"]
    ] as const
  )("by %o makes an answer of %i", ([error, status, detail]) =>
    Effect.gen(function*() {
      const { ask, origin } = yield* makeTestProxy({ resolver: () => locating(() => Effect.fail(error)) })
      const methods = ["GET", "HEAD", "POST"]
      for (const answer of yield* Effect.forEach(methods, (method) => ask("/film", { method }), { concurrency: 3 })) {
        assert.strictEqual(answer.status, status)
        assert.include(story(answer.headers), `detail=${detail}`)
        assert.notInclude(answer.body.toString(), "secret")
      }
      assert.lengthOf(origin.requests, 0)
    }))

  it.live("in mid-body cuts the answer visibly", () =>
    Effect.gen(function*() {
      const origin = yield* makeSignedOrigin({ bytes, refusal: 403, expiresAt: 300_000 })
      const location = { url: `${origin.url}/film?sig=${origin.sign()}`, headers: {} }
      const { ask } = yield* makeTestProxy({
        resolver: () =>
          locating((refusal) =>
            refusal === undefined
              ? Effect.succeed(location)
              : Effect.fail(new OriginUnexpected({ url, status: 403, detail: "no signature" }))
          )
      })
      assert.strictEqual((yield* Effect.exit(ask("/film")))._tag, "Failure")
      assert.deepStrictEqual(origin.requests.map(({ status }) => status), [200, 403])
    }))

  it.live("with a defect is answered 500 without details", () =>
    Effect.gen(function*() {
      const { ask } = yield* makeTestProxy({ resolver: () => locating(() => Effect.die(new Error("secret"))) })
      const answer = yield* ask("/film")
      assert.strictEqual(answer.status, 500)
      assert.strictEqual(answer.body.toString(), "Internal error\n")
    }).pipe(Effect.provide(Logger.layer([]))))

  it.effect("to answer is given ten seconds, twice", () =>
    Effect.gen(function*() {
      let asked = 0
      const { ask } = yield* makeTestProxy({
        resolver: () => locating(() => Effect.andThen(Effect.sync(() => asked += 1), Effect.never))
      })
      const fiber = yield* Effect.forkChild(ask("/film"))
      for (let i = 1; i <= 2; i++) {
        yield* TestClock.withLive(eventually("the question", Effect.sync(() => asked === i)))
        yield* TestClock.adjust(LOCATE_MILLIS)
        yield* TestClock.adjust("1 second")
      }
      const answer = yield* Fiber.join(fiber)
      assert.strictEqual(answer.status, 504)
      assert.strictEqual(story(answer.headers), "spillway; fwd=miss; detail=ORIGIN_TIMEOUT")
      assert.strictEqual(asked, 2)
    }))
})

/** A logger of all that is said, as the program prints it. */
const recorded = () => {
  const lines: Array<string> = []
  const layer = Layer.merge(
    Logger.layer([Logger.map(Logger.formatLogFmt, (line) => void lines.push(line))]),
    Layer.succeed(References.MinimumLogLevel, "All")
  )
  return { lines, layer }
}

describe("fields from a resolver", () => {
  const headers = { "Authorization": "Bearer secret", "X-Token": "secret", "x-other": "secret" }

  it.live("override the viewer's, and reach only the origin", () => {
    const { layer, lines } = recorded()
    return Effect.gen(function*() {
      const { ask, origin } = yield* makeTestProxy({
        resolver: ({ url }) => locating(() => Effect.succeed({ url: `${url}/film?secret`, headers }))
      })
      origin.files.set("/film?secret", fileOf(MiB, 1, { headers: { "cache-control": "max-age=0", vary: "x-token" } }))
      const own = { authorization: "Bearer own", "x-token": "own" }
      const answers = yield* Effect.all([
        ask("/film"),
        ask("/film", { headers: { range: "bytes=0-9" } }),
        ask("/film", { headers: own }),
        ask("/film", { method: "HEAD" }),
        ask("/film", { method: "POST", body: "x", headers: own })
      ])
      assert.isAtLeast(origin.requests.length, 5)
      for (const { headers: seen } of origin.requests) {
        assert.deepInclude(seen, { "authorization": "Bearer secret", "x-token": "secret", "x-other": "secret" })
      }
      yield* origin.close
      answers.push(yield* ask("/film"), yield* ask("/other"), yield* ask("/film", { method: "POST", headers: own }))
      assert.deepStrictEqual(answers.map(({ status }) => status), [200, 206, 200, 200, 200, 502, 502, 502])
      for (const { body, lines } of answers) {
        assert.notInclude(JSON.stringify(lines), "secret")
        assert.notInclude(body.toString("latin1"), "secret")
      }
      assert.include(lines.join(), "Origin failed")
      assert.notInclude(lines.join(), "secret")
    }).pipe(Effect.provide(layer))
  })

  it.live("are sent to the server that it names, and not after a redirect to another", () =>
    Effect.gen(function*() {
      const other = yield* makeRawOrigin(() => response(200, { etag: "\"1\"" }, "other"))
      const first = yield* makeRawOrigin(({ target }) =>
        target === "/film"
          ? response(302, { location: "/here" })
          : response(302, { location: `${other.url}/there` })
      )
      const { ask } = yield* makeTestProxy({
        origins: { origins: { routes: [makeRoute({ _tag: "All" }, new URL(other.url))], ...nothingNamed } },
        resolver: () => locating(() => Effect.succeed({ url: `${first.url}/film`, headers }))
      })
      assert.strictEqual((yield* ask("/film", { headers: { "x-own": "1" } })).body.toString(), "other")
      assert.deepStrictEqual(first.requests.map(({ target }) => target), ["/film", "/here"])
      for (const { fields } of first.requests) assert.strictEqual(fields["x-token"], "secret")
      assert.strictEqual(other.requests[0]!.fields["x-own"], "1")
      assert.notInclude(other.requests[0]!.head, "secret")
    }))
})

const nothingNamed = { urlHosts: [], allowPrivate: false }

const route = (text: string): Route => {
  const parsed = parseRoute(text)
  if (typeof parsed === "string") throw new Error(parsed)
  return parsed
}

/** Has every path of `origin` answered with `name` and what was asked for. */
const echo = Effect.fnUntraced(function*(name: string, seen: Array<string> = []) {
  return yield* makeRawOrigin(({ target }) => {
    seen.push(target)
    return response(200, { "cache-control": "max-age=60", etag: "\"1\"" }, `${name} ${target}`)
  })
})

describe("several origins", () => {
  /** The body of the answer to `GET path` for a host, or its status where that is no 200. */
  const get = (proxy: TestProxy) =>
    Effect.fnUntraced(function*(path: string, host = "spillway.example") {
      const { body, status } = yield* proxy.ask(path, { headers: { host } })
      return status === 200 ? body.toString() : String(status)
    })

  it.live("are chosen by path, the longest first, and by host", () =>
    Effect.gen(function*() {
      const [films, shorts, host, port] = [
        yield* echo("films"),
        yield* echo("shorts"),
        yield* echo("host"),
        yield* echo("port")
      ]
      const routes = [
        `/films=${films.url}/base/`,
        `/films/shorts=${shorts.url}`,
        `music.example=${host.url}/m`,
        `music.example:8080=${port.url}`
      ].map(route)
      const ask = get(yield* makeTestProxy({ origins: { origins: { routes, ...nothingNamed } } }))
      const cases: ReadonlyArray<readonly [path: string, host: string | undefined, expected: string]> = [
        ["/films/a", undefined, "films /base/a"],
        ["/films/a?b=/films/shorts", undefined, "films /base/a?b=/films/shorts"],
        ["/films", undefined, "films /base/"],
        ["/films?a", undefined, "films /base/?a"],
        ["/films/", undefined, "films /base/"],
        ["/films//a", undefined, "films /base//a"],
        ["/films/shorts/a", undefined, "shorts /a"],
        ["/films/shortsa", undefined, "films /base/shortsa"],
        ["/films/shorts", undefined, "shorts /"],
        ["/filmsx", undefined, "404"],
        ["/films%2Fa", undefined, "404"],
        ["/Films/a", undefined, "404"],
        ["/", undefined, "404"],
        ["/films/a", "music.example", "host /m/films/a"],
        ["/a", "Music.EXAMPLE", "host /m/a"],
        ["/a", "music.example:80", "host /m/a"],
        ["/a", "music.example:8080", "port /a"],
        ["/a", "MUSIC.example:8080", "port /a"],
        ["/a", "x.music.example", "404"],
        ["/a", "music.example.evil.example", "404"]
      ]
      for (const [path, host, expected] of cases) {
        assert.strictEqual(yield* ask(path, host), expected, `${host} ${path}`)
      }
    }))

  it.live("have separate entries for equal paths", () =>
    Effect.gen(function*() {
      const [one, two] = [yield* echo("one"), yield* echo("two")]
      const routes = [`one.example=${one.url}`, `two.example=${two.url}`, `/one=${one.url}`].map(route)
      const proxy = yield* makeTestProxy({ origins: { origins: { routes, ...nothingNamed } } })
      const ask = get(proxy)
      for (let i = 0; i < 2; i++) {
        assert.strictEqual(yield* ask("/a", "one.example"), "one /a")
        assert.strictEqual(yield* ask("/a", "two.example"), "two /a")
        assert.strictEqual(yield* ask("/one/a"), "one /a")
      }
      assert.deepStrictEqual([one, two].map(({ requests }) => requests.length), [1, 1])
    }))
})

describe("request targets", () => {
  const leaving = [
    "/../secret",
    "/films/../secret",
    "/films/..",
    "/films/../films/../secret",
    "/films/%2e%2e/secret",
    "/films/.%2E/secret",
    "/films/%2e./secret",
    "/films/..%2fsecret",
    "/films/..%2Fsecret",
    "/films%2f..%2fsecret",
    "/films/a%2f..%2f..%2fsecret",
    "/films/..%5csecret",
    "/films/..\\secret",
    "/films\\..\\secret",
    "/films/..;/secret",
    "/films/..;a=b/secret",
    "/films/%2e%2e%3b/secret",
    "/films/..?a",
    "/films/..#a",
    "/films/.\t./secret",
    "/films/.\0./secret"
  ]

  it.live("cannot leave the path of a route, in any spelling", () =>
    Effect.gen(function*() {
      const seen: Array<string> = []
      const films = yield* echo("films", seen)
      const routes = [route(`/films=${films.url}/base`)]
      const { port } = yield* makeTestProxy({ origins: { origins: { routes, ...nothingNamed } } })
      for (const target of leaving) {
        const received = yield* exchange(port, `GET ${target} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n`)
        assert.match(received, /^HTTP\/1\.1 40[04] /, target)
        yield* exchange(port, `GET http://test${target} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n`)
      }
      const kept = ["/films/%252e%252e/a", "/films/...", "/films/..a", "/films/a..", "/films/a/%2F/b", "/films//a"]
      for (const target of kept) {
        const received = yield* exchange(port, `GET ${target} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n`)
        assert.match(received, /^HTTP\/1\.1 200 /, target)
      }
      assert.isAtLeast(seen.length, kept.length)
      for (const target of seen) assert.isTrue(target.startsWith("/base/"), target)
    }))

  it.live("reach their route without plain dot segments, and the origin with their query", () =>
    Effect.gen(function*() {
      const seen: Array<string> = []
      const films = yield* echo("films", seen)
      const others = yield* echo("others", [])
      const routes = [route(`/films=${films.url}/base`), route(others.url)]
      const { port } = yield* makeTestProxy({ origins: { origins: { routes, ...nothingNamed } } })
      const targets = [
        ["/films/./Packages", "/base/Packages"],
        ["/./films/a/.", "/base/a/"],
        ["/films/search?q=C:\\temp\\..\\x|^{}`", "/base/search?q=C:\\temp\\..\\x|^{}`"]
      ] as const
      for (const [target, asked] of targets) {
        const received = yield* exchange(port, `GET ${target} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n`)
        assert.match(received, /^HTTP\/1\.1 200 /, target)
        assert.strictEqual(seen.at(-1), asked)
      }
      // A page of Spillway's own is reached by its very path alone.
      const named = yield* exchange(
        port,
        "GET /./_spillway/url?url=a HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"
      )
      assert.include(named, "others")
    }))

  it.live("reach no other host, whatever they name", () =>
    Effect.gen(function*() {
      const other = yield* makeRawOrigin(() => response(200, {}, "other"))
      const proxy = yield* makeTestProxy()
      const authority = `127.0.0.1:${other.port}`
      const targets = [
        `http://${authority}/a`,
        `HTTP://${authority}/a`,
        `http://user@${authority}/a`,
        `https://${authority}/a`,
        `//${authority}/a`,
        `///${authority}/a`,
        `/\\${authority}/a`,
        `/@${authority}/a`,
        `@${authority}/a`,
        `:@${authority}/a`,
        `/http://${authority}/a`,
        `/?url=http://${authority}/a`,
        `/_spillway/url?url=http://${authority}/a`,
        `ftp://${authority}/a`,
        authority,
        `*`
      ]
      for (const target of targets) {
        for (const host of ["test", authority]) {
          for (const method of ["GET", "POST", "OPTIONS", "CONNECT"]) {
            yield* exchange(proxy.port, `${method} ${target} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`)
          }
        }
      }
      assert.strictEqual(other.connections(), 0)
      for (const { headers } of proxy.origin.requests) assert.strictEqual(`http://${headers.host}`, proxy.origin.url)
    }))
})

const resolving = (names: Record<string, ReadonlyArray<string>>): LookupFunction => (hostname, options, callback) => {
  const found = (names[hostname] ?? []).map((address) => ({ address, family: address.includes(":") ? 6 : 4 }))
  if (found.length === 0) return callback(Object.assign(new Error("no such name"), { code: "ENOTFOUND" }), [])
  if (options.all === true) return callback(null, found)
  callback(null, found[0]!.address, found[0]!.family)
}

describe("URLs that viewers name", () => {
  interface Named {
    readonly proxy: TestProxy
    readonly other: TestOrigin
    /** Asks for a URL through Spillway. */
    readonly fetch: (url: string, headers?: Record<string, string>) => ReturnType<TestProxy["ask"]>
  }

  /** A proxy that lets viewers name `hosts`, each with the port of another origin in it for `PORT`. */
  const start = Effect.fnUntraced(function*(hosts: ReadonlyArray<string>, options: Partial<Origins> = {}) {
    const other = yield* makeTestOrigin
    const { port } = new URL(other.url)
    const names = {
      "media.test": ["127.0.0.1"],
      "a.media.test": ["127.0.0.1", "::1"],
      "meta.test": ["169.254.169.254"]
    }
    const proxy = yield* makeTestProxy({
      origins: {
        connectTimeout: 1000,
        origins: {
          routes: [],
          allowPrivate: false,
          urlHosts: hosts.map((host) => host.replace("PORT", port)),
          ...options
        }
      }
    }).pipe(Effect.provideService(HostLookup, resolving(names)))
    const fetch = (url: string, headers: Record<string, string> = {}) =>
      proxy.ask(`/_spillway/url?url=${encodeURIComponent(url.replace("PORT", port))}`, { headers })
    return { proxy, other, fetch } satisfies Named
  })

  const allowed = { allowPrivate: true }

  it.live("are not served unless hosts are listed", () =>
    Effect.gen(function*() {
      const { fetch, other, proxy } = yield* start([])
      assert.strictEqual((yield* fetch("http://127.0.0.1:PORT/a")).status, 404)
      assert.strictEqual((yield* fetch(`${proxy.origin.url}/a`)).status, 404)
      assert.lengthOf([...other.requests, ...proxy.origin.requests], 0)
    }))

  it.live("need a listed host and port", () =>
    Effect.gen(function*() {
      const { fetch, other } = yield* start(["media.test:PORT", "*.media.test:PORT", "plain.test"], allowed)
      other.files.set("/a", fileOf(1000, 1))
      for (const url of ["http://media.test:PORT/a", "http://MEDIA.test:PORT/a", "http://a.media.test:PORT/a#b"]) {
        assert.strictEqual((yield* fetch(url)).status, 200, url)
      }
      const refused = [
        "http://media.test/a",
        "https://media.test/a",
        "http://127.0.0.1:PORT/a",
        "http://localhost:PORT/a",
        "http://plain.test:PORT/a",
        "http://amedia.test:PORT/a",
        "http://media.test.evil.example:PORT/a",
        "http://media.test:PORT.evil.example/a",
        "http://evil.example/http://media.test:PORT/a",
        "http://media.test.:PORT/a"
      ]
      const before = other.requests.length
      for (const url of refused) assert.include([400, 403], (yield* fetch(url)).status, url)
      assert.strictEqual(other.requests.length, before)
    }))

  it.live("are refused if they cannot be fetched", () =>
    Effect.gen(function*() {
      const { fetch, other, proxy } = yield* start(["media.test:PORT"], allowed)
      const port = new URL(other.url).port
      for (
        const url of [
          "",
          "media.test/a",
          "/a",
          "//media.test:PORT/a",
          "file:///etc/passwd",
          "ftp://media.test:PORT/a",
          "data:,a",
          "javascript:1",
          "gopher://media.test:PORT/a",
          "ws://media.test:PORT/a",
          "http://user:password@media.test:PORT/a",
          "http://user@media.test:PORT/a",
          "http://:password@media.test:PORT/a",
          "http://media.test:PORT:80/a",
          "http://[media.test]/a",
          "http://media.test:99999/a"
        ]
      ) assert.strictEqual((yield* fetch(url)).status, 400, url)
      for (const query of ["", "?", "?url", "?u=http://media.test/", `?URL=http://media.test:${port}/a`]) {
        assert.strictEqual((yield* proxy.ask(`/_spillway/url${query}`)).status, 400, query)
      }
      assert.lengthOf(other.requests, 0)
    }))

  it.live("lead only to public addresses, in any spelling, unless others are allowed", () =>
    Effect.gen(function*() {
      const hosts = [
        "127.0.0.1:PORT",
        "[::1]:PORT",
        "[::ffff:7f00:1]:PORT",
        "[64:ff9b::7f00:1]:PORT",
        "0.0.0.0:PORT",
        "10.0.0.1",
        "169.254.169.254",
        "[fd00:ec2::254]",
        "media.test:PORT",
        "*.media.test:PORT",
        "meta.test"
      ]
      const careful = yield* start(hosts)
      const urls = [
        "http://127.0.0.1:PORT/a",
        "http://127.1:PORT/a",
        "http://2130706433:PORT/a",
        "http://0x7f000001:PORT/a",
        "http://0177.0.0.1:PORT/a",
        "http://127.0.0.1.:PORT/a",
        "http://[::1]:PORT/a",
        "http://[::ffff:127.0.0.1]:PORT/a",
        "http://[64:ff9b::127.0.0.1]:PORT/a",
        "http://0.0.0.0:PORT/a",
        "http://10.0.0.1/a",
        "http://169.254.169.254/latest/meta-data/",
        "http://[fd00:ec2::254]/latest/meta-data/",
        "http://media.test:PORT/a",
        "http://a.media.test:PORT/a",
        "http://meta.test/latest/meta-data/"
      ]
      for (const url of urls) {
        const answer = yield* careful.fetch(url)
        assert.strictEqual(answer.status, 403, url)
        assert.strictEqual(story(answer.headers), "spillway; fwd=bypass; detail=ADDRESS_NOT_ALLOWED", url)
        assert.strictEqual(answer.body.toString(), "This address is not allowed\n")
      }
      assert.lengthOf(careful.other.requests, 0)
      const open = yield* start(hosts, allowed)
      open.other.files.set("/a", fileOf(1000, 1))
      const reachable = ["http://127.0.0.1:PORT/a", "http://2130706433:PORT/a", "http://media.test:PORT/a"]
      for (const url of reachable) assert.strictEqual((yield* open.fetch(url)).status, 200, url)
    }))

  it.live("are not redirected to where the viewer may not go", () =>
    Effect.gen(function*() {
      const inside = yield* makeRawOrigin(() => response(200, {}, "inside"))
      const { fetch, other, proxy } = yield* start(["media.test:PORT"], {
        ...allowed,
        routes: [route(`/films=${inside.url}/films`)]
      })
      const { port } = new URL(other.url)
      const places = [
        `http://127.0.0.1:${port}/a`,
        `http://localhost:${port}/a`,
        "http://evil.example/a",
        "http://media.test/a",
        "file:///etc/passwd",
        `http://media.test:${port}@evil.example/`
      ]
      for (const [i, location] of places.entries()) {
        other.handlers.set(`/${i}`, (_, response) => void response.writeHead(302, { location }).end())
        const answer = yield* fetch(`http://media.test:PORT/${i}`)
        assert.strictEqual(answer.status, 302, location)
        assert.strictEqual(answer.headers.location, location)
      }
      other.handlers.set("/near", (_, response) => void response.writeHead(302, { location: "/a" }).end())
      other.files.set("/a", fileOf(1000, 1))
      assert.strictEqual((yield* fetch("http://media.test:PORT/near")).status, 200)
      assert.lengthOf(other.requests, places.length + 2)
      assert.lengthOf(proxy.origin.requests, 0)
    }))

  it.live("do not lead to the origins of routes", () =>
    Effect.gen(function*() {
      const inside = yield* makeRawOrigin(() => response(200, {}, "inside"))
      const routes = [route(`/films=${inside.url}/films`)]
      const unlisted = yield* start(["media.test:PORT"], { ...allowed, routes })
      for (const path of ["/films/a", "/secret"]) {
        const refused = yield* unlisted.fetch(inside.url + path)
        assert.strictEqual(refused.status, 403)
        assert.strictEqual(story(refused.headers), "spillway; fwd=bypass; detail=REFUSED")
      }
      // What the operator put at a private address is not for viewers to name there, though the host is on their list.
      const listed = yield* start([`127.0.0.1:${inside.port}`], { routes })
      assert.strictEqual((yield* listed.fetch(`${inside.url}/secret`)).status, 403)
      assert.strictEqual(inside.connections(), 0)
      assert.strictEqual((yield* listed.proxy.ask("/films/a")).body.toString(), "inside")
    }))

  it.live("never get what a route has cached from a private address, variants included", () =>
    Effect.gen(function*() {
      const fields = { "cache-control": "max-age=60", etag: "\"1\"" }
      const inside = yield* makeRawOrigin(({ target }) =>
        response(200, target === "/a" ? fields : { ...fields, vary: "Accept-Language" }, "inside")
      )
      const listed = yield* start([`127.0.0.1:${inside.port}`], { routes: [route(inside.url)] })
      for (const path of ["/a", "/varied"]) {
        yield* listed.proxy.ask(path)
        assert.strictEqual(story((yield* listed.proxy.ask(path)).headers), "spillway; hit")
        for (const headers of [{}, { range: "bytes=0-1" }, { "cache-control": "only-if-cached" }]) {
          const { body, status } = yield* listed.fetch(inside.url + path, headers)
          assert.include([403, 504], status)
          assert.notInclude(body.toString(), "inside")
        }
      }
    }))

  it.live("are cached, whole and in ranges", () =>
    Effect.gen(function*() {
      const { fetch, other } = yield* start(["media.test:PORT"], allowed)
      const film = fileOf(300_000, 5)
      other.files.set("/film?a=b&c=%2F", film)
      const url = "http://media.test:PORT/film?a=b&c=%2F"
      const part = yield* fetch(url, { range: "bytes=1000-1999" })
      assert.strictEqual(part.status, 206)
      assert.isTrue(part.body.equals(film.bytes.subarray(1000, 2000)))
      const whole = yield* fetch(url)
      assert.strictEqual(sha256(whole.body), sha256(film.bytes))
      const before = other.requests.length
      const again = yield* fetch(url, { range: "bytes=-5" })
      assert.strictEqual(story(again.headers), "spillway; hit")
      assert.isTrue(again.body.equals(film.bytes.subarray(-5)))
      assert.strictEqual(other.requests.length, before)
    }))

  it.live("are isolated: cookies, credentials and scripts stay separate", () =>
    Effect.gen(function*() {
      const { fetch, other, proxy } = yield* start(["media.test:PORT"], allowed)
      other.handlers.set("/page", (_, response) => {
        response.writeHead(200, {
          "content-type": "text/html",
          "content-security-policy": "default-src *",
          "set-cookie": "session=theirs",
          "clear-site-data": "\"cookies\"",
          "cache-control": "no-store"
        }).end("<script>")
      })
      other.files.set("/film", fileOf(1000, 1))
      const own = { cookie: "session=ours", authorization: "Bearer ours" }
      for (const path of ["/page", "/film", "/missing"]) {
        const { headers } = yield* fetch(`http://media.test:PORT${path}`, own)
        assert.strictEqual(headers["content-security-policy"], "sandbox")
        assert.notProperty(headers, "set-cookie")
        assert.notProperty(headers, "clear-site-data")
      }
      assert.isAtLeast(other.requests.length, 3)
      assert.notInclude(JSON.stringify(other.requests), "ours")
      const url = encodeURIComponent(`http://media.test:${new URL(other.url).port}/film`)
      const before = other.requests.length
      for (const method of ["POST", "PUT", "DELETE", "OPTIONS"]) {
        const refused = yield* proxy.ask(`/_spillway/url?url=${url}`, { method })
        assert.strictEqual(refused.status, 405)
        assert.strictEqual(refused.headers.allow, "GET, HEAD")
      }
      assert.strictEqual(other.requests.length, before)
    }))
})
