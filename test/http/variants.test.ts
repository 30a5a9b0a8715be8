import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { TestClock } from "effect/testing"
import { crc32 } from "node:zlib"
import { ChunkStore } from "../../src/services/disk/ChunkStore.ts"
import { story } from "../support/cacheStatus.ts"
import { makeTestOrigin } from "../support/TestOrigin.ts"
import { makeGate, maxAge, type Site, start, until } from "./Site.ts"

const language = (name: string) => ({ headers: { "accept-language": name } })

/** Has `/a` answered in the language that is asked for. */
const serveLanguages = (site: Site, fields: Record<string, string> = {}, opened: Promise<void> = Promise.resolve()) =>
  site.answer("/a", async ({ headers }) => {
    await opened
    const wanted = headers["accept-language"] ?? "none"
    const etag = `"${wanted}"`
    const fieldsOf = { ...maxAge(60), "vary": "Accept-Language", "content-language": wanted, etag, ...fields }
    return headers["if-none-match"] === etag
      ? { status: 304, headers: fieldsOf }
      : { headers: fieldsOf, body: `in ${wanted}` }
  })

describe("Vary", () => {
  it.effect("stores variants side by side (§4.1)", () =>
    Effect.gen(function*() {
      const site = yield* start()
      serveLanguages(site)
      const stories: Array<string> = []
      for (const name of ["de", "fr", "en", "de", "fr", "en"]) {
        const { body, headers } = yield* site.ask("/a", language(name))
        assert.strictEqual(body.toString(), `in ${name}`)
        assert.strictEqual(headers["vary"], "Accept-Language")
        assert.strictEqual(headers["content-language"], name)
        stories.push(story(headers))
      }
      assert.deepStrictEqual(stories, [
        "spillway; fwd=uri-miss; stored",
        "spillway; fwd=vary-miss; stored",
        "spillway; fwd=vary-miss; stored",
        ...Array.from({ length: 3 }, () => "spillway; hit")
      ])
      assert.strictEqual(site.seen("/a").length, 3)
    }))

  it.effect("distinguishes absent fields from present ones, and ignores white space (§4.1)", () =>
    Effect.gen(function*() {
      const site = yield* start()
      serveLanguages(site)
      yield* site.ask("/a", language("de"))
      const none = yield* site.ask("/a")
      assert.strictEqual(none.body.toString(), "in none")
      assert.strictEqual(story(none.headers), "spillway; fwd=vary-miss; stored")
      assert.strictEqual(story((yield* site.ask("/a", language("  de  "))).headers), "spillway; hit")
    }))

  it.effect("accepts several fields in any order and case (§4.1)", () =>
    Effect.gen(function*() {
      const site = yield* start()
      let requests = 0
      site.answer("/a", () => ({
        headers: { ...maxAge(60), "etag": "\"v1\"", "vary": requests++ % 2 === 0 ? "X-A, X-B" : "x-b,x-a" },
        body: "abc"
      }))
      yield* site.ask("/a", { headers: { "x-a": "1", "x-b": "2" } })
      yield* site.ask("/a", { headers: { "x-a": "2", "x-b": "1" } })
      assert.strictEqual(site.seen("/a").length, 2)
      for (const [a, b] of [["1", "2"], ["2", "1"]] as const) {
        assert.strictEqual(story((yield* site.ask("/a", { headers: { "x-a": a, "x-b": b } })).headers), "spillway; hit")
      }
    }))

  it.effect("revalidates each variant by its own ETag (§4.3.1)", () =>
    Effect.gen(function*() {
      const site = yield* start()
      serveLanguages(site)
      yield* site.ask("/a", language("de"))
      yield* site.ask("/a", language("fr"))
      yield* TestClock.adjust("61 seconds")
      for (const name of ["fr", "de"]) {
        const { body, headers } = yield* site.ask("/a", language(name))
        assert.strictEqual(body.toString(), `in ${name}`)
        assert.strictEqual(story(headers), "spillway; fwd=stale; fwd-status=304")
        assert.strictEqual(site.seen("/a").at(-1)!.headers["if-none-match"], `"${name}"`)
      }
    }))

  it.effect("gives viewers who waited for another variant their own (§4.1)", () =>
    Effect.gen(function*() {
      const site = yield* start()
      const gate = makeGate()
      serveLanguages(site, {}, gate.opened)
      site.file("/ping")
      const names = ["de", "fr", "de", "en", "fr"]
      const viewers: Array<Fiber.Fiber<string, Error>> = []
      for (const name of names) {
        const viewer = site.ask("/a", language(name)).pipe(Effect.map(({ body }) => body.toString()))
        viewers.push(yield* Effect.forkChild(viewer))
        // What was sent before this has been read when it is answered.
        yield* site.ask("/ping")
      }
      yield* until("the request", () => site.seen("/a").length > 0)
      assert.strictEqual(site.seen("/a").length, 1)
      gate.open()
      for (const [i, name] of names.entries()) assert.strictEqual(yield* Fiber.join(viewers[i]!), `in ${name}`)
      assert.strictEqual(site.seen("/a").length, 3)
    }))

  it.effect("gives viewers who waited for an error their own answer (§4.1)", () =>
    Effect.gen(function*() {
      const site = yield* start()
      const gate = makeGate()
      site.answer("/a", async ({ headers }) => {
        await gate.opened
        return { status: 404, headers: { vary: "Accept-Language" }, body: `none in ${headers["accept-language"]}` }
      })
      site.file("/ping")
      const first = yield* Effect.forkChild(site.ask("/a", language("de")))
      yield* site.ask("/ping")
      const second = yield* Effect.forkChild(site.ask("/a", language("fr")))
      yield* site.ask("/ping")
      yield* until("the request", () => site.seen("/a").length > 0)
      gate.open()
      assert.strictEqual((yield* Fiber.join(first)).body.toString(), "none in de")
      assert.strictEqual((yield* Fiber.join(second)).body.toString(), "none in fr")
    }))

  it.effect("prevents errors from being stored (§4.1)", () =>
    Effect.gen(function*() {
      const site = yield* start()
      site.answer("/a", ({ headers }) => ({
        status: 404,
        headers: { ...maxAge(60), vary: "Accept-Language" },
        body: `none in ${headers["accept-language"]}`
      }))
      for (const name of ["de", "fr"]) {
        assert.strictEqual((yield* site.ask("/a", language(name))).body.toString(), `none in ${name}`)
      }
    }))

  it.effect("remembers the fields of an earlier answer, when a later one has no Vary or another (§4.1)", () =>
    Effect.gen(function*() {
      const site = yield* start()
      // As object stores do: what a request does not have is not in `Vary`.
      site.answer("/a", ({ headers }) => {
        const names = ["x-page", "x-app"].filter((name) => headers[name] !== undefined)
        return {
          headers: { ...maxAge(60), "etag": "\"v1\"", ...(names.length > 0 && { vary: names.join() }) },
          body: names.map((name) => `${name} ${headers[name]}`).join() || "plain"
        }
      })
      const asked: ReadonlyArray<readonly [Record<string, string>, string]> = [
        [{ "x-page": "1" }, "x-page 1"],
        [{ "x-app": "2" }, "x-app 2"],
        [{}, "plain"],
        [{ "x-page": "1", "x-app": "2" }, "x-page 1,x-app 2"],
        [{ "x-page": "3" }, "x-page 3"]
      ]
      for (let i = 0; i < 3; i++) {
        for (const [headers, body] of asked) {
          const answer = yield* site.ask("/a", { headers })
          assert.strictEqual(answer.body.toString(), body)
          if (i === 2) assert.strictEqual(story(answer.headers), "spillway; hit")
        }
      }
    }))

  it.effect("makes no variants by fields that no stored answer varies on (§4.1)", () =>
    Effect.gen(function*() {
      const site = yield* start()
      site.file("/a", { headers: { ...maxAge(60), vary: "Cookie" } })
      yield* site.ask("/a", { headers: { cookie: "a=1" } })
      site.file("/a")
      yield* TestClock.adjust("61 seconds")
      yield* site.ask("/a")
      assert.strictEqual(story((yield* site.ask("/a")).headers), "spillway; hit")
    }))

  const personal = [["*", "*"], ["Cookie", "Origin, Cookie"], ["Authorization", "Authorization"], [
    "more than 8 fields",
    "a, b, c, d, e, f, g, h, i"
  ]] as const

  it.effect.each(personal)("%s is not stored (§4.1)", ([, vary]) =>
    Effect.gen(function*() {
      const site = yield* start()
      site.answer("/a", ({ headers }) => ({
        headers: { ...maxAge(60), "etag": "\"v1\"", vary },
        body: `for ${headers["cookie"] ?? headers["authorization"] ?? "nobody"}`
      }))
      for (const cookie of ["a", "b", "a"]) {
        const { body, headers } = yield* site.ask("/a", { headers: { cookie } })
        assert.strictEqual(body.toString(), `for ${cookie}`)
        assert.strictEqual(story(headers), "spillway; fwd=bypass; detail=VARY")
      }
    }))

  /** A proxy that goes on where another has ended, which `first` has used. */
  const restarted = Effect.fnUntraced(
    function*(set: (site: Site) => void, first: (site: Site) => Effect.Effect<unknown, Error>) {
      const store = yield* Effect.provide(ChunkStore, ChunkStore.layerMemory)
      const origin = yield* makeTestOrigin
      const before = { origin, store }
      // The end of the first one writes what it has stored.
      yield* Effect.scoped(Effect.gen(function*() {
        const site = yield* start({ before })
        set(site)
        yield* first(site)
      }))
      return yield* start({ before })
    }
  )

  /** As object stores do: CORS fields and `Vary` only if the request has `Origin`. */
  const serveBrowsers = ({ answer }: Site): void =>
    answer("/a", ({ headers }) => ({
      headers: {
        ...maxAge(3600),
        etag: "\"v1\"",
        ...(headers["origin"] !== undefined && { "vary": "Origin", "access-control-allow-origin": headers["origin"] })
      },
      body: "abc"
    }))

  const page = { headers: { origin: "https://page.test" } }

  const newest = { headers: { ...page.headers, "cache-control": "no-cache" } }

  it.effect("is remembered after a restart, also for the response without it (§4.1)", () =>
    Effect.gen(function*() {
      const site = yield* restarted(serveBrowsers, ({ ask }) => Effect.andThen(ask("/a"), ask("/a", newest)))
      const requests = site.seen("/a").length
      for (let i = 0; i < 2; i++) {
        const { headers } = yield* site.ask("/a", page)
        assert.strictEqual(headers["access-control-allow-origin"], "https://page.test")
        assert.strictEqual(story(headers), "spillway; hit")
      }
      assert.strictEqual(site.seen("/a").length, requests)
      // The plain response is one variant of several now, which is not stored yet.
      assert.strictEqual(story((yield* site.ask("/a")).headers), "spillway; fwd=vary-miss; stored")
      assert.strictEqual(story((yield* site.ask("/a")).headers), "spillway; hit")
    }))

  it.effect("is remembered after a restart with all names of all responses (§4.1)", () =>
    Effect.gen(function*() {
      const serve = ({ answer }: Site): void =>
        answer("/a", ({ headers }) => {
          const names = ["x-a", "x-b"].filter((name) => headers[name] !== undefined)
          return {
            headers: { ...maxAge(3600), etag: "\"v1\"", ...(names.length > 0 && { vary: names.join() }) },
            body: names.map((name) => `${name} ${headers[name]}`).join() || "plain"
          }
        })
      const asked: ReadonlyArray<readonly [Record<string, string>, string]> = [
        [{ "x-a": "1" }, "x-a 1"],
        [{ "x-b": "1" }, "x-b 1"],
        [{ "x-a": "1", "x-b": "1" }, "x-a 1,x-b 1"],
        [{}, "plain"]
      ]
      const askAll = ({ ask }: Site) =>
        Effect.forEach(asked, ([headers, body]) =>
          Effect.map(ask("/a", { headers }), (answer) =>
            assert.strictEqual(answer.body.toString(), body)))
      const site = yield* restarted(serve, (site) =>
        Effect.andThen(askAll(site), askAll(site)))
      const requests = site.seen("/a").length
      yield* askAll(site)
      assert.strictEqual(site.seen("/a").length, requests)
    }))

  it.effect("is remembered when the disk has a variant of an earlier version of Spillway (§4.1)", () =>
    Effect.gen(function*() {
      const store = yield* Effect.provide(ChunkStore, ChunkStore.layerMemory)
      const origin = yield* makeTestOrigin
      // Without the names.
      const writeManifest = (resource: string, file: Uint8Array) => {
        const [line = ""] = Buffer.from(file).toString().split("\n")
        const { varyNames: _, ...manifest } = JSON.parse(line)
        const text = JSON.stringify(manifest)
        return store.writeManifest(resource, Buffer.from(`${text}\n${crc32(text)}`))
      }
      yield* Effect.scoped(Effect.gen(function*() {
        const site = yield* start({ before: { origin, store: { ...store, writeManifest } } })
        serveLanguages(site, maxAge(3600))
        yield* site.ask("/a", language("de"))
      }))
      const site = yield* start({ before: { origin, store } })
      assert.strictEqual(story((yield* site.ask("/a", language("de"))).headers), "spillway; hit")
      assert.strictEqual(story((yield* site.ask("/a", language("fr"))).headers), "spillway; fwd=vary-miss; stored")
    }))

  it.effect("costs no reads of other resources' manifests, and one for each variant", () =>
    Effect.gen(function*() {
      const store = yield* Effect.provide(ChunkStore, ChunkStore.layerMemory)
      const origin = yield* makeTestOrigin
      const reads: Array<string> = []
      const readManifest = (resource: string, forViewer?: boolean) => {
        reads.push(resource)
        return store.readManifest(resource, forViewer)
      }
      const before = { origin, store: { ...store, readManifest } }
      yield* Effect.scoped(Effect.gen(function*() {
        const site = yield* start({ before })
        serveLanguages(site, maxAge(3600))
        for (const path of ["/b", "/c", "/d"]) {
          site.file(path)
          yield* site.ask(path)
        }
        yield* site.ask("/a", language("de"))
        yield* site.ask("/a", language("fr"))
      }))
      const site = yield* start({ before })
      reads.length = 0
      yield* site.ask("/a", language("de"))
      yield* site.ask("/a", language("fr"))
      assert.strictEqual(new Set(reads).size, 2)
      const soFar = reads.length
      yield* site.ask("/b")
      assert.strictEqual(reads.length, soFar + 1)
    }))
})
