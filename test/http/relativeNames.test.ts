import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { parseRoute, type Route } from "../../src/domain/Route.ts"
import { ChunkStore } from "../../src/services/disk/ChunkStore.ts"
import { story } from "../support/cacheStatus.ts"
import { makeTestOrigin } from "../support/TestOrigin.ts"
import { bytes, maxAge, start } from "./Site.ts"

const moved = (location: string, status = 301) => ({ status, headers: { location }, body: "moved" })

const page = { headers: { "content-type": "text/html", "etag": "\"1\"", ...maxAge(60) }, body: "<a href=film>film</a>" }

describe("a redirect within the origin", () => {
  it.effect("to a directory, a playlist or a page is passed on, so that relative names stay right", () =>
    Effect.gen(function*() {
      const site = yield* start()
      site.answer("/sub", () => moved("/sub/"))
      site.answer("/live", () => moved(`${site.origin.url}/live/7/index.m3u8`, 302))
      site.answer("/doc", () => moved("docs/v2", 307))
      site.answer("/docs/v2", () => page)
      for (
        const [path, status, location] of [
          ["/sub", 301, "/sub/"],
          ["/live", 302, "/live/7/index.m3u8"],
          ["/doc", 307, "docs/v2"]
        ] as const
      ) {
        for (const method of ["GET", "HEAD"]) {
          const { body, headers, status: seen } = yield* site.ask(path, { method })
          assert.deepStrictEqual([seen, headers["location"]], [status, location], `${method} ${path}`)
          assert.notInclude(body.toString(), "<a")
          assert.isUndefined(headers["content-encoding"])
        }
      }
      // The first two are known by their names.
      assert.lengthOf(site.seen("/sub/"), 0)
      assert.lengthOf(site.seen("/live/7/index.m3u8"), 0)
    }))

  it.effect("to a film is followed, and the film stored", () =>
    Effect.gen(function*() {
      const site = yield* start()
      site.file("/files/1/film.mp4")
      site.answer("/film", () => moved("/files/1/film.mp4"))
      for (const expected of ["spillway; fwd=uri-miss; stored", "spillway; hit"]) {
        const answer = yield* site.ask("/film")
        assert.isTrue(answer.body.equals(bytes))
        assert.strictEqual(story(answer.headers), expected)
      }
    }))

  it.effect("to a page in the same directory is followed", () =>
    Effect.gen(function*() {
      const site = yield* start()
      site.answer("/b.html", () => page)
      site.answer("/a.html", () => moved("b.html"))
      assert.strictEqual((yield* site.ask("/a.html")).body.toString(), page.body)
    }))

  it.effect("at the end of a chain is passed on with the target of the whole chain", () =>
    Effect.gen(function*() {
      const site = yield* start()
      site.answer("/a", () => moved("/x/b"))
      site.answer("/x/b", () => moved("c/"))
      const { headers, status } = yield* site.ask("/a")
      assert.deepStrictEqual([status, headers["location"]], [301, "/x/c/"])
    }))

  it.effect("below a prefix leads below the prefix, or is followed if viewers cannot reach its target", () =>
    Effect.gen(function*() {
      const origin = yield* makeTestOrigin
      const store = yield* Effect.provide(ChunkStore, ChunkStore.layerMemory)
      const routes = [parseRoute(`/films=${origin.url}/archive`) as Route]
      const site = yield* start({
        before: { origin, store },
        origins: { origins: { routes, urlHosts: [], allowPrivate: false } }
      })
      site.answer("/archive/sub", () => moved("/archive/sub/"))
      assert.strictEqual((yield* site.ask("/films/sub")).headers["location"], "/films/sub/")
      site.answer("/archive/out", () => moved("/elsewhere/"))
      site.answer("/elsewhere/", () => page)
      assert.strictEqual((yield* site.ask("/films/out")).body.toString(), page.body)
    }))
})
