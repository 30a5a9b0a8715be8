import { assert, describe, it } from "@effect/vitest"
import { Effect, Schedule } from "effect"
import { TestClock } from "effect/testing"
import { make as makeResource } from "../../src/domain/Resource.ts"
import { chunksIn, ChunkStore } from "../../src/services/disk/ChunkStore.ts"
import { story } from "../support/cacheStatus.ts"
import { makeTestOrigin } from "../support/TestOrigin.ts"
import { bytes, maxAge, type Site, SIZE, start, withTime } from "./Site.ts"
import { CHUNK_BYTES, makeTestProxy } from "./TestProxy.ts"

const HIT = "spillway; hit"

const CHUNKS = Math.ceil(SIZE / CHUNK_BYTES)

/** Has the origin serve `path`, and answer other methods with `status`. */
const serve = (site: Site, path: string, status = 204): void => {
  site.answer(path, ({ headers, method }) => {
    const fields = { ...maxAge(3600), "etag": "\"v1\"" }
    if (method !== "GET" && method !== "HEAD") return { status }
    return headers["if-none-match"] === "\"v1\"" ? { status: 304, headers: fields } : { headers: fields, body: bytes }
  })
}

const files = ["/col", "/col/", "/col/a", "/col/a?x=y", "/col/deep/er/b", "/colx", "/other/a", "/"]

/** A site whose files have been viewed. */
const startViewed = Effect.fnUntraced(function*(before?: Parameters<typeof start>[0], status?: number) {
  const site = yield* start(before)
  for (const path of files) {
    serve(site, path, status)
    yield* site.ask(path)
  }
  for (const path of files) assert.strictEqual(story((yield* site.ask(path)).headers), HIT)
  return site
})

/** Which files the origin is asked for. */
const asked = Effect.fnUntraced(function*(site: Site) {
  const found: Array<string> = []
  for (const path of files) {
    const told = story((yield* site.ask(path)).headers)
    if (told !== HIT) found.push(path)
  }
  return found
})

const below = ["/col", "/col/", "/col/a", "/col/a?x=y", "/col/deep/er/b"]

describe("a stored member of a collection (RFC 4918)", () => {
  it.effect.each([["DELETE", "/col"], ["DELETE", "/col/"], ["MOVE", "/col/"], ["MKCOL", "/col"]])(
    "is revalidated after %s of %s",
    ([method, path]) =>
      Effect.gen(function*() {
        const site = yield* startViewed()
        yield* site.ask(path!, { method: method! })
        assert.strictEqual(story((yield* site.ask("/col/deep/er/b")).headers), "spillway; fwd=stale; fwd-status=304")
        assert.deepStrictEqual(yield* asked(site), below.slice(0, -1))
        assert.deepStrictEqual(yield* asked(site), [])
      })
  )

  it.effect.each(["MOVE", "COPY"])(
    "is revalidated when it is the Destination of %s",
    (method) =>
      Effect.gen(function*() {
        const site = yield* startViewed()
        const destination = `http://${new URL(site.url).host}/col`
        yield* site.ask("/other/a", { method, headers: { destination } })
        assert.deepStrictEqual(yield* asked(site), [...below, "/other/a"])
      })
  )

  it.effect("is revalidated after a 207, and stays valid after a failure", () =>
    Effect.gen(function*() {
      for (const [status, expected] of [[207, below], [403, []], [423, []]] as const) {
        const site = yield* startViewed(undefined, status)
        yield* site.ask("/col/", { method: "DELETE" })
        assert.deepStrictEqual(yield* asked(site), expected)
      }
    }))

  it.effect("stays valid after other methods and after DELETE with a query", () =>
    Effect.gen(function*() {
      const site = yield* startViewed()
      serve(site, "/col/?x")
      for (const method of ["PROPPATCH", "LOCK", "POST", "PUT"]) yield* site.ask("/col/", { method })
      yield* site.ask("/col/?x", { method: "DELETE" })
      assert.deepStrictEqual(yield* asked(site), ["/col/"])
    }))

  it.effect("is requested again when its absence was stored", () =>
    Effect.gen(function*() {
      const site = yield* start()
      site.answer("/new/a", () => ({ status: 404, headers: maxAge(3600) }))
      site.answer("/old/", () => ({ status: 201 }))
      yield* site.ask("/new/a")
      assert.strictEqual(story((yield* site.ask("/new/a")).headers), HIT)
      yield* site.ask("/old/", { method: "MOVE", headers: { destination: "/new/" } })
      serve(site, "/new/a")
      assert.strictEqual((yield* site.ask("/new/a")).status, 200)
    }))

  it.effect("is not used stale afterwards if the origin fails", () =>
    Effect.gen(function*() {
      const site = yield* startViewed()
      yield* site.ask("/col/", { method: "DELETE" })
      yield* site.origin.close
      assert.strictEqual((yield* withTime(site.ask("/col/a"))).status, 502)
      assert.strictEqual((yield* site.ask("/other/a")).status, 200)
    }))

  it.effect("is revalidated after a restart", () =>
    Effect.gen(function*() {
      const origin = yield* makeTestOrigin
      const store = yield* Effect.provide(ChunkStore, ChunkStore.layerMemory)
      const before = { origin, store }
      yield* Effect.scoped(Effect.gen(function*() {
        const site = yield* startViewed({ before })
        const resources = files.map((path) => makeResource(origin.url + path).id)
        yield* withTime(Effect.forEach(resources, (id) =>
          Effect.repeat(Effect.map(store.contents(id), chunksIn), {
            until: (keys) => keys.length === CHUNKS,
            schedule: Schedule.spaced("10 millis")
          })))
        yield* site.ask("/col/", { method: "DELETE" })
        assert.strictEqual((yield* store.readBans)._tag, "Some")
      }))
      // The first process has revoked them, the second one asks, and has the disk know that they are the same.
      for (const expected of [below, []]) {
        yield* Effect.scoped(Effect.gen(function*() {
          yield* TestClock.adjust("1 minute")
          const again = yield* makeTestProxy({ before })
          const known = origin.requests.length
          assert.deepStrictEqual(
            yield* asked({ ...again, at: () => "", file: () => {}, answer: () => {}, seen: () => [] }),
            expected
          )
          assert.strictEqual(origin.requests.length - known, expected.length)
          yield* withTime(Effect.sleep("1 second"))
        }))
      }
    }))
})
