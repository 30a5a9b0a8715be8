import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, FileSystem, Layer, Stream } from "effect"
import { HttpServer } from "effect/http"
import { OriginResolver, OriginUnexpected, Resource, Server, Spillway } from "../src/index.ts"
import { makeSignedOrigin, type SignedOrigin } from "./support/SignedOrigin.ts"
import { MiB, randomBytes, sha256 } from "./support/TestOrigin.ts"

/** What an application knows of its viewers, and of its storage. */
class Storage {
  readonly #origin: SignedOrigin
  #signature: string | undefined
  constructor(origin: SignedOrigin) {
    this.#origin = origin
  }
  /** The URL of a file for a while. */
  urlOf(name: string, isExpired: boolean): string {
    if (isExpired || this.#signature === undefined) this.#signature = this.#origin.sign()
    return `${this.#origin.url}/bucket/${name}?sig=${this.#signature}`
  }
}

const tenants = new Map([["key-of-anna", "anna"], ["key-of-ben", "ben"]])

/** `/film?key=KEY` is the tenant's film of that name, and had by a signature of the application's. */
const layerResolver = (storage: Storage) =>
  Layer.succeed(OriginResolver, {
    identify: ({ target }) => {
      const { pathname, searchParams } = new URL(target, "http://viewer")
      const tenant = tenants.get(searchParams.get("key") ?? "")
      if (tenant === undefined) return { status: 403, reason: "show a key" }
      return Resource.make(`storage://${tenant}${pathname}`)
    },
    locate: (_, { url }, refusal) => {
      if (url.endsWith("/lost")) {
        return Effect.fail(new OriginUnexpected({ url, status: 404, detail: "no such file" }))
      }
      return Effect.sync(() => ({
        url: storage.urlOf(url.replace("storage://", ""), refusal !== undefined),
        headers: { "x-tenant": "1" }
      }))
    }
  })

describe("an application with Spillway in it", () => {
  it.live("says itself what is cached under which key, and where it is had", () =>
    Effect.gen(function*() {
      const bytes = randomBytes(3 * MiB, 3)
      const origin = yield* makeSignedOrigin({ bytes, refusal: 403, expiresAt: MiB + 1 })
      const fs = yield* FileSystem.FileSystem
      const directory = yield* fs.makeTempDirectoryScoped({ prefix: "spillway-test-" })

      const layer = Server.layerProxy.pipe(
        Layer.provideMerge(Server.layerNode({ host: "127.0.0.1", port: 0 })),
        Layer.provideMerge(Spillway.layerNoResolver),
        Layer.provide(layerResolver(new Storage(origin))),
        Layer.provide(Spillway.layerOptions({ directory, minFree: 0, firstByteTimeout: "5 seconds" }))
      )

      yield* Effect.gen(function*() {
        const url = yield* HttpServer.addressFormattedWith(Effect.succeed)
        const get = (target: string) =>
          Effect.promise(async () => {
            const answer = await fetch(url + target)
            return { status: answer.status, hash: sha256(new Uint8Array(await answer.arrayBuffer())) }
          })
        const whole = { status: 200, hash: sha256(bytes) }
        assert.strictEqual((yield* get("/film")).status, 403)
        // The signature expires in the middle of this one.
        assert.deepStrictEqual(yield* get("/film?key=key-of-anna"), whole)
        assert.strictEqual(origin.requests.filter(({ status }) => status === 403).length, 1)
        const before = origin.requests.length
        assert.deepStrictEqual(yield* get("/film?key=key-of-anna&seek=1"), whole)
        assert.strictEqual(origin.requests.length, before)
        assert.deepStrictEqual(yield* get("/film?key=key-of-ben"), whole)
        assert.deepStrictEqual(
          new Set(origin.requests.map(({ path }) => path)),
          new Set(["/bucket/anna/film", "/bucket/ben/film"])
        )
        assert.isTrue(origin.requests.every(({ headers }) => headers["x-tenant"] === "1"))
        assert.strictEqual((yield* get("/lost?key=key-of-ben")).status, 502)

        // The same without HTTP.
        const spillway = yield* Spillway
        const { stream } = yield* spillway.open("/film?key=key-of-anna", { range: { start: 5, end: 10 } })
        assert.deepStrictEqual(Buffer.from(yield* Stream.mkUint8Array(stream)), bytes.subarray(5, 10))
      }).pipe(Effect.provide(layer), Effect.scoped)
    }).pipe(Effect.provide(NodeServices.layer)))
})
