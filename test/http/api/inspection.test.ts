import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Schema } from "effect"
import { FetchHttpClient, HttpClient, HttpClientRequest } from "effect/http"
import { HttpApiClient } from "effect/http-api"
import { TestClock } from "effect/testing"
import {
  ResourceDetail,
  type ResourceSummary,
  type RunningStream,
  Status,
  type Why
} from "../../../src/http/admin/api/model.ts"
import { SpillwayApi } from "../../../src/http/admin/api/SpillwayApi.ts"
import { makeGate, maxAge, SIZE, start } from "../Site.ts"
import { CHUNK_BYTES, exchange } from "../TestProxy.ts"
import { control } from "./Control.ts"

interface Listed {
  readonly resources: ReadonlyArray<ResourceSummary>
  readonly total: number
  readonly bytes: number
}

/** Lets the chunks that have been fetched be written. */
const written = (api: ReturnType<typeof control>, chunks: number): Effect.Effect<void, Error> =>
  Effect.gen(function*() {
    for (let tries = 0; tries < 2000; tries++) {
      const { cache } = yield* api.get<Status>("/status")
      if (cache.chunks === chunks) return
    }
    return yield* Effect.die(`not ${chunks} chunks`)
  })

describe("the control API", () => {
  it.effect("shows the state of the server", () =>
    Effect.gen(function*() {
      const site = yield* start({ cache: { memory: 1e6, maxSize: 1e8, minFree: 1e9 } })
      const api = control(site)
      site.file("/a.mp4")
      yield* site.ask("/a.mp4")
      yield* site.ask("/a.mp4", { headers: { range: "bytes=0-99" } })
      yield* site.ask("/none")
      yield* written(api, 4)
      yield* TestClock.adjust("90 seconds")
      const status = yield* Schema.decodeUnknownEffect(Status)(yield* api.get("/status")).pipe(Effect.orDie)
      assert.deepInclude(status, { startedAt: "2030-01-01T12:00:00.000Z", uptime: 90, listening: site.url, streams: 0 })
      assert.deepInclude(status.cache, {
        state: "usable",
        maxBytes: 1e8,
        chunkBytes: CHUNK_BYTES,
        chunks: 4,
        resources: 1,
        indexed: true
      })
      assert.deepStrictEqual(status.memory, { bytes: SIZE, maxBytes: 1e6, chunks: 4 })
      assert.deepStrictEqual(status.disk, {
        status: "healthy",
        freeBytes: 5e11,
        totalBytes: 1e12,
        minFreeBytes: 1e9,
        freeNodes: 1e6,
        totalNodes: 2e6,
        thresholds: { info: 2e11, warning: 1e11, critical: 5e10 }
      })
      assert.strictEqual(status.backlog.bytes, 0)
      assert.deepStrictEqual(status.totals, {
        requests: { hit: 1, miss: 2, partial: 0, stale: 0, bypass: 0, other: 0 },
        bytes: { memory: 100, disk: 0, peer: 0, origin: SIZE, passthrough: 0 },
        originRequests: 2,
        originBytes: SIZE + "no such file\n".length,
        coalesced: 0,
        evictions: 0,
        droppedChunks: 0
      })
    }))

  it.effect("lists running streams and uncached transfers", () =>
    Effect.gen(function*() {
      const site = yield* start()
      const api = control(site)
      const gate = makeGate()
      const hold = { after: CHUNK_BYTES, until: gate.opened }
      site.file("/a.mp4", { hold })
      site.file("/private.mp4", { hold, headers: { "cache-control": "private" } })
      const streams = () => Effect.map(api.get<{ streams: ReadonlyArray<RunningStream> }>("/streams"), (_) => _.streams)
      assert.deepStrictEqual(yield* streams(), [])
      const range = { headers: { range: `bytes=10000-${SIZE - 1}` } }
      const viewers = yield* Effect.forkChild(
        Effect.all([site.ask("/a.mp4", range), site.ask("/private.mp4")], { concurrency: 2 })
      )
      let seen: ReadonlyArray<RunningStream> = []
      yield* Effect.repeat(Effect.tap(streams(), (now) => Effect.sync(() => seen = now)), {
        until: (now) => now.length === 2 && now.every(({ position, start }) => position > start)
      })
      const [cached, passing] = seen.toSorted((a, b) => a.url < b.url ? -1 : 1)
      assert.deepInclude(cached, {
        url: `${site.origin.url}/a.mp4`,
        start: 10_000,
        end: SIZE,
        size: SIZE,
        source: "origin",
        startedAt: "2030-01-01T12:00:00.000Z",
        viewer: "127.0.0.1"
      })
      assert.isBelow(cached!.position, SIZE)
      assert.deepInclude(passing, {
        source: "passthrough",
        detail: "PRIVATE",
        start: 0,
        position: CHUNK_BYTES,
        end: SIZE,
        size: SIZE
      })
      gate.open()
      yield* Fiber.join(viewers)
      yield* Effect.repeat(streams(), { until: (now) => now.length === 0 })
    }))

  it.effect("lists cached resources, the most recently used first", () =>
    Effect.gen(function*() {
      const site = yield* start()
      const api = control(site)
      for (const path of ["/films/a.mp4", "/films/b.mp4", "/music/c.mp3"]) {
        site.file(path, {
          contentType: path.endsWith("3") ? "audio/mpeg" : "video/mp4",
          headers: { "cache-control": "max-age=60", ...(path !== "/films/a.mp4" && { "cache-tag": "new, b" }) }
        })
        yield* site.ask(path, { headers: { range: "bytes=0-9" } })
        yield* TestClock.adjust("1 second")
      }
      yield* written(api, 3)
      const urls = ({ resources }: Listed) => resources.map(({ url }) => url.slice(site.origin.url.length))
      const all = yield* api.get<Listed>("/resources")
      assert.deepStrictEqual(urls(all), ["/music/c.mp3", "/films/b.mp4", "/films/a.mp4"])
      // The chunk with its header, the manifest and the directory; and the directories that they are in, which two may share.
      const alone = CHUNK_BYTES + 4096 + 8192
      const prefixes = all.resources.map(({ resource }) => resource.slice(0, 2))
      assert.deepInclude(all, { total: 3, bytes: 3 * alone + new Set(prefixes).size * 4096 })
      assert.deepStrictEqual(all.resources[0], {
        url: `${site.origin.url}/music/c.mp3`,
        resource: all.resources[0]!.resource,
        size: SIZE,
        cachedBytes: CHUNK_BYTES,
        chunks: { cached: 1, total: 4 },
        pinned: false,
        lastUsed: "2030-01-01T12:00:02.000Z",
        fresh: true,
        expiresAt: "2030-01-01T12:01:02.000Z",
        contentType: "audio/mpeg",
        etag: "\"v1\""
      })
      // The order of use is known to the minute.
      yield* TestClock.adjust("1 minute")
      site.file("/films/a.mp4")
      yield* site.ask("/films/a.mp4", { headers: { range: "bytes=0-9" } })
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual(urls(yield* api.get<Listed>("/resources"))[0], "/films/a.mp4")
      for (const prefix of ["/films/", `${site.origin.url}/films/`]) {
        const films = yield* api.get<Listed>(`/resources?limit=1&prefix=${encodeURIComponent(prefix)}`)
        assert.deepStrictEqual(urls(films), ["/films/a.mp4"])
        const [, ...ofFilms] = prefixes
        const own = ofFilms.filter((prefix) => prefixes.indexOf(prefix) === prefixes.lastIndexOf(prefix)).length
        assert.deepInclude(films, { total: 2, bytes: 2 * alone + own * 4096 })
      }
      assert.strictEqual((yield* api.get<Listed>("/resources?prefix=http://other.test/")).total, 0)
      const tagged = yield* api.get<Listed>("/resources?tag=new")
      assert.sameMembers(urls(tagged), ["/films/b.mp4", "/music/c.mp3"])
      assert.strictEqual(tagged.total, 2)
      assert.deepStrictEqual(urls(yield* api.get<Listed>("/resources?tag=new&prefix=/films/")), ["/films/b.mp4"])
      assert.strictEqual((yield* api.get<Listed>("/resources?tag=ne")).total, 0)
      yield* api.refusal(400, "/resources?tag=")
      for (const limit of ["0", "1001", "x", "1.5"]) yield* api.refusal(400, `/resources?limit=${limit}`)
    }))

  it.effect("shows which ranges of a resource are cached", () =>
    Effect.gen(function*() {
      const site = yield* start()
      const api = control(site)
      site.file("/a.mp4")
      for (const at of [0, 1, 3]) {
        yield* site.ask("/a.mp4", { headers: { range: `bytes=${at * CHUNK_BYTES}-${at * CHUNK_BYTES + 9}` } })
      }
      yield* written(api, 3)
      for (const url of ["/a.mp4", `${site.origin.url}/a.mp4`]) {
        const detail = yield* Schema.decodeUnknownEffect(ResourceDetail)(
          yield* api.get(`/resource?url=${encodeURIComponent(url)}`)
        ).pipe(Effect.orDie)
        assert.deepInclude(detail, {
          url: `${site.origin.url}/a.mp4`,
          chunkSize: CHUNK_BYTES,
          cachedBytes: 2 * CHUNK_BYTES + 1234,
          streams: [],
          storedAt: "2030-01-01T12:00:00.000Z",
          ranges: [{ start: 0, end: 2 * CHUNK_BYTES }, { start: 3 * CHUNK_BYTES, end: SIZE }]
        })
        assert.deepInclude(detail.headers, { "content-type": "video/mp4", "cache-control": "max-age=60" })
      }
      assert.match(yield* api.refusal(404, "/resource?url=/b.mp4"), /\/b\.mp4/)
      assert.match(yield* api.refusal(400, "/resource?url=b.mp4"), /URL/)
      assert.match(yield* api.refusal(400, "/resource"), /url/)
    }))

  it.effect("finds the variants of a resource", () =>
    Effect.gen(function*() {
      const site = yield* start()
      const api = control(site)
      site.file("/a.mp4", { headers: { ...maxAge(60), vary: "x-quality" } })
      yield* site.ask("/a.mp4", { headers: { "x-quality": "high", range: "bytes=0-9" } })
      yield* written(api, 1)
      const detail = yield* api.get<ResourceDetail>("/resource?url=/a.mp4")
      assert.strictEqual(detail.cachedBytes, CHUNK_BYTES)
    }))

  it.effect("explains why a resource is cached or not", () =>
    Effect.gen(function*() {
      const site = yield* start({ cache: { maxSize: 1e6 } })
      const api = control(site)
      const why = (url: string) => api.get<Why>(`/why?url=${encodeURIComponent(url)}`)
      const codes = ({ reasons }: Why) => reasons.map(({ code }) => code)
      site.file("/a.mp4")
      const before = yield* why("/a.mp4")
      assert.deepInclude(before, {
        cached: "no",
        storable: true,
        size: SIZE,
        rangeSupport: true,
        store: { usable: true }
      })
      assert.deepStrictEqual(before.freshness, {
        fresh: true,
        ageSeconds: 0,
        ttlSeconds: 60,
        source: "Cache-Control: max-age"
      })
      assert.deepStrictEqual(codes(before), ["NOT_ASKED_FOR"])
      assert.deepStrictEqual(site.seen("/a.mp4").map(({ method }) => method), ["HEAD"])

      yield* site.ask("/a.mp4", { headers: { range: "bytes=0-9" } })
      yield* written(api, 1)
      assert.deepInclude(yield* why("/a.mp4"), { cached: "partly", cachedBytes: CHUNK_BYTES })
      yield* site.ask("/a.mp4")
      yield* written(api, 4)
      const whole = yield* why("/a.mp4")
      assert.deepInclude(whole, { cached: "whole", cachedBytes: SIZE, reasons: [], advice: [] })
      yield* TestClock.adjust("61 seconds")
      assert.deepStrictEqual(codes(yield* why("/a.mp4")), ["STALE"])

      site.file("/c.txt", { headers: { ...maxAge(60), "content-encoding": "gzip" } })
      yield* site.ask("/c.txt", { headers: { "accept-encoding": "gzip" } })
      yield* written(api, 8)
      const coded = yield* why("/c.txt")
      assert.deepInclude(coded, { cached: "whole", advice: [] })
      assert.deepStrictEqual(codes(coded), ["CODED"])

      const answers: ReadonlyArray<readonly [string, Record<string, string>]> = [
        ["NO_STORE", { "cache-control": "no-store" }],
        ["PRIVATE", { "cache-control": "private" }],
        ["VARY", { vary: "cookie" }],
        ["SET_COOKIE", { "set-cookie": "a=b" }],
        ["ENCODED", { "content-encoding": "gzip" }],
        ["NO_VALIDATOR", { etag: "unquoted" }]
      ]
      for (const [code, headers] of answers) {
        site.answer("/b.mp4", () => ({ headers: { etag: "\"1\"", ...headers }, body: "x" }))
        const told = yield* why("/b.mp4")
        assert.deepInclude(told, { cached: "no", storable: false }, code)
        assert.deepStrictEqual(codes(told), [code])
        assert.lengthOf(told.advice, 1)
      }
      site.answer("/b.mp4", () => ({ headers: { etag: "W/\"1\"" }, body: "x" }))
      const single = yield* why("/b.mp4")
      assert.deepInclude(single, { cached: "no", storable: true })
      assert.deepStrictEqual(codes(single), ["NOT_ASKED_FOR", "NO_STRONG_VALIDATOR"])
      site.answer("/b.mp4", () => ({ headers: { ...maxAge(60), "transfer-encoding": "chunked" }, body: "x" }))
      const unmeasured = yield* why("/b.mp4")
      assert.deepInclude(unmeasured, { cached: "no", storable: true })
      assert.deepStrictEqual(codes(unmeasured), ["NO_LENGTH"])
      site.answer("/gone", () => ({ status: 410, headers: maxAge(60), body: "x" }))
      const gone = yield* why("/gone")
      assert.deepInclude(gone, { cached: "no", storable: true, advice: [] })
      assert.deepStrictEqual(codes(gone), ["NOT_ASKED_FOR", "STATUS"])
      for (const status of [302, 401, 403, 404, 429, 500]) {
        site.answer("/other", () => ({ status, headers: { location: "https://other.test/" }, body: "x" }))
        const told = yield* why("/other")
        assert.deepInclude(told, { cached: "no", storable: false }, String(status))
        assert.deepStrictEqual(codes(told), ["STATUS"])
        assert.lengthOf(told.advice, 1)
      }
      site.answer("/no-head", ({ method }) => ({
        status: method === "HEAD" ? 405 : 200,
        headers: { ...maxAge(60), etag: "\"1\"" },
        body: "x"
      }))
      assert.deepStrictEqual(codes(yield* why("/no-head")), ["NOT_ASKED_FOR"])
      assert.deepStrictEqual(codes(yield* why("http://other.test/a")), ["NOT_SERVED"])
      site.file("/large.mp4", { bytes: Buffer.alloc(1e6 + 1), ranges: false, headers: { "accept-ranges": "none" } })
      assert.deepStrictEqual(codes(yield* why("/large.mp4")), ["NOT_ASKED_FOR", "NO_RANGES", "TOO_LARGE"])
      yield* site.origin.close
      assert.deepStrictEqual(codes(yield* why("/c.mp4")), ["ORIGIN_FAILED"])
    }))

  it.effect("can be called with the client derived from it", () =>
    Effect.gen(function*() {
      const site = yield* start()
      site.file("/a.mp4")
      yield* site.ask("/a.mp4")
      const client = yield* HttpApiClient.make(SpillwayApi, {
        transformClient: HttpClient.mapRequest(HttpClientRequest.prependUrl(`http://localhost:${site.port}`))
      })
      yield* written(control(site), 4)
      const { resources } = yield* client.resources({ query: { prefix: "/", limit: 10 } })
      assert.strictEqual(resources[0]!.cachedBytes, SIZE)
      const missing = yield* Effect.flip(client.resource({ query: { url: "/none" } }))
      assert.deepInclude(missing, { _tag: "NotFound" })
      const pinned = yield* client.pin({ payload: { url: "/a.mp4" } })
      assert.isTrue(pinned.pinned)
      assert.isFalse((yield* client.unpin({ query: { url: "/a.mp4" } })).pinned)
      assert.match((yield* client.purge({ payload: { all: true } })).id, /^\d+$/)
      assert.strictEqual((yield* client.warm({ payload: { url: "/a.mp4" } })).state, "running")
    }).pipe(Effect.provide(FetchHttpClient.layer)))

  it.effect("describes itself", () =>
    Effect.gen(function*() {
      const site = yield* start()
      const api = control(site)
      const { paths } = yield* api.get<{ readonly paths: Record<string, object> }>("/openapi.json")
      assert.sameMembers(
        Object.keys(paths).map((path) => path.slice("/_spillway/api".length)),
        [
          "/status",
          "/streams",
          "/resources",
          "/resource",
          "/why",
          "/fleet",
          "/history",
          "/events",
          "/purge",
          "/purges",
          "/pin",
          "/config",
          "/reload",
          "/warm",
          "/warm/{id}"
        ]
      )
    }))
})

describe("an invalid request to the API", () => {
  it.effect("is refused with a message", () =>
    Effect.gen(function*() {
      const site = yield* start()
      const api = control(site)
      const json = { "content-type": "application/json" }
      yield* api.refusal(404, "/none")
      yield* api.refusal(404, "/")
      yield* api.refusal(405, "/purge")
      const { headers } = yield* api.send("/pin", { method: "POST" })
      assert.sameMembers(headers["allow"]?.split(", ") ?? [], ["PUT", "DELETE"])
      yield* api.refusal(400, "/purge", { method: "POST", headers: json, body: "{}" })
      yield* api.refusal(400, "/purge", { method: "POST", headers: json, body: "{" })
      yield* api.refusal(400, "/purge", { method: "POST", headers: json, body: "{\"all\":false}" })
      yield* api.refusal(400, "/purge", { method: "POST", headers: json, body: "{\"prefix\":\"\"}" })
      yield* api.refusal(400, "/purge", { method: "POST", headers: json })
      yield* api.refusal(415, "/purge", { method: "POST", headers: { "content-type": "text/plain" }, body: "{}" })
      const long = "x".repeat(64 * 1024 + 1)
      const head = "POST /_spillway/api/purge HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
      for (
        const rest of [
          `Content-Length: ${long.length}\r\n\r\n`,
          `Transfer-Encoding: chunked\r\n\r\n${long.length.toString(16)}\r\n${long}\r\n0\r\n\r\n`
        ]
      ) {
        assert.match(yield* exchange(site.port, head + rest), /^HTTP\/1.1 413 [^]*\{"message":"[^]*65536/)
      }
      yield* api.refusal(404, "/warm/1")
      assert.lengthOf(site.origin.requests, 0)
    }))

  it.effect("is refused to other machines and to pages of other sites", () =>
    Effect.gen(function*() {
      const site = yield* start()
      const api = control(site)
      site.file("/a.mp4")
      yield* site.ask("/a.mp4")
      yield* written(api, 4)
      const purge = (headers: Record<string, string>) =>
        api.send("/purge", {
          method: "POST",
          headers: { "content-type": "application/json", ...headers },
          body: "{\"all\":true}"
        })
      const origin = `http://localhost:${site.port}`
      for (
        const headers of [
          { host: "media.example.org" },
          { origin: "https://evil.example", "sec-fetch-site": "cross-site" },
          { origin: "https://evil.example" },
          { origin: "http://localhost:1", "sec-fetch-site": "same-site" },
          { "sec-fetch-site": "cross-site" },
          { "x-forwarded-for": "192.0.2.1" }
        ]
      ) {
        assert.strictEqual((yield* purge(headers)).status, 403)
        assert.strictEqual((yield* api.send("/status", { headers })).status, 403)
      }
      assert.strictEqual((yield* api.get<Status>("/status")).cache.chunks, 4)
      const own = { host: `localhost:${site.port}`, origin, "sec-fetch-site": "same-origin" }
      assert.strictEqual((yield* purge(own)).status, 200)
      assert.strictEqual((yield* api.get<Status>("/status")).cache.chunks, 0)
    }))
})
