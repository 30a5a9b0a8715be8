import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import type { Status, WarmJob } from "../../../src/http/admin/api/model.ts"
import { ROOT_BYTES } from "../../../src/services/disk/blocks.ts"
import { MAX_RUNNING } from "../../../src/services/operate/Warmer.ts"
import { bytes, makeGate, otherBytes, type Site, SIZE, start, until, withTime } from "../Site.ts"
import { CHUNK_BYTES } from "../TestProxy.ts"
import { control } from "./Control.ts"

type Api = ReturnType<typeof control>

const warm = (api: Api, url: string) => api.call<WarmJob>("POST", "/warm", { url })

const job = (api: Api, id: string) => api.get<WarmJob>(`/warm/${id}`)

/** Waits until a job is in this state. */
const reaches = (api: Api, id: string, state: WarmJob["state"]): Effect.Effect<WarmJob, Error> =>
  withTime(Effect.gen(function*() {
    let last = yield* job(api, id)
    for (let tries = 0; tries < 1000 && last.state !== state; tries++) last = yield* job(api, id)
    assert.strictEqual(last.state, state, last.error)
    return last
  }))

const isCached = (site: Site, path: string) =>
  Effect.map(site.ask(path, { headers: { "cache-control": "only-if-cached" } }), ({ status }) => status === 200)

describe("warming", () => {
  it.effect("fetches a whole file once", () =>
    Effect.gen(function*() {
      const site = yield* start()
      const api = control(site)
      site.file("/a.mp4")
      const { id, ...begun } = yield* warm(api, "/a.mp4")
      assert.deepInclude(begun, { url: `${site.origin.url}/a.mp4`, state: "running", bytes: 0, cachedBytes: 0 })
      const done = yield* reaches(api, id, "done")
      assert.deepInclude(done, { size: SIZE, bytes: SIZE, cachedBytes: 0 })
      assert.strictEqual((yield* api.get<Status>("/status")).cache.chunks, 4)
      assert.isTrue(yield* isCached(site, "/a.mp4"))
      assert.isTrue(bytes.equals((yield* site.ask("/a.mp4")).body))
      const sent = site.origin.bodyBytes()
      assert.strictEqual(sent, SIZE)

      const again = yield* warm(api, `${site.origin.url}/a.mp4`)
      assert.notStrictEqual(again.id, id)
      assert.deepInclude(yield* reaches(api, again.id, "done"), { bytes: SIZE, cachedBytes: SIZE, bytesPerSecond: 0 })
      assert.strictEqual(site.origin.bodyBytes(), sent)
      const { jobs } = yield* api.get<{ readonly jobs: ReadonlyArray<WarmJob> }>("/warm")
      assert.deepStrictEqual(jobs.map((each) => each.id), [id, again.id])
      // No viewer got these bytes.
      const { totals } = yield* api.get<Status>("/status")
      assert.deepInclude(totals.bytes, { origin: 0, passthrough: 0 })
    }))

  it.effect("fetches only what is not cached yet", () =>
    Effect.gen(function*() {
      const site = yield* start()
      const api = control(site)
      site.file("/a.mp4")
      for (const at of [0, 2]) {
        yield* site.ask("/a.mp4", { headers: { range: `bytes=${at * CHUNK_BYTES}-${at * CHUNK_BYTES}` } })
      }
      yield* Effect.repeat(api.get<Status>("/status"), { until: ({ cache }) => cache.chunks === 2 })
      site.origin.reset()
      const { id } = yield* warm(api, "/a.mp4")
      assert.deepInclude(yield* reaches(api, id, "done"), { bytes: SIZE, cachedBytes: 2 * CHUNK_BYTES })
      assert.deepStrictEqual(site.seen("/a.mp4").map(({ headers }) => headers["range"]), [
        `bytes=${CHUNK_BYTES}-${2 * CHUNK_BYTES - 1}`,
        `bytes=${3 * CHUNK_BYTES}-${SIZE - 1}`
      ])
    }))

  it.effect("can be stopped and resumed, and keeps what it has fetched", () =>
    Effect.gen(function*() {
      const site = yield* start()
      const api = control(site)
      const gate = makeGate()
      site.file("/a.mp4", { hold: { after: 2 * CHUNK_BYTES + 10, until: gate.opened } })
      const { id } = yield* warm(api, "/a.mp4")
      // The first request is for the first chunk only: the second one is held.
      site.file("/a.mp4", { hold: { after: CHUNK_BYTES + 10, until: gate.opened } })
      yield* withTime(Effect.repeat(api.get<Status>("/status"), { until: ({ cache }) => cache.chunks === 2 }))
      const running = yield* job(api, id)
      assert.strictEqual(running.state, "running")
      assert.isAtLeast(running.bytes, 2 * CHUNK_BYTES)
      // The same file has one job.
      assert.strictEqual((yield* warm(api, "/a.mp4")).id, id)
      const cancelled = yield* api.call<WarmJob>("DELETE", `/warm/${id}`)
      assert.strictEqual(cancelled.state, "cancelled")
      yield* until("the request to end", () => site.origin.requests.every(({ aborted, sent }) => aborted || sent > 0))
      assert.strictEqual((yield* api.call<WarmJob>("DELETE", `/warm/${id}`)).state, "cancelled")
      gate.open()
      site.file("/a.mp4")
      const next = yield* warm(api, "/a.mp4")
      assert.deepInclude(yield* reaches(api, next.id, "done"), { bytes: SIZE, cachedBytes: 2 * CHUNK_BYTES })
      assert.isTrue(bytes.equals((yield* site.ask("/a.mp4")).body))
    }))

  it.effect("runs a few jobs at a time, in turn", () =>
    Effect.gen(function*() {
      const site = yield* start()
      const api = control(site)
      const gate = makeGate()
      const ids: Array<string> = []
      for (let i = 0; i < MAX_RUNNING + 2; i++) {
        site.file(`/${i}.mp4`, { hold: { after: 10, until: gate.opened } })
        ids.push((yield* warm(api, `/${i}.mp4`)).id)
      }
      const states = Effect.map(
        api.get<{ readonly jobs: ReadonlyArray<WarmJob> }>("/warm"),
        ({ jobs }) => jobs.map(({ state }) => state)
      )
      assert.deepStrictEqual(yield* states, ["running", "running", "waiting", "waiting"])
      yield* api.call("DELETE", `/warm/${ids[2]}`)
      gate.open()
      for (const id of [ids[0]!, ids[1]!, ids[3]!]) yield* reaches(api, id, "done")
      assert.deepStrictEqual(yield* states, ["done", "done", "cancelled", "done"])
    }))

  it.effect("lets viewers go first", () =>
    Effect.gen(function*() {
      const site = yield* start({ origins: { maxRequests: 1 } })
      const api = control(site)
      const gate = makeGate()
      site.file("/held.mp4", { hold: { after: 10, until: gate.opened } })
      site.file("/warmed.mp4")
      site.file("/seen.mp4")
      const held = yield* Effect.forkChild(site.ask("/held.mp4"))
      yield* until("the first request", () => site.origin.requests.length === 1)
      const { id } = yield* warm(api, "/warmed.mp4")
      const viewer = yield* Effect.forkChild(site.ask("/seen.mp4"))
      yield* until("both to wait", () => site.origin.requests.length === 1)
      yield* Effect.repeat(api.get<Status>("/status"), { times: 20 })
      gate.open()
      yield* Fiber.join(held)
      yield* Fiber.join(viewer)
      yield* reaches(api, id, "done")
      assert.deepStrictEqual([...new Set(site.origin.requests.map(({ url }) => url))], [
        "/held.mp4",
        "/seen.mp4",
        "/warmed.mp4"
      ])
    }))

  it.effect("starts again when the file changes", () =>
    Effect.gen(function*() {
      const site = yield* start()
      const api = control(site)
      site.file("/a.mp4", { headers: { "cache-control": "no-cache" } })
      yield* site.ask("/a.mp4", { headers: { range: "bytes=0-9" } })
      yield* Effect.repeat(api.get<Status>("/status"), { until: ({ cache }) => cache.chunks === 1 })
      site.file("/a.mp4", { bytes: otherBytes, etag: "\"v2\"" })
      const { id } = yield* warm(api, "/a.mp4")
      assert.deepInclude(yield* reaches(api, id, "done"), { bytes: SIZE, cachedBytes: 0 })
      assert.isTrue(otherBytes.equals((yield* site.ask("/a.mp4")).body))
    }))

  it.effect("says why it failed", () =>
    Effect.gen(function*() {
      const site = yield* start({ cache: { maxSize: 4 * (CHUNK_BYTES + 4096) + 12_288 + ROOT_BYTES } })
      const api = control(site)
      const fails = Effect.fnUntraced(function*(path: string) {
        const { id } = yield* warm(api, path)
        return (yield* reaches(api, id, "failed")).error ?? ""
      })
      site.file("/private.mp4", { headers: { "cache-control": "private" } })
      assert.match(yield* fails("/private.mp4"), /PRIVATE/)
      assert.match(yield* fails("/none.mp4"), /404/)
      site.file("/large.mp4", { bytes: Buffer.alloc(5 * CHUNK_BYTES) })
      assert.match(yield* fails("/large.mp4"), /larger than the cache/)
      yield* site.origin.close
      assert.match(yield* fails("/a.mp4"), /no answer from the origin/)
    }))

  it.effect("is refused when it cannot help", () =>
    Effect.gen(function*() {
      const json = { "content-type": "application/json" }
      const post = (site: Site, status: number, url: string) =>
        control(site).refusal(status, "/warm", { method: "POST", headers: json, body: JSON.stringify({ url }) })
      const site = yield* start()
      yield* post(site, 400, "a.mp4")
      yield* post(site, 409, "http://other.test/a.mp4")
      yield* post(yield* start({ origins: { offline: true } }), 409, "/a.mp4")
    }))
})
