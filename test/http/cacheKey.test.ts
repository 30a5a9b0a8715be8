import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { TestClock } from "effect/testing"
import type { IncomingMessage, ServerResponse } from "node:http"
import type { Purged, ResourceDetail, ResourceSummary, WarmJob, Why } from "../../src/http/admin/api/model.ts"
import { story } from "../support/cacheStatus.ts"
import { eventually } from "../support/Program.ts"
import { makeTestOrigin, type OriginFile } from "../support/TestOrigin.ts"
import { control } from "./api/Control.ts"
import { bytes, maxAge, otherBytes, SIZE, start, until, withTime } from "./Site.ts"
import { CHUNK_BYTES } from "./TestProxy.ts"

const rules = [
  { pattern: "/films/*", ignore: ["token", "expires"] },
  { pattern: "/covers/*", keep: ["id"], sort: true }
]

/** An origin that serves `/films/a` to all but `token=bad`, and a proxy before it. */
const startFilms = Effect.fnUntraced(function*(refusal: Record<string, string> = {}) {
  const site = yield* start({ cache: { cacheKey: rules } })
  const tokens = () => site.origin.requests.map(({ url }) => new URL(url, "http://origin").searchParams.get("token"))
  const serve = (request: IncomingMessage, response: ServerResponse) => {
    const token = new URL(request.url!, "http://origin").searchParams.get("token")
    if (token === "bad") return void response.writeHead(403, { "content-length": "4", ...refusal }).end("no!\n")
    const fields = { ...maxAge(60), etag: "\"v1\"" }
    if (request.headers["if-none-match"] === "\"v1\"") return void response.writeHead(304, fields).end()
    const [, first, last] = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? "") ?? []
    if (first === undefined) {
      return void response.writeHead(200, { ...fields, "content-length": SIZE }).end(
        request.method === "HEAD" ? undefined : bytes
      )
    }
    const end = last === "" ? SIZE : Number(last) + 1
    response.writeHead(206, {
      ...fields,
      "content-length": end - Number(first),
      "content-range": `bytes ${first}-${end - 1}/${SIZE}`
    })
    response.end(bytes.subarray(Number(first), end))
  }
  site.origin.handlers.set("*", serve)
  return { ...site, serve, tokens }
})

describe("--cache-key", () => {
  it.effect("shares one entry and one transfer among tokens, and sends each viewer's own", () =>
    Effect.gen(function*() {
      const { ask, origin, tokens } = yield* startFilms()
      const asked = ["/films/a?token=a&expires=1", "/films/a?expires=2&token=b", "/films/a?token=c"].map((path) =>
        ask(path)
      )
      const answers = yield* Effect.all(asked, { concurrency: "unbounded" })
      assert.isTrue(answers.every(({ body }) => body.equals(bytes)))
      assert.lengthOf(origin.requests, 1)
      assert.match(origin.requests[0]!.url, /^\/films\/a\?.*token=[abc]/)
      const [first, second] = [yield* ask("/films/a?token=d"), yield* ask("/films/a")]
      assert.strictEqual(story(first.headers), "spillway; hit")
      assert.strictEqual(first.headers["cache-status"], second.headers["cache-status"])
      assert.lengthOf(tokens(), 1)
      yield* TestClock.adjust("61 seconds")
      assert.match(story((yield* ask("/films/a?token=e")).headers), /fwd=stale; fwd-status=304/)
      assert.strictEqual(tokens().at(-1), "e")
    }))

  it.effect("keeps the parameters apart that identify a file", () =>
    Effect.gen(function*() {
      const { ask, file } = yield* start({ cache: { cacheKey: rules } })
      file("/covers/a?w=1&id=1")
      file("/covers/a?id=2&w=1", { bytes: otherBytes, etag: "\"v2\"" })
      assert.isTrue((yield* ask("/covers/a?w=1&id=1")).body.equals(bytes))
      assert.isTrue((yield* ask("/covers/a?id=2&w=1")).body.equals(otherBytes))
      assert.strictEqual(story((yield* ask("/covers/a?id=1&w=3&x")).headers), "spillway; hit")
      assert.strictEqual(story((yield* ask("/covers/a?id=2")).headers), "spillway; hit")
    }))

  it.effect.each([{}, maxAge(60, "public")])(
    "gives nobody else the refusal of a token (%o)",
    (refusal) =>
      Effect.gen(function*() {
        const { ask } = yield* startFilms(refusal)
        const both = [ask("/films/a?token=bad"), ask("/films/a?token=good")]
        const [bad, good] = yield* Effect.all(both, { concurrency: "unbounded" })
        assert.strictEqual(bad!.status, 403)
        assert.isTrue(good!.body.equals(bytes))
        assert.strictEqual((yield* ask("/films/b?token=bad")).status, 403)
        assert.strictEqual((yield* ask("/films/b?token=good")).status, 200)
      })
  )

  it.effect.each(
    [
      { status: 401, headers: maxAge(60) },
      { status: 403 },
      { status: 404, headers: maxAge(60, "public") },
      { status: 410 },
      { status: 302, headers: { location: "https://login.example/" } },
      { headers: { "cache-control": "no-store" }, body: "log in" }
    ] as const
  )("keeps a stored file when a token is refused with %j", (refusal) =>
    Effect.gen(function*() {
      const { answer, ask, origin } = yield* startFilms()
      answer("/films/a?token=bad", () => refusal)
      yield* ask("/films/a?token=a")
      for (const range of [{}, { range: "bytes=5-" }]) {
        const headers = { ...range, "cache-control": "no-cache" }
        assert.strictEqual(
          (yield* ask("/films/a?token=bad", { headers })).status,
          "status" in refusal ? refusal.status : 200
        )
        assert.strictEqual(story((yield* ask("/films/a?token=b")).headers), "spillway; hit")
      }
      yield* TestClock.adjust("61 seconds")
      yield* ask("/films/a?token=bad")
      yield* origin.close
      const { headers } = yield* withTime(ask("/films/a?token=c"))
      assert.strictEqual(story(headers), "spillway; hit; detail=ORIGIN_UNREACHABLE")
    }))

  it.effect.each([401, 403, 404])(
    "keeps a part of a file when a token is refused another part with %i",
    (status) =>
      Effect.gen(function*() {
        const { answer, ask } = yield* startFilms()
        answer("/films/a?token=bad", () => ({ status, body: "no!" }))
        const first = { headers: { range: "bytes=0-9" } }
        yield* ask("/films/a?token=a", first)
        const refused = yield* ask("/films/a?token=bad", { headers: { range: `bytes=${2 * CHUNK_BYTES}-` } })
        assert.deepStrictEqual([refused.status, refused.body.toString()], [status, "no!"])
        assert.strictEqual(story((yield* ask("/films/a?token=b", first)).headers), "spillway; hit")
      })
  )

  it.effect.each(
    [
      [302, "location", "http://login.example/?token=secret"],
      [301, "location", "/films/a/?token=secret"],
      [200, "content-location", "/films/a?token=secret"],
      [200, "link", "</films/a?token=secret>; rel=self"]
    ] as const
  )("stores no response of %i whose %s repeats a token", ([status, name, value]) =>
    Effect.gen(function*() {
      const { answer, ask } = yield* start({ cache: { cacheKey: rules } })
      const headers = { ...maxAge(60, "public"), etag: "\"v1\"" }
      answer("/films/a?token=secret", () => ({ status, headers: { ...headers, [name]: value }, body: "x" }))
      answer("/films/a?token=other", () => ({ headers, body: "y" }))
      assert.include((yield* ask("/films/a?token=secret")).headers[name], "secret")
      const other = yield* ask("/films/a?token=other")
      assert.strictEqual(other.body.toString(), "y")
      assert.isUndefined(other.headers[name])
    }))

  it.effect("requests the rest with the token of a viewer who is still there", () =>
    Effect.gen(function*() {
      const { ask, origin, serve, tokens } = yield* startFilms()
      let cut = () => {}
      origin.handlers.set("*", (request, response) => {
        if (tokens().length > 1) return serve(request, response)
        response.writeHead(200, { ...maxAge(60), etag: "\"v1\"", "content-length": SIZE })
        response.write(bytes.subarray(0, CHUNK_BYTES + 10))
        cut = () => void response.destroy()
      })
      const first = yield* Effect.forkChild(ask("/films/a?token=first"))
      yield* until("the first request", () => tokens().length === 1)
      const second = yield* Effect.forkChild(ask("/films/a?token=second"))
      const third = yield* Effect.forkChild(ask("/films/a?token=third"))
      const streams = Effect.map(ask("/_spillway/api/streams"), ({ body }) => JSON.parse(body.toString()).streams)
      const viewers = (count: number) =>
        TestClock.withLive(eventually(`${count} viewers`, Effect.map(streams, ({ length }) => length === count)))
      yield* viewers(3)
      yield* Fiber.interrupt(first)
      yield* viewers(2)
      cut()
      assert.isTrue((yield* withTime(Fiber.join(second))).body.equals(bytes))
      assert.isTrue((yield* withTime(Fiber.join(third))).body.equals(bytes))
      assert.deepStrictEqual(tokens().length, 2)
      assert.notStrictEqual(tokens()[1], "first")
    }))

  it.effect("invalidates what an unsafe request with another token has changed", () =>
    Effect.gen(function*() {
      const { ask, file, answer } = yield* start({ cache: { cacheKey: rules } })
      file("/films/a?token=a")
      file("/films/b?token=a")
      yield* ask("/films/a?token=a")
      yield* ask("/films/b?token=a")
      answer("/films/a?token=z", () => ({ status: 201, headers: { location: "/films/b?expires=1" } }))
      yield* ask("/films/a?token=z", { method: "POST", body: "x" })
      for (const path of ["/films/a?token=a", "/films/b?token=a"]) {
        assert.match(story((yield* ask(path)).headers), /fwd=stale/)
      }
    }))

  it.effect("maps the places that responses name to this server, with their parameters", () =>
    Effect.gen(function*() {
      const cacheKey = [{ pattern: "/media/films/*", ignore: ["token"] }]
      const { answer, ask, origin } = yield* start({ cache: { cacheKey }, path: "/media" })
      const location = `${origin.url}/media/films/b?token=x`
      answer("/media/films/a", () => ({ status: 201, headers: { location } }))
      const { headers } = yield* ask("/films/a", { method: "POST", body: "" })
      assert.strictEqual(headers.location, "/films/b?token=x")
    }))

  it.effect("applies to URLs that viewers name", () =>
    Effect.gen(function*() {
      const origin = yield* makeTestOrigin
      const { host } = new URL(origin.url)
      const { ask } = yield* start({
        cache: { cacheKey: rules },
        origins: { origins: { routes: [], urlHosts: [host], allowPrivate: true } }
      })
      origin.files.set("/films/a?token=a", { bytes, etag: "\"v1\"", headers: maxAge(60) } as OriginFile)
      const named = (query: string) => `/_spillway/url?url=${encodeURIComponent(`${origin.url}/films/a${query}`)}`
      assert.isTrue((yield* ask(named("?token=a"))).body.equals(bytes))
      assert.strictEqual(story((yield* ask(named("?token=b"))).headers), "spillway; hit")
      assert.deepStrictEqual(origin.requests.map(({ url }) => url), ["/films/a?token=a"])
    }))

  it.effect("applies to the URLs of operators, whose listings show none of the ignored parameters", () =>
    Effect.gen(function*() {
      const { tokens, ...site } = yield* startFilms()
      const api = control(site)
      const url = `${site.origin.url}/films/a`
      const { id } = yield* api.call<WarmJob>("POST", "/warm", { url: "/films/a?token=warm" })
      yield* TestClock.withLive(eventually(
        "the end of the job",
        Effect.map(api.get<WarmJob>(`/warm/${id}`), ({ state }) => state === "done")
      ))
      assert.include(tokens(), "warm")
      assert.strictEqual(story((yield* site.ask("/films/a?token=viewer")).headers), "spillway; hit")
      for (const given of ["/films/a?token=why", `${url}?expires=1&token=why`]) {
        const query = encodeURIComponent(given)
        assert.deepInclude(yield* api.get<Why>(`/why?url=${query}`), { url, cached: "whole" })
        assert.deepInclude(yield* api.get<ResourceDetail>(`/resource?url=${query}`), { url, cachedBytes: SIZE })
        assert.deepInclude(yield* api.call<ResourceSummary>("PUT", "/pin", { url: given }), { url, pinned: true })
      }
      const { resources } = yield* api.get<{ resources: ReadonlyArray<ResourceSummary> }>("/resources?prefix=/films/a")
      assert.deepStrictEqual(resources.map((resource) => resource.url), [url])
      // Of a URL that is not cached, the origin is asked with the parameters that were given.
      assert.deepInclude(yield* api.get<Why>("/why?url=/films/b%3Ftoken%3Dasked"), { storable: true, cached: "no" })
      assert.strictEqual(tokens().at(-1), "asked")
      // The beginning of a parameter is no parameter.
      const purge = (what: object) => api.call<Purged>("POST", "/purge", what)
      const isThere = Effect.map(api.send("/resource?url=/films/a"), ({ status }) => status === 200)
      yield* purge({ prefix: "/films/a?tok" })
      assert.isTrue(yield* isThere)
      yield* purge({ url: "/films/a?token=purge" })
      assert.isFalse(yield* isThere)
      assert.notInclude(story((yield* site.ask("/films/a?token=last")).headers), "hit")
      assert.strictEqual(tokens().at(-1), "last")
    }))
})
