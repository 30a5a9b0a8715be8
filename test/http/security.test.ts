import { NodeHttpServer, NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Layer, Logger, Option, Scope } from "effect"
import { HttpServer } from "effect/http"
import * as Fs from "node:fs"
import { createServer } from "node:http"
import { join } from "node:path"
import { crc32 } from "node:zlib"
import type { Representation } from "../../src/domain/Representation.ts"
import { identify } from "../../src/domain/Resource.ts"
import { makeRoute } from "../../src/domain/Route.ts"
import * as Server from "../../src/http/server/Server.ts"
import { CacheConfig } from "../../src/services/config/CacheConfig.ts"
import { OriginConfig, type OriginOptions } from "../../src/services/config/OriginConfig.ts"
import { ChunkStore } from "../../src/services/disk/ChunkStore.ts"
import { DiskLimiter } from "../../src/services/disk/DiskLimiter.ts"
import { Spillway } from "../../src/spillway.ts"
import { story } from "../support/cacheStatus.ts"
import { temporaryDirectory } from "../support/disks.ts"
import { eventually } from "../support/Program.ts"
import { makeRawOrigin, response } from "../support/RawOrigin.ts"
import { fileOf, makeTestOrigin, randomBytes, sha256, type TestOrigin } from "../support/TestOrigin.ts"
import { type Answer, ask, CHUNK_BYTES, exchange, makeTestProxy } from "./TestProxy.ts"

const get = (target: string, ...fields: ReadonlyArray<string>): string =>
  [`GET ${target} HTTP/1.1`, "Host: test", "Connection: close", ...fields, "", ""].join("\r\n")

const statuses = (received: string): ReadonlyArray<number> =>
  [...received.matchAll(/HTTP\/1\.1 (\d{3}) /g)].map(([, status]) => Number(status))

describe("a request in a loop", () => {
  /** A Spillway whose origin is itself, below `path`; what it is asked is counted. */
  const circle = Effect.fnUntraced(function*(path: string, options: Partial<OriginOptions> = {}) {
    let requests = 0
    const server = createServer().on("request", () => requests += 1)
    // Its port is known only when it listens.
    const url = new URL(`http://127.0.0.1:1${path}`)
    const { ask, port } = yield* makeTestProxy({
      origins: {
        ...options,
        origins: { routes: [makeRoute({ _tag: "All" }, url)], urlHosts: [], allowPrivate: false }
      },
      server: NodeHttpServer.layer(() => server, { port: 0, host: "127.0.0.1", disablePreemptiveShutdown: true })
    })
    url.port = String(port)
    return { ask, requests: () => requests }
  })

  it.live.each(["GET", "HEAD", "POST", "DELETE"])(
    "is answered 508 after some rounds: %s",
    (method) =>
      Effect.gen(function*() {
        const { ask, requests } = yield* circle("/deeper")
        const answer = yield* ask("/a", { method })
        assert.strictEqual(answer.status, 508)
        if (method !== "HEAD") assert.strictEqual(answer.body.toString(), "This request goes in a circle\n")
        assert.match(String(answer.headers["cache-status"]), /^spillway; fwd=bypass; detail=LOOP, spillway; /)
        assert.strictEqual(requests(), 10)
      })
  )

  it.live("is answered 508 after some rounds if it is passed on unchanged", () =>
    Effect.gen(function*() {
      const { ask, requests } = yield* circle("")
      assert.strictEqual((yield* ask("/a", { method: "POST", body: "x" })).status, 508)
      assert.strictEqual(requests(), 10)
      assert.strictEqual((yield* ask("/a", { headers: { "cache-control": "no-store" } })).status, 508)
      assert.strictEqual(requests(), 20)
    }))

  it.live("is answered 504 after the origin's timeout if it waits for itself", () =>
    Effect.gen(function*() {
      const { ask, requests } = yield* circle("", { firstByteTimeout: 500 })
      assert.strictEqual((yield* ask("/a")).status, 504)
      assert.isAtMost(requests(), 4)
    }))

  it.live("is detected by more than eight Via entries of Spillway, and no others", () =>
    Effect.gen(function*() {
      const { ask, origin } = yield* makeTestProxy()
      origin.files.set("/a", fileOf(100, 1))
      const via = (count: number, name = "1.1 spillway") => ({ headers: { via: Array(count).fill(name).join(", ") } })
      for (const asked of [via(1), via(8), via(50, "1.1 spillways"), via(50, "1.1 other (spillway)"), via(50, ",")]) {
        assert.strictEqual((yield* ask("/a", asked)).status, 200)
      }
      for (const asked of [via(9), { headers: { via: `1.0 a, ${via(9).headers.via}, 1.1 b` } }]) {
        assert.strictEqual((yield* ask("/a", asked)).status, 508)
      }
    }))
})

describe("a shared answer", () => {
  it.live("does not depend on fields that one viewer could choose", () =>
    Effect.gen(function*() {
      const names = [
        "forwarded",
        "x-forwarded-host",
        "x-forwarded-proto",
        "x-forwarded-for",
        "x-forwarded-prefix",
        "x-host",
        "x-original-url",
        "x-rewrite-url",
        "x-http-method-override",
        "host",
        "proxy",
        "base-url",
        "front-end-https",
        "true-client-ip",
        "x-cluster-client-ip",
        "x-url-scheme",
        "x-wap-profile",
        "cf-connecting-ip",
        "fastly-client-ip",
        // Of each family one that is named nowhere, and one in CGI's spelling.
        "x-forwarded",
        "x-forwarded-something",
        "x-original-anything",
        "x-envoy-any",
        "x-azure-any",
        "x-arr-any",
        "X_Forwarded_Host",
        "x_real_ip"
      ]
      const origin = yield* makeRawOrigin(({ fields }) =>
        response(200, { "cache-control": "max-age=60", etag: "\"1\"" }, JSON.stringify(fields))
      )
      const url = new URL(origin.url)
      const { ask } = yield* makeTestProxy({
        origins: { origins: { routes: [makeRoute({ _tag: "All" }, url)], urlHosts: [], allowPrivate: false } }
      })
      const evil = Object.fromEntries(names.map((name) => [name, "evil.example"]))
      const first = yield* ask("/a", { headers: evil })
      assert.notInclude(first.body.toString(), "evil.example")
      const second = yield* ask("/a")
      assert.strictEqual(story(second.headers), "spillway; hit")
      assert.isTrue(second.body.equals(first.body))
    }))

  it.live("with Vary is used only for the same values of its fields", () =>
    Effect.gen(function*() {
      const { ask, origin } = yield* makeTestProxy()
      for (const name of ["x-device", "constructor", "toString", "__proto__", "hasOwnProperty"]) {
        const vary = { vary: name, "cache-control": "max-age=60" }
        origin.files.set(`/${name}`, fileOf(1000, 1, { headers: vary, etag: "\"tv\"" }))
        const first = yield* ask(`/${name}`, { headers: { [name]: "tv" } })
        assert.strictEqual(first.status, 200, name)
        origin.files.set(`/${name}`, fileOf(1000, 2, { headers: vary, etag: "\"phone\"" }))
        const other = yield* ask(`/${name}`)
        assert.strictEqual(sha256(other.body), sha256(fileOf(1000, name === "__proto__" ? 1 : 2).bytes), name)
      }
    }))

  it.live("is not an error about one request", () =>
    Effect.gen(function*() {
      const { ask, origin } = yield* makeTestProxy()
      const headers = { "cache-control": "max-age=60", "content-length": "4" }
      for (const status of [400, 406, 412, 413, 415, 417, 421, 429, 431]) {
        origin.handlers.set("/a", ({ headers: { "x-evil": evil } }, response) => {
          response.writeHead(evil === undefined ? 404 : status, { ...headers, "cache-control": "max-age=60" }).end(
            "evil"
          )
        })
        const path = `/a?${status}`
        origin.handlers.set(path, origin.handlers.get("/a")!)
        assert.strictEqual((yield* ask(path, { headers: { "x-evil": "1" } })).status, status)
        assert.strictEqual((yield* ask(path)).status, 404)
        assert.strictEqual((yield* ask(path, { headers: { "x-evil": "1" } })).status, 404)
      }
    }))

  it.live("is not a personal page under the name of a file", () =>
    Effect.gen(function*() {
      const { ask, origin } = yield* makeTestProxy()
      origin.handlers.set("/account/x.mp4", ({ headers: { cookie } }, response) => {
        const body = `account of ${cookie ?? "nobody"}`
        response.writeHead(200, { "cache-control": "max-age=60", etag: "\"1\"", "content-length": body.length }).end(
          body
        )
      })
      for (const cookie of ["anna", undefined, "robert", undefined, "anna"]) {
        const { body } = yield* ask("/account/x.mp4", cookie === undefined ? {} : { headers: { cookie } })
        assert.strictEqual(body.toString(), `account of ${cookie ?? "nobody"}`)
      }
    }))
})

describe("the end of a request", () => {
  const post = (...fields: ReadonlyArray<string>): string =>
    ["POST /a HTTP/1.1", "Host: test", ...fields, "", ""].join("\r\n")
  const hidden = "GET /hidden HTTP/1.1\r\nHost: test\r\n\r\n"

  const cases: ReadonlyArray<readonly [string, string]> = [
    ["length and coding", post("Content-Length: 4", "Transfer-Encoding: chunked") + "0\r\n\r\n" + hidden],
    ["coding and length", post("Transfer-Encoding: chunked", "Content-Length: 4") + "0\r\n\r\n" + hidden],
    ["two lengths", post("Content-Length: 0", "Content-Length: 39") + hidden],
    ["two equal lengths", post("Content-Length: 0", "Content-Length: 0") + hidden],
    ["a list of lengths", post("Content-Length: 0, 0") + hidden],
    ["a length with a sign", post("Content-Length: +0") + hidden],
    ["a length in hex", post("Content-Length: 0x0") + hidden],
    ["a length that is too large", post("Content-Length: 18446744073709551616") + hidden],
    ["a length with a space before the colon", post("Content-Length : 0") + hidden],
    ["a folded length", post("X-A: b", " Content-Length: 0") + hidden],
    ["a folded coding", post("Transfer-Encoding:", " chunked") + "0\r\n\r\n" + hidden],
    ["a coding twice", post("Transfer-Encoding: chunked", "Transfer-Encoding: chunked") + "0\r\n\r\n" + hidden],
    ["an unknown coding", post("Transfer-Encoding: xchunked") + "0\r\n\r\n" + hidden],
    ["a coding after chunked", post("Transfer-Encoding: chunked, identity") + "0\r\n\r\n" + hidden],
    ["a quoted coding", post("Transfer-Encoding: \"chunked\"") + "0\r\n\r\n" + hidden],
    ["a coding after a vertical tab", post("Transfer-Encoding: \x0bchunked") + "0\r\n\r\n" + hidden],
    ["a coding in HTTP/1.0", post("Transfer-Encoding: chunked").replace("1.1", "1.0") + "0\r\n\r\n" + hidden],
    [
      "a coding in HTTP/1.0 kept alive",
      post("Connection: keep-alive", "Transfer-Encoding: chunked").replace("1.1", "1.0") + "0\r\n\r\n" + hidden
    ],
    ["a bare LF between fields", post("X-A: b\nContent-Length: 0") + hidden],
    ["a bare CR in a field", post("X-A: b\rContent-Length: 0") + hidden],
    ["a NUL in a field", post("X-A: b\0") + hidden],
    ["a bare LF after each line", post("Content-Length: 0").replaceAll("\r\n", "\n") + hidden],
    ["a chunk size with a sign", post("Transfer-Encoding: chunked") + "+0\r\n\r\n" + hidden],
    ["a chunk size in C's hex", post("Transfer-Encoding: chunked") + "0x0\r\n\r\n" + hidden],
    ["a chunk size that wraps", post("Transfer-Encoding: chunked") + "10000000000000000\r\n\r\n" + hidden],
    ["a chunk that ends in LF", post("Transfer-Encoding: chunked") + "1\r\na\n0\r\n\r\n" + hidden],
    ["a chunk size that ends in LF", post("Transfer-Encoding: chunked") + "1\na\r\n0\r\n\r\n" + hidden],
    ["a chunk extension with LF", post("Transfer-Encoding: chunked") + "1;a\nb\r\na\r\n0\r\n\r\n" + hidden],
    ["two hosts", post("Host: other", "Content-Length: 0") + hidden],
    ["no end of the field line", post("Content-Length: 0").replace("\r\n\r\n", "\r\n\r") + hidden]
  ]

  it.live.each(cases)("cannot be hidden by %s", ([, bytes]) =>
    Effect.gen(function*() {
      const proxy = yield* makeTestProxy({ server: Server.layerNode({ host: "127.0.0.1", port: 0 }) })
      const received = yield* exchange(proxy.port, bytes, (socket) => void setTimeout(() => socket.end(), 200))
      assert.deepStrictEqual(statuses(received).filter((status) => status !== 400), [])
      assert.deepStrictEqual(proxy.origin.requests.filter(({ url }) => url === "/hidden"), [])
    }))

  it.live("is the same for the origin, which sees the next request as a separate one", () =>
    Effect.gen(function*() {
      const proxy = yield* makeTestProxy({ server: Server.layerNode({ host: "127.0.0.1", port: 0 }) })
      proxy.origin.handlers.set("/a", (request, response) => {
        const parts: Array<Buffer> = []
        request.on("data", (part: Buffer) => parts.push(part))
        request.on("end", () => response.end(`${request.method} ${Buffer.concat(parts).toString("latin1").length}.`))
      })
      const chunked = `${hidden.length.toString(16)}\r\n${hidden}\r\n0\r\n\r\n`
      const received = yield* exchange(
        proxy.port,
        post(`Content-Length: ${hidden.length}`) + hidden + post("Transfer-Encoding: chunked") + chunked +
          // The body of a GET is not passed on, and nothing of it is taken for a request.
          `GET /a HTTP/1.1\r\nHost: test\r\nCache-Control: no-store\r\nContent-Length: ${hidden.length}\r\n\r\n${hidden}` +
          get("/a")
      )
      assert.deepStrictEqual(statuses(received), [200, 200, 200, 200])
      assert.deepStrictEqual(received.match(/(?:POST|GET) \d+\./g), [
        `POST ${hidden.length}.`,
        `POST ${hidden.length}.`,
        "GET 0.",
        "GET 0."
      ])
      assert.deepStrictEqual(new Set(proxy.origin.requests.map(({ url }) => url)), new Set(["/a"]))
    }))
})

const resourceOf = (origin: TestOrigin, path: string): string => identify(origin.url + path)

const directoryOf = (directory: string, resource: string): string =>
  join(directory, "v1", resource.slice(0, 2), resource)

/** The whole of Spillway over a real directory, until the scope closes. */
const startOn = Effect.fnUntraced(function*(directory: string, origin: TestOrigin) {
  const routes = [makeRoute({ _tag: "All" }, new URL(origin.url))]
  const services = yield* Server.layerProxy.pipe(
    Layer.provideMerge(Server.layerNode({ host: "127.0.0.1", port: 0 })),
    Layer.provideMerge(Spillway.layerNoOptions),
    Layer.provide(CacheConfig.layer({ directory, chunkSize: CHUNK_BYTES, minFree: 0, memory: 0 })),
    Layer.provide(OriginConfig.layer({ origins: { routes, urlHosts: [], allowPrivate: false } })),
    Layer.provide(NodeServices.layer),
    Layer.build,
    Effect.orDie
  )
  const url = yield* Effect.provideContext(HttpServer.addressFormattedWith(Effect.succeed), services)
  return { url, ask: (path: string, headers = {}) => ask(url, path, { headers }) }
})

/** A cache directory with `/film` in it, and the origin that it is of. */
const filled = Effect.gen(function*() {
  const origin = yield* makeTestOrigin
  const film = fileOf(3 * CHUNK_BYTES + 5, 1)
  origin.files.set("/film", film)
  const directory = yield* temporaryDirectory
  const scope = yield* Scope.make()
  const { ask } = yield* Scope.provide(startOn(directory, origin), scope)
  yield* ask("/film")
  const at = directoryOf(directory, resourceOf(origin, "/film"))
  yield* eventually("the chunks", Effect.sync(() => Fs.existsSync(at) && Fs.readdirSync(at).length === 5))
  yield* Scope.close(scope, Exit.void)
  return { origin, film, directory, at, manifest: join(at, "manifest.json") }
})

/** What was written for a manifest, with `change` and a right checksum. */
const rewrite = (manifest: string, change: (found: any) => any): void => {
  const [json] = Fs.readFileSync(manifest, "utf8").split("\n")
  const changed = JSON.stringify(change(JSON.parse(json!)))
  Fs.writeFileSync(manifest, `${changed}\n${crc32(changed)}`)
}

describe("tampered files of the cache", () => {
  const outside = "outside"

  /** With these, the origin is asked with the validator. */
  const stale = { "cache-control": "max-age=0, must-revalidate" }

  const changes: ReadonlyArray<readonly [string, (found: Representation) => unknown]> = [
    [
      "CR and LF in a value",
      (found) => ({ ...found, headers: { ...found.headers, "x-a": "b\r\nset-cookie: evil=1" } })
    ],
    ["LF in a value", (found) => ({ ...found, headers: { ...found.headers, "x-a": "b\nset-cookie: evil=1" } })],
    ["NUL in a value", (found) => ({ ...found, headers: { ...found.headers, "x-a": "b\0" } })],
    ["a character beyond a byte", (found) => ({ ...found, headers: { ...found.headers, "x-a": "\u010d\u010a" } })],
    ["CR and LF in a name", (found) => ({ ...found, headers: { ...found.headers, "x-a: b\r\nset-cookie": "evil=1" } })],
    ["an empty name", (found) => ({ ...found, headers: { ...found.headers, "": "b" } })],
    ["CR and LF in the etag", (found) => ({ ...found, etag: "\"1\r\nset-cookie: evil=1\"", headers: stale })],
    ["an etag that is none", (found) => ({ ...found, etag: "1" })],
    [
      "CR and LF in the date",
      (found) => ({ ...found, etag: undefined, lastModified: "1\r\nset-cookie: evil=1", headers: stale })
    ],
    ["no validator", (found) => ({ ...found, etag: undefined })],
    ["a path for an id", (found) => ({ ...found, id: `../../../${outside}` })],
    ["another resource", (found) => ({ ...found, resource: identify("other") })],
    ["a path for a resource", (found) => ({ ...found, resource: `aa/../../${outside}` })],
    ["another URL", (found) => ({ ...found, url: "http://evil.example/film" })],
    ["a negative size", (found) => ({ ...found, size: -1 })],
    ["a size that is no integer", (found) => ({ ...found, size: 1.5 })],
    ["a size beyond all", (found) => ({ ...found, size: 1e300 })],
    ["chunks of no bytes", (found) => ({ ...found, chunkSize: 0 })],
    ["chunks of a negative size", (found) => ({ ...found, chunkSize: -CHUNK_BYTES })],
    ["huge chunks", (found) => ({ ...found, chunkSize: 2 ** 40, size: 2 ** 45 })],
    ["fields that are none", (found) => ({ ...found, headers: { "x-a": ["b"] } })],
    ["something else", () => [1, 2, 3]]
  ]

  it.live.each(changes)("have no effect even with a right checksum: %s", ([, change]) => {
    const lines: Array<string> = []
    return Effect.gen(function*() {
      const { directory, film, manifest, origin } = yield* filled
      const bait = join(directory, `${outside}.0`)
      Fs.writeFileSync(bait, "not for anybody")
      rewrite(manifest, change)
      yield* Effect.scoped(Effect.gen(function*() {
        const { ask } = yield* startOn(directory, origin)
        for (const headers of [{}, { range: "bytes=5-9" }, {}]) {
          const answer: Answer = yield* ask("/film", headers)
          assert.include([200, 206], answer.status)
          assert.isTrue(answer.body.equals("range" in headers ? film.bytes.subarray(5, 10) : film.bytes))
          assert.notProperty(answer.headers, "set-cookie")
          assert.notProperty(answer.headers, "x-a")
        }
      }))
      for (const { headers } of origin.requests) assert.notInclude(JSON.stringify(headers), "evil")
      // What was to be written is written at the end.
      assert.strictEqual(Fs.readFileSync(bait, "utf8"), "not for anybody")
      assert.sameMembers(Fs.readdirSync(directory), [`${outside}.0`, "v1"])
      for (const name of Fs.readdirSync(join(directory, "v1"))) assert.match(name, /^[0-9a-f]{2}$/)
      assert.deepStrictEqual(lines, [])
    }).pipe(Effect.provide(Logger.layer([Logger.map(Logger.formatLogFmt, (line) => void lines.push(line))])))
  })

  it.live("are not followed if they are links, and the targets stay untouched", () =>
    Effect.gen(function*() {
      const { at, directory, film, manifest, origin } = yield* filled
      const secret = join(directory, "secret")
      Fs.writeFileSync(secret, randomBytes(CHUNK_BYTES + 64, 9))
      const before = Fs.readFileSync(secret)
      for (const name of Fs.readdirSync(at).filter((name) => name !== "manifest.json")) {
        Fs.rmSync(join(at, name))
        Fs.symlinkSync(secret, join(at, name))
      }
      const { ask } = yield* startOn(directory, origin)
      assert.isTrue((yield* ask("/film")).body.equals(film.bytes))
      yield* eventually(
        "the chunks to be written anew",
        Effect.sync(() => Fs.readdirSync(at).every((name) => !Fs.lstatSync(join(at, name)).isSymbolicLink()))
      )
      assert.isTrue((yield* ask("/film", { range: "bytes=70000-" })).body.equals(film.bytes.subarray(70_000)))
      assert.isTrue(Fs.readFileSync(secret).equals(before))
      assert.isTrue(Fs.existsSync(manifest))
    }))

  const storeIn = (directory: string) =>
    ChunkStore.pipe(Effect.provide(
      ChunkStore.layer.pipe(
        Layer.provide(CacheConfig.layer({ directory })),
        Layer.provide(DiskLimiter.layer),
        Layer.provide(NodeServices.layer)
      )
    ))

  it.live("are not read without a limit as manifests", () =>
    Effect.gen(function*() {
      const { directory, film, manifest, origin } = yield* filled
      const store = yield* storeIn(directory)
      const resource = resourceOf(origin, "/film")
      assert.isTrue(Option.isSome(yield* store.readManifest(resource)))
      Fs.truncateSync(manifest, 2 ** 40)
      assert.isTrue(Option.isNone(yield* store.readManifest(resource)))
      Fs.rmSync(manifest)
      Fs.symlinkSync("/dev/zero", manifest)
      assert.isTrue(Option.isNone(yield* store.readManifest(resource)))
      const { ask } = yield* startOn(directory, origin)
      assert.isTrue((yield* ask("/film")).body.equals(film.bytes))
    }))

  it.live("are found damaged if they have no chunk's size", () =>
    Effect.gen(function*() {
      const { at, directory } = yield* filled
      const name = Fs.readdirSync(at).find((name) => name.endsWith(".0"))
      Fs.truncateSync(join(at, name!), 2 ** 40)
      const store = yield* storeIn(directory)
      const [representation, index] = name!.split(".")
      const key = { resource: at.split("/").at(-1)!, representation: representation!, index: Number(index) }
      const error = yield* Effect.flip(store.verify(key))
      assert.strictEqual(error.errno, "CORRUPT")
      yield* store.remove(key)
      Fs.mkdirSync(join(at, name!))
      assert.strictEqual((yield* Effect.flip(store.verify(key))).errno, "CORRUPT")
    }))
})

describe("files of the cache", () => {
  it.live("are readable only by the user of the process", () =>
    Effect.gen(function*() {
      const { at, directory } = yield* filled
      const mode = (path: string) => (Fs.statSync(path).mode & 0o777).toString(8)
      for (const name of Fs.readdirSync(at)) assert.strictEqual(mode(join(at, name)), "600", name)
      for (const path of [at, join(at, ".."), join(directory, "v1")]) assert.strictEqual(mode(path), "700", path)
    }))
})
