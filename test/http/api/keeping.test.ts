import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { TestClock } from "effect/testing"
import type {
  Purged,
  PurgeState,
  ResourceDetail,
  ResourceSummary,
  RunningStream,
  Status
} from "../../../src/http/admin/api/model.ts"
import { ROOT_BYTES } from "../../../src/services/disk/blocks.ts"
import { ChunkStore } from "../../../src/services/disk/ChunkStore.ts"
import { makeTestOrigin } from "../../support/TestOrigin.ts"
import { bytes, makeGate, maxAge, otherBytes, type Site, SIZE, start, until, withTime } from "../Site.ts"
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

/** Purges, and waits until the files are gone. */
const purge = Effect.fnUntraced(function*(api: Api, what: object) {
  const { id } = yield* api.call<Purged>("POST", "/purge", what)
  const state = Effect.map(
    api.get<{ readonly purges: ReadonlyArray<PurgeState> }>("/purges"),
    ({ purges }) => purges.find((purge) => purge.id === id)
  )
  const { bytes, resources } = (yield* Effect.repeat(state, { until: (found) => found?.state === "done" }))!
  return { resources, bytes }
})

const isCached = (site: Site, path: string) =>
  Effect.map(site.ask(path, { headers: { "cache-control": "only-if-cached" } }), ({ status }) => status === 200)

/** Has `/a.mp4` be used while it is revalidated, and `/b.mp4` be revalidated first, and used when the origin fails. */
const checked = Effect.fnUntraced(function*(site: Site) {
  site.origin.reset()
  const first = yield* site.ask("/a.mp4")
  assert.isTrue(bytes.equals(first.body))
  assert.match(String(first.headers["cache-status"]), /hit/)
  yield* until("the revalidation", () => site.seen("/a.mp4").length === 1)
  yield* site.ask("/b.mp4")
  assert.lengthOf(site.seen("/b.mp4"), 1)
  assert.isTrue(yield* isCached(site, "/b.mp4"))
  yield* purge(control(site), { url: "/b.mp4", soft: true })
  yield* site.origin.close
  const { body, status } = yield* withTime(site.ask("/b.mp4"))
  assert.strictEqual(status, 200)
  assert.isTrue(bytes.equals(body))
})

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

  it.effect("takes effect before anything is removed, and for no response that comes later", () =>
    Effect.gen(function*() {
      const gate = makeGate()
      const memory = yield* ChunkStore
      const readManifest: typeof memory.readManifest = (resource, forViewer) =>
        Effect.andThen(
          forViewer === true ? Effect.void : Effect.promise(() => gate.opened),
          memory.readManifest(resource, forViewer)
        )
      const store = ChunkStore.of({ ...memory, readManifest })
      const site = yield* start({ before: { origin: yield* makeTestOrigin, store } })
      const api = control(site)
      for (const path of ["/films/a.mp4", "/films/b.mp4"]) site.file(path)
      yield* site.ask("/films/a.mp4")
      yield* chunks(api, 4)
      site.file("/films/a.mp4", { bytes: otherBytes })
      const { id } = yield* api.call<Purged>("POST", "/purge", { prefix: "/films/" })
      assert.isFalse(yield* isCached(site, "/films/a.mp4"))
      // The same validator, and yet none of the old bytes, which are in memory and on disk.
      assert.isTrue(otherBytes.equals((yield* site.ask("/films/a.mp4")).body))
      yield* site.ask("/films/b.mp4")
      yield* chunks(api, 12)
      const { purges } = yield* api.get<{ readonly purges: ReadonlyArray<PurgeState> }>("/purges")
      assert.deepStrictEqual(purges, [
        { id, prefix: `${site.origin.url}/films/`, soft: false, state: "running", resources: 0, bytes: 0 }
      ])
      gate.open()
      yield* chunks(api, 8)
      assert.isTrue(yield* isCached(site, "/films/a.mp4"))
      assert.isTrue(yield* isCached(site, "/films/b.mp4"))
      assert.isTrue(otherBytes.equals((yield* site.ask("/films/a.mp4")).body))
    }).pipe(Effect.provide(ChunkStore.layerMemory)))

  it.effect("keeps nothing of a response that is on its way when the purge arrives", () =>
    Effect.gen(function*() {
      const site = yield* start()
      const api = control(site)
      const gate = makeGate()
      site.file("/a.mp4", { hold: { after: CHUNK_BYTES + 100, until: gate.opened } })
      const before = yield* Effect.forkChild(site.ask("/a.mp4"))
      yield* chunks(api, 1)
      yield* purge(api, { url: "/a.mp4" })
      site.file("/a.mp4", { bytes: otherBytes })
      assert.isTrue(otherBytes.equals((yield* site.ask("/a.mp4")).body))
      gate.open()
      assert.isTrue(bytes.equals((yield* Fiber.join(before)).body))
      yield* chunks(api, 4)
      site.origin.reset()
      assert.isTrue(otherBytes.equals((yield* site.ask("/a.mp4")).body))
      assert.lengthOf(site.seen("/a.mp4"), 0)
    }))

  it.effect("doesn't let a request share the one of before", () =>
    Effect.gen(function*() {
      const site = yield* start()
      const gate = makeGate()
      site.answer("/a.txt", () => gate.opened.then(() => ({ headers: maxAge(60), body: "old" })))
      const before = yield* Effect.forkChild(site.ask("/a.txt"))
      yield* until("the request", () => site.seen("/a.txt").length === 1)
      yield* purge(control(site), { all: true })
      site.answer("/a.txt", () => ({ headers: maxAge(60), body: "new" }))
      assert.strictEqual((yield* site.ask("/a.txt")).body.toString(), "new")
      gate.open()
      assert.strictEqual((yield* Fiber.join(before)).body.toString(), "old")
      assert.strictEqual((yield* site.ask("/a.txt")).body.toString(), "new")
      assert.lengthOf(site.seen("/a.txt"), 2)
    }))

  it.effect("removes what the origin gave a tag, in either field, which viewers don't see", () =>
    Effect.gen(function*() {
      const site = yield* start()
      const api = control(site)
      const tags: ReadonlyArray<[string, Record<string, string>]> = [
        ["/a.mp4", { "surrogate-key": "film show-1" }],
        ["/b.mp4", { "cache-tag": "show-1, music" }],
        ["/c.mp4", { "cache-tag": "show-10" }]
      ]
      for (const [path, fields] of tags) {
        site.file(path, { headers: { ...maxAge(60), ...fields } })
        for (let i = 0; i < 2; i++) {
          const { headers } = yield* site.ask(path)
          for (const name of Object.keys(fields)) assert.notProperty(headers, name)
        }
      }
      yield* chunks(api, 12)
      assert.strictEqual((yield* purge(api, { tag: "show-1" })).resources, 2)
      for (const [path, expected] of [["/a.mp4", false], ["/b.mp4", false], ["/c.mp4", true]] as const) {
        assert.strictEqual(yield* isCached(site, path), expected, path)
      }
      site.answer("/private", () => ({ headers: { "cache-control": "private", "surrogate-key": "film" }, body: "x" }))
      assert.notProperty((yield* site.ask("/private")).headers, "surrogate-key")
    }))

  it.effect.each(["memory", "disk"] as const)(
    "marks as stale if it is soft: used while the origin is asked, or fails, from %s",
    (where) =>
      Effect.gen(function*() {
        const origin = yield* makeTestOrigin
        const before = { origin, store: yield* ChunkStore }
        const fields = maxAge(3600, "stale-while-revalidate=60")
        yield* Effect.scoped(Effect.gen(function*() {
          const site = yield* start({ before })
          const api = control(site)
          site.file("/a.mp4", { headers: fields })
          site.file("/b.mp4", { headers: maxAge(3600) })
          for (const path of ["/a.mp4", "/b.mp4"]) yield* site.ask(path)
          yield* chunks(api, 8)
          yield* TestClock.adjust("10 seconds")
          assert.strictEqual((yield* purge(api, { prefix: "/", soft: true })).resources, 0)
          if (where === "memory") yield* checked(site)
        }))
        if (where === "memory") return
        const site = yield* start({ before })
        yield* TestClock.adjust("20 seconds")
        yield* checked(site)
      }).pipe(Effect.provide(ChunkStore.layerMemory))
  )

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
