import { NodeHttpServer } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Layer, Scope } from "effect"
import { HttpRouter, HttpServer, HttpServerResponse } from "effect/http"
import { createServer } from "node:http"
import { MAX_LOCAL_URLS } from "../../src/services/origin/LocalUrls.ts"
import { Spillway } from "../../src/spillway.ts"
import { MemoryOrigin, TestSpillway } from "../../src/testing/index.ts"

const FILM = "https://media.example.org/films/film.mp4?part=1"
const bytes = Uint8Array.from({ length: 100_000 }, (_, i) => i * 11)
const film = { bytes, etag: "\"1\"", headers: { "cache-control": "max-age=60", "set-cookie": "a=b" } }

/** An application that serves Spillway below `/media`, beside a route of its own. */
const Application = HttpRouter.serve(
  Layer.merge(HttpRouter.add("GET", "/", HttpServerResponse.text("home")), Spillway.routes("/media")),
  { disableLogger: true, disableListenLog: true }
).pipe(
  Layer.provideMerge(TestSpillway.layer({
    origins: ["https://media.example.org"]
  })),
  Layer.provideMerge(
    NodeHttpServer.layer(createServer, { port: 0, host: "127.0.0.1", disablePreemptiveShutdown: true })
  )
)

const get = (url: string, headers: Record<string, string> = {}, method = "GET") =>
  Effect.promise(async () => {
    const response = await fetch(url, { headers, method })
    return {
      status: response.status,
      headers: Object.fromEntries(response.headers),
      bytes: new Uint8Array(await response.arrayBuffer())
    }
  })

const here = HttpServer.addressFormattedWith(Effect.succeed)

describe("routes", () => {
  it.live("serve files below the prefix, beside the application's own", () =>
    Effect.gen(function*() {
      const { files, requests } = yield* MemoryOrigin.MemoryOrigin
      files.set("https://media.example.org/films/a.mp4?b=c", { bytes, etag: "\"1\"" })
      const url = yield* here
      assert.strictEqual(Buffer.from((yield* get(url)).bytes).toString(), "home")
      const whole = yield* get(`${url}/media/films/a.mp4?b=c`)
      assert.strictEqual(whole.status, 200)
      assert.deepStrictEqual(whole.bytes, bytes)
      const part = yield* get(`${url}/media/films/a.mp4?b=c`, { range: "bytes=5-9" })
      assert.strictEqual(part.status, 206)
      assert.deepStrictEqual(part.bytes, bytes.slice(5, 10))
      const head = yield* get(`${url}/media/films/a.mp4?b=c`, {}, "HEAD")
      assert.strictEqual(head.headers["content-length"], "100000")
      assert.isTrue(requests.every((request) => request.url.startsWith("https://media.example.org/films/a.mp4")))
      assert.strictEqual((yield* get(`${url}/films/a.mp4`)).status, 404)
      // Spillway's own pages are as guarded as ever.
      assert.include(Buffer.from((yield* get(`${url}/media/_spillway/health`)).bytes).toString(), "cache")
      const stranger = yield* get(`${url}/media/_spillway/metrics`, { "x-forwarded-for": "192.0.2.1" })
      assert.strictEqual(stranger.status, 403)
    }).pipe(Effect.provide(Application)))
})

describe("register", () => {
  it.live("gives a URL that needs no headers, until its scope closes", () =>
    Effect.gen(function*() {
      const { files, requests } = yield* MemoryOrigin.MemoryOrigin
      const spillway = yield* Spillway
      files.set(FILM, film)
      const scope = yield* Scope.make()
      const options = { headers: { authorization: "Bearer secret" } }
      const { path, unregister, url } = yield* Scope.provide(spillway.register(FILM, options), scope)
      const other = yield* Scope.provide(spillway.register(FILM, options), scope)
      assert.strictEqual(url, (yield* here) + path)
      assert.match(path, /^\/media\/_spillway\/local\/[\w-]{32}\/film\.mp4$/)
      assert.notStrictEqual(other.path, path)

      const answer = yield* get(url, { "range": "bytes=5-9", "cookie": "c=d", "x-viewer": "1" })
      assert.strictEqual(answer.status, 206)
      assert.deepStrictEqual(answer.bytes, bytes.slice(5, 10))
      assert.isUndefined(answer.headers["set-cookie"])
      assert.strictEqual(answer.headers["content-security-policy"], "sandbox")
      assert.notInclude(JSON.stringify(answer.headers), "secret")
      assert.isTrue(requests.every((request) => request.url === FILM))
      assert.isTrue(requests.every(({ headers }) => headers["authorization"] === "Bearer secret"))
      assert.isTrue(requests.every(({ headers }) => headers["cookie"] === undefined))
      assert.strictEqual((yield* get(url, {}, "POST")).status, 405)
      // Neither the token alone nor another name will do.
      assert.strictEqual((yield* get(url.replace("film.mp4", ""))).status, 404)
      assert.strictEqual(
        (yield* get(url.replace(/local\/./, (start) => start === "local/_" ? "local/-" : "local/_"))).status,
        404
      )

      yield* unregister
      assert.strictEqual((yield* get(url)).status, 404)
      assert.strictEqual((yield* get(other.url)).status, 200)
      yield* Scope.close(scope, Exit.void)
      assert.strictEqual((yield* get(other.url)).status, 404)
    }).pipe(Effect.provide(Application)))

  it.live("refuses what cannot be fetched, and more than the bound", () =>
    Effect.gen(function*() {
      const spillway = yield* Spillway
      assert.strictEqual((yield* Effect.flip(spillway.register("film.mp4")))._tag, "MediaRefused")
      const scope = yield* Scope.make()
      const register = Scope.provide(spillway.register(FILM), scope)
      yield* Effect.replicateEffect(register, MAX_LOCAL_URLS, { discard: true })
      assert.strictEqual((yield* Effect.flip(register))._tag, "TooManyRegistrations")
      yield* Scope.close(scope, Exit.void)
      yield* spillway.register(FILM)
    }).pipe(Effect.scoped, Effect.provide(Application)))

  it.effect("says so where nothing is served", () =>
    Effect.gen(function*() {
      const spillway = yield* Spillway
      assert.strictEqual((yield* Effect.flip(spillway.register(FILM)))._tag, "NotServed")
    }).pipe(Effect.scoped, Effect.provide(TestSpillway.layer())))
})
