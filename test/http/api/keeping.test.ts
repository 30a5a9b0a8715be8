import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { TestClock } from "effect/testing"
import type {
  Purged,
  ResourceDetail,
  ResourceSummary,
  RunningStream,
  Status
} from "../../../src/http/admin/api/model.ts"
import { ROOT_BYTES } from "../../../src/services/disk/blocks.ts"
import { ChunkStore } from "../../../src/services/disk/ChunkStore.ts"
import { makeTestOrigin } from "../../support/TestOrigin.ts"
import { bytes, makeGate, maxAge, otherBytes, type Site, SIZE, start, withTime } from "../Site.ts"
import { CHUNK_BYTES } from "../TestProxy.ts"
import { control } from "./Control.ts"

type Api = ReturnType<typeof control>

const state = (api: Api) => api.get<Status>("/status")

/** Waits until the cache has so many chunks. */
const chunks = (api: Api, wanted: number): Effect.Effect<void, Error> =>
  Effect.gen(function*() {
    let found = -1
    for (let tries = 0; tries < 2000 && found !== wanted; tries++) found = (yield* state(api)).cache.chunks
    assert.strictEqual(found, wanted)
  })

const setUp = Effect.gen(function*() {
  const site = yield* start()
  const api = control(site)
  for (const path of ["/films/a.mp4", "/films/b.mp4", "/music/c.mp3"]) {
    site.file(path)
    yield* site.ask(path)
  }
  yield* chunks(api, 12)
  site.origin.reset()
  return { site, api }
})

/** What a chunk takes of the disk. */
const CHUNK_ON_DISK = CHUNK_BYTES + 4096
/** What the file of `Site` takes of it. */
const FILE_ON_DISK = 3 * CHUNK_ON_DISK + 4096 + 12_288

const purge = (api: Api, what: object) => api.call<Purged>("POST", "/purge", what)

const isCached = (site: Site, path: string) =>
  Effect.map(site.ask(path, { headers: { "cache-control": "only-if-cached" } }), ({ status }) => status === 200)

describe("purging", () => {
  it.effect("removes a URL in all content codings", () =>
    Effect.gen(function*() {
      const site = yield* start()
      const api = control(site)
      site.answer("/a.txt", ({ headers }) => {
        const coding = headers["accept-encoding"]!
        const coded = coding === "identity" ? {} : { "content-encoding": coding }
        return { headers: { ...maxAge(60), ...coded, etag: `"${coding}"`, vary: "accept-encoding" }, body: "coded" }
      })
      const codings = ["gzip", "br", "identity"]
      for (const coding of codings) yield* site.ask("/a.txt", { headers: { "accept-encoding": coding } })
      yield* chunks(api, codings.length)
      assert.strictEqual((yield* purge(api, { url: "/a.txt" })).resources, codings.length)
      for (const coding of codings) {
        const fields = { "accept-encoding": coding, "cache-control": "only-if-cached" }
        assert.strictEqual((yield* site.ask("/a.txt", { headers: fields })).status, 504, coding)
      }
    }))

  it.effect("removes one URL, a prefix or everything, from disk, index and memory", () =>
    Effect.gen(function*() {
      const { api, site } = yield* setUp
      assert.deepStrictEqual(yield* purge(api, { url: `${site.origin.url}/films/a.mp4` }), {
        resources: 1,
        bytes: FILE_ON_DISK
      })
      assert.isFalse(yield* isCached(site, "/films/a.mp4"))
      assert.isTrue(yield* isCached(site, "/films/b.mp4"))
      yield* api.refusal(404, "/resource?url=/films/a.mp4")
      assert.deepStrictEqual(yield* purge(api, { url: "/films/a.mp4" }), { resources: 0, bytes: 0 })
      assert.strictEqual((yield* purge(api, { prefix: "/films/" })).resources, 1)
      assert.isFalse(yield* isCached(site, "/films/b.mp4"))
      assert.isTrue(yield* isCached(site, "/music/c.mp3"))
      assert.strictEqual((yield* purge(api, { prefix: `${site.origin.url}/music` })).resources, 1)
      const { cache, memory } = yield* state(api)
      assert.deepInclude(cache, { chunks: 0, resources: 0, bytes: 0 })
      assert.deepInclude(memory, { bytes: 0, chunks: 0 })

      site.file("/films/a.mp4", { bytes: otherBytes })
      // The same validator, and yet nothing of the old file is left.
      assert.isTrue(otherBytes.equals((yield* site.ask("/films/a.mp4")).body))
      yield* chunks(api, 4)
      assert.deepStrictEqual(yield* purge(api, { all: true }), { resources: 1, bytes: FILE_ON_DISK })
      assert.lengthOf(site.seen("/films/a.mp4"), 1)
    }))

  it.effect("removes stored errors", () =>
    Effect.gen(function*() {
      const site = yield* start()
      site.answer("/a.mp4", () => ({ status: 404, headers: { "cache-control": "max-age=60" } }))
      yield* site.ask("/a.mp4")
      site.file("/a.mp4")
      assert.strictEqual((yield* site.ask("/a.mp4")).status, 404)
      yield* purge(control(site), { url: "/a.mp4" })
      assert.strictEqual((yield* site.ask("/a.mp4")).status, 200)
    }))

  it.effect("does not disturb running streams, which continue from the origin", () =>
    Effect.gen(function*() {
      const site = yield* start({ cache: { memory: 0 } })
      const api = control(site)
      site.file("/a.mp4")
      // The second half is there.
      yield* site.ask("/a.mp4", { headers: { range: `bytes=${2 * CHUNK_BYTES}-` } })
      yield* chunks(api, 2)
      const gate = makeGate()
      site.file("/a.mp4", { hold: { after: CHUNK_BYTES + 100, until: gate.opened } })
      const viewer = yield* Effect.forkChild(site.ask("/a.mp4"))
      const streams = Effect.map(
        api.get<{ readonly streams: ReadonlyArray<RunningStream> }>("/streams"),
        (told) => told.streams
      )
      yield* Effect.repeat(streams, { until: ([stream]) => stream?.position === CHUNK_BYTES + 100 })
      yield* chunks(api, 3)
      site.file("/a.mp4")
      assert.strictEqual((yield* purge(api, { all: true })).resources, 1)
      assert.strictEqual((yield* state(api)).cache.chunks, 0)
      gate.open()
      const { body, status } = yield* Fiber.join(viewer)
      assert.strictEqual(status, 200)
      assert.isTrue(bytes.equals(body))
    }))
})

describe("pinning", () => {
  /** Room for three files. */
  const maxSize = 3 * FILE_ON_DISK + ROOT_BYTES

  const pin = (api: Api, url: string) => api.call<ResourceSummary>("PUT", "/pin", { url })
  const unpin = (api: Api, url: string) => api.call<ResourceSummary>("DELETE", `/pin?url=${encodeURIComponent(url)}`)

  /** Fetches so many other files. */
  const fill = (site: Site, api: Api, files: number) =>
    Effect.forEach(Array.from({ length: files }, (_, i) => `/other${i}.mp4`), (path) =>
      Effect.gen(function*() {
        site.file(path)
        yield* site.ask(path)
        yield* Effect.repeat(state(api), { until: ({ backlog }) => backlog.bytes === 0 })
      }), { discard: true })

  it.effect("protects a resource from eviction until it is unpinned", () =>
    Effect.gen(function*() {
      const site = yield* start({ cache: { maxSize, memory: 0 } })
      const api = control(site)
      for (const path of ["/a.mp4", "/b.mp4"]) {
        site.file(path)
        yield* site.ask(path)
      }
      yield* chunks(api, 8)
      assert.deepInclude(yield* pin(api, "/a.mp4"), { pinned: true, cachedBytes: SIZE })
      yield* fill(site, api, 4)
      assert.isTrue((yield* api.get<ResourceDetail>("/resource?url=/a.mp4")).pinned)
      assert.isTrue(yield* isCached(site, "/a.mp4"))
      assert.isFalse(yield* isCached(site, "/b.mp4"))
      assert.deepInclude(yield* unpin(api, "/a.mp4"), { pinned: false })
      yield* fill(site, api, 5)
      assert.isFalse(yield* isCached(site, "/a.mp4"))
    }))

  it.effect("covers chunks that are fetched later", () =>
    Effect.gen(function*() {
      const site = yield* start({ cache: { maxSize, memory: 0 } })
      const api = control(site)
      site.file("/a.mp4")
      yield* site.ask("/a.mp4", { headers: { range: "bytes=0-9" } })
      yield* chunks(api, 1)
      yield* pin(api, "/a.mp4")
      yield* site.ask("/a.mp4")
      yield* chunks(api, 4)
      yield* fill(site, api, 4)
      assert.strictEqual((yield* api.get<ResourceDetail>("/resource?url=/a.mp4")).cachedBytes, SIZE)
    }))

  it.effect("survives a restart", () =>
    Effect.gen(function*() {
      const store = yield* ChunkStore
      const origin = yield* makeTestOrigin
      yield* Effect.scoped(Effect.gen(function*() {
        const site = yield* start({ before: { origin, store }, cache: { maxSize, memory: 0 } })
        const api = control(site)
        for (const path of ["/a.mp4", "/b.mp4"]) {
          site.file(path)
          yield* site.ask(path)
        }
        yield* chunks(api, 8)
        yield* pin(api, "/a.mp4")
      }))
      const site = yield* start({ before: { origin, store }, cache: { maxSize, memory: 0 } })
      const api = control(site)
      yield* chunks(api, 8)
      assert.isTrue((yield* api.get<ResourceDetail>("/resource?url=/a.mp4")).pinned)
      assert.isFalse((yield* api.get<ResourceDetail>("/resource?url=/b.mp4")).pinned)
      yield* fill(site, api, 4)
      assert.isTrue(yield* isCached(site, "/a.mp4"))
      assert.isFalse(yield* isCached(site, "/b.mp4"))
      yield* unpin(api, "/a.mp4")
    }).pipe(Effect.provide(ChunkStore.layerMemory)))

  it.effect("is lifted from all variants of a resource at once", () =>
    Effect.gen(function*() {
      const site = yield* start({ cache: { maxSize, memory: 0 } })
      const api = control(site)
      site.file("/a.mp4", { headers: { ...maxAge(60), vary: "x-quality" } })
      // The variant that was used last is pinned.
      for (const [i, quality] of ["low", "high"].entries()) {
        yield* site.ask("/a.mp4", { headers: { "x-quality": quality } })
        yield* chunks(api, 4 * (i + 1))
        yield* pin(api, "/a.mp4")
        yield* TestClock.adjust("2 minutes")
      }
      yield* unpin(api, "/a.mp4")
      yield* fill(site, api, 3)
      assert.isTrue(yield* isCached(site, "/other0.mp4"))
    }))

  it.effect("does not protect an outdated version", () =>
    Effect.gen(function*() {
      const site = yield* start({ cache: { maxSize, memory: 0 } })
      const api = control(site)
      site.file("/a.mp4")
      yield* site.ask("/a.mp4")
      yield* chunks(api, 4)
      yield* pin(api, "/a.mp4")
      yield* TestClock.adjust("61 seconds")
      site.file("/a.mp4", { bytes: otherBytes, etag: "\"v2\"" })
      yield* site.ask("/a.mp4")
      yield* chunks(api, 8)
      yield* fill(site, api, 3)
      const { cachedBytes, pinned } = yield* api.get<ResourceDetail>("/resource?url=/a.mp4")
      assert.deepStrictEqual({ cachedBytes, pinned }, { cachedBytes: SIZE, pinned: true })
      assert.isTrue(otherBytes.equals((yield* site.ask("/a.mp4")).body))
    }))

  it.effect("reports a resource that is not cached", () =>
    Effect.gen(function*() {
      const site = yield* start()
      const api = control(site)
      const json = { "content-type": "application/json" }
      yield* api.refusal(404, "/pin", { method: "PUT", headers: json, body: "{\"url\":\"/a.mp4\"}" })
      yield* api.refusal(404, "/pin?url=/a.mp4", { method: "DELETE" })
      yield* api.refusal(400, "/pin", { method: "PUT", headers: json, body: "{\"url\":\"a.mp4\"}" })
    }))

  it.effect("stops writes when only pinned resources are left, and viewers get every byte", () =>
    Effect.gen(function*() {
      const site = yield* start({ cache: { maxSize: FILE_ON_DISK + CHUNK_ON_DISK + ROOT_BYTES, memory: 0 } })
      const api = control(site)
      site.file("/a.mp4")
      yield* site.ask("/a.mp4")
      yield* chunks(api, 4)
      yield* pin(api, "/a.mp4")
      for (let i = 0; i < 3; i++) {
        site.file(`/b${i}.mp4`)
        assert.isTrue(bytes.equals((yield* site.ask(`/b${i}.mp4`)).body))
        // However often it is tried whether the cache can be used again.
        yield* withTime(TestClock.adjust("2 seconds"))
        const { cache } = yield* state(api)
        assert.deepInclude(cache, { state: "unusable", error: "DiskFull", errno: "MAX_SIZE" })
      }
      assert.isTrue(yield* isCached(site, "/a.mp4"))
      yield* unpin(api, "/a.mp4")
      yield* withTime(Effect.repeat(state(api), { until: ({ cache }) => cache.state === "usable" }))
      yield* site.ask("/b0.mp4")
      yield* Effect.repeat(isCached(site, "/a.mp4"), { until: (isThere) => !isThere })
    }))
})
