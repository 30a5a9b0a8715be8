import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { TestClock } from "effect/testing"
import { makeRoute } from "../../src/domain/Route.ts"
import { ChunkStore } from "../../src/services/disk/ChunkStore.ts"
import { story } from "../support/cacheStatus.ts"
import { fileOf, makeTestOrigin } from "../support/TestOrigin.ts"
import { bytes, maxAge, otherBytes, type Reply, type Site, start, withTime } from "./Site.ts"
import { CHUNK_BYTES } from "./TestProxy.ts"

const HIT = "spillway; hit"
const VALIDATED = "spillway; fwd=stale; fwd-status=304"

/** Has the origin answer GET and HEAD with a file, and what else there is with `reply`. */
const serve = (site: Site, path: string, reply: (method: string) => Reply): void => {
  site.answer(path, ({ headers, method }) => {
    const fields = { ...maxAge(3600), "etag": "\"v1\"" }
    if (method !== "GET" && method !== "HEAD") return reply(method!)
    return headers["if-none-match"] === "\"v1\"" ? { status: 304, headers: fields } : { headers: fields, body: bytes }
  })
}

const storyOf = (site: Site, path = "/a") => Effect.map(site.ask(path), ({ headers }) => story(headers))

/** A site with `/a`, viewed before. */
const startViewed = Effect.fnUntraced(function*(reply: Reply = {}) {
  const site = yield* start()
  serve(site, "/a", () => reply)
  yield* site.ask("/a")
  assert.strictEqual(yield* storyOf(site), HIT)
  return site
})

describe("a stored answer (RFC 9111 §4.4)", () => {
  it.effect.each(["POST", "PUT", "DELETE", "PATCH", "PURGE", "MKCOL", "LOCK"])(
    "is revalidated after %s",
    (method) =>
      Effect.gen(function*() {
        const site = yield* startViewed()
        const answer = yield* site.ask("/a", { method, body: "a" })
        assert.strictEqual(answer.status, 200)
        assert.strictEqual(story(answer.headers), "spillway; fwd=method")
        assert.strictEqual(yield* storyOf(site), VALIDATED)
        assert.strictEqual(yield* storyOf(site), HIT)
      })
  )

  it.effect.each(["OPTIONS", "PROPFIND", "REPORT", "SEARCH"])(
    "stays valid after %s, which is safe",
    (method) =>
      Effect.gen(function*() {
        const site = yield* startViewed()
        assert.strictEqual((yield* site.ask("/a", { method, body: "a" })).status, 200)
        assert.strictEqual(yield* storyOf(site), HIT)
      })
  )

  it.effect.each([201, 204, 303])("is revalidated after %i", (status) =>
    Effect.gen(function*() {
      const site = yield* startViewed({ status })
      assert.strictEqual((yield* site.ask("/a", { method: "POST", body: "a" })).status, status)
      assert.strictEqual(yield* storyOf(site), VALIDATED)
    }))

  it.effect.each([400, 403, 404, 409, 412, 500, 503])("stays valid after %i", (status) =>
    Effect.gen(function*() {
      const site = yield* startViewed({ status })
      assert.strictEqual((yield* site.ask("/a", { method: "PUT", body: "a" })).status, status)
      assert.strictEqual(yield* storyOf(site), HIT)
    }))

  it.effect("stays valid if the origin could not be reached", () =>
    Effect.gen(function*() {
      const site = yield* startViewed()
      yield* site.origin.close
      assert.strictEqual((yield* withTime(site.ask("/a", { method: "PUT", body: "a" }))).status, 502)
      assert.strictEqual(yield* storyOf(site), HIT)
    }))

  it.effect("is not used stale afterwards if the origin fails", () =>
    Effect.gen(function*() {
      const site = yield* startViewed()
      yield* site.ask("/a", { method: "DELETE" })
      yield* site.origin.close
      assert.strictEqual((yield* withTime(site.ask("/a"))).status, 502)
    }))

  it.effect.each(["Location", "Content-Location"])(
    "under the %s of the answer is revalidated, of the same origin only",
    (name) =>
      Effect.gen(function*() {
        const origin = yield* makeTestOrigin
        const other = yield* makeTestOrigin
        const store = yield* Effect.provide(ChunkStore, ChunkStore.layerMemory)
        const routes = [
          makeRoute({ _tag: "Path", prefix: "/elsewhere" }, new URL(other.url)),
          makeRoute({ _tag: "All" }, new URL(origin.url))
        ]
        const site = yield* start({
          before: { origin, store },
          origins: { origins: { routes, urlHosts: [], allowPrivate: false } }
        })
        for (const path of ["/b/relative", "/absolute?c=d", "/file"]) serve(site, path, () => ({}))
        other.files.set("/file", fileOf(100, 1))
        const paths = ["/b/relative", "/absolute?c=d", "/file", "/elsewhere/file"]
        for (const path of paths) yield* site.ask(path)
        for (
          const [to, changed] of [
            ["relative", "/b/relative"],
            [`${origin.url}/absolute?c=d#e`, "/absolute?c=d"],
            [`${other.url}/file`, undefined],
            ["http://[", undefined]
          ] as const
        ) {
          serve(site, "/b/a", () => ({ status: 201, headers: { [name]: to } }))
          yield* site.ask("/b/a", { method: "POST", body: "a" })
          for (const path of paths) {
            assert.strictEqual(yield* storyOf(site, path), path === changed ? VALIDATED : HIT, to)
          }
        }
      })
  )

  it.effect("under other paths stays valid", () =>
    Effect.gen(function*() {
      const site = yield* startViewed()
      serve(site, "/a?b", () => ({}))
      yield* site.ask("/a?b", { method: "POST", body: "a" })
      assert.strictEqual(yield* storyOf(site), HIT)
    }))

  it.effect("in parts is revalidated as a whole", () =>
    Effect.gen(function*() {
      const site = yield* start()
      site.file("/a")
      yield* site.ask("/a")
      site.answer("/a", () => ({}))
      yield* site.ask("/a", { method: "PUT", body: "a" })
      site.file("/a", { bytes: otherBytes, etag: "\"v2\"" })
      const range = `bytes=${2 * CHUNK_BYTES}-${2 * CHUNK_BYTES + 9}`
      const { body } = yield* site.ask("/a", { headers: { range } })
      assert.isTrue(body.equals(otherBytes.subarray(2 * CHUNK_BYTES, 2 * CHUNK_BYTES + 10)))
      assert.isTrue((yield* site.ask("/a")).body.equals(otherBytes))
    }))

  it.effect("is revalidated in each variant", () =>
    Effect.gen(function*() {
      const site = yield* start()
      site.answer("/a", ({ headers, method }) => {
        const fields = { ...maxAge(3600), "etag": `"${headers["accept-language"]}"`, "vary": "Accept-Language" }
        if (method === "POST") return {}
        return headers["if-none-match"] === fields.etag
          ? { status: 304, headers: fields }
          : { headers: fields, body: "a" }
      })
      const options = ["de", "fr"].map((name) => ({ headers: { "accept-language": name } }))
      for (const option of options) yield* site.ask("/a", option)
      yield* site.ask("/a", { method: "POST", body: "a" })
      for (const option of options) {
        assert.strictEqual(story((yield* site.ask("/a", option)).headers), VALIDATED)
        assert.strictEqual(story((yield* site.ask("/a", option)).headers), HIT)
      }
    }))

  it.effect("without a file is requested again", () =>
    Effect.gen(function*() {
      const site = yield* start()
      site.answer("/a", ({ method }) => method === "PUT" ? { status: 201 } : { status: 404, headers: maxAge(3600) })
      yield* site.ask("/a")
      assert.strictEqual(yield* storyOf(site), HIT)
      yield* site.ask("/a", { method: "PUT", body: "a" })
      site.file("/a")
      assert.strictEqual((yield* site.ask("/a")).status, 200)
    }))

  it.effect("that only says no-store is forgotten, so that the next one can be stored", () =>
    Effect.gen(function*() {
      const site = yield* start()
      serve(site, "/a", () => ({}))
      site.file("/a", { headers: { "cache-control": "no-store" } })
      yield* site.ask("/a")
      serve(site, "/a", () => ({}))
      assert.strictEqual(yield* storyOf(site), "spillway; fwd=bypass; detail=NO_STORE")
      yield* site.ask("/a", { method: "PUT", body: "a" })
      assert.strictEqual(yield* storyOf(site), "spillway; fwd=uri-miss; stored")
    }))
})

describe("an invalidated answer", () => {
  const languages = ["en", "de", "fr"]

  /** The film in each language, as one process serves it. */
  const each = (site: Site) =>
    Effect.forEach(
      languages,
      (language) =>
        Effect.map(site.ask("/a", { headers: { "accept-language": language } }), ({ headers }) => story(headers))
    )

  it.effect("is revalidated after one or two restarts, in all its variants", () =>
    Effect.gen(function*() {
      const store = yield* ChunkStore
      const origin = yield* makeTestOrigin
      let minutes = 0
      const process = <A>(use: (site: Site) => Effect.Effect<A, Error>) =>
        Effect.scoped(Effect.gen(function*() {
          const site = yield* start({ before: { origin, store }, cache: { memory: 0 } })
          yield* TestClock.adjust(`${minutes++} minutes`)
          site.answer("/a", ({ headers, method }) => {
            const language = headers["accept-language"]!
            const fields = { ...maxAge(3600), etag: `"${language}"`, vary: "Accept-Language" }
            if (method === "DELETE") return { status: 204 }
            return headers["if-none-match"] === fields.etag
              ? { status: 304, headers: fields }
              : { headers: fields, body: bytes }
          })
          const used = yield* use(site)
          yield* withTime(Effect.sleep("1 second"))
          return used
        }))
      yield* process(each)
      // The process that invalidates knows of no variant.
      yield* process((site) => site.ask("/a", { method: "DELETE" }))
      for (const told of yield* process(each)) assert.notInclude(told, "hit")
      for (const told of yield* process((site) => Effect.andThen(site.ask("/a"), each(site)))) {
        assert.include(told, "hit")
      }
    }).pipe(Effect.provide(ChunkStore.layerMemory)))
})
