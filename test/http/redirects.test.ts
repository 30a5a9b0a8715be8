import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { TestClock } from "effect/testing"
import { story } from "../support/cacheStatus.ts"
import { bytes, maxAge, otherBytes, type Reply, start } from "./Site.ts"

const forever = { "cache-control": "public, max-age=31536000, immutable" }

const to = (location: string, headers: Record<string, string> = {}, status = 302): Reply => ({
  status,
  headers: { location, ...headers }
})

describe("a redirect that is followed", () => {
  const unkept: ReadonlyArray<readonly [string, Record<string, string>, number]> = [
    ["no-store", { "cache-control": "no-store" }, 302],
    ["private", { "cache-control": "private, max-age=60" }, 301],
    ["no lifetime", {}, 307],
    ["no-cache", { "cache-control": "no-cache" }, 308],
    ["Expires in the past", { expires: "0" }, 303]
  ]

  it.effect.each(unkept)(
    "leads to the new file as soon as the origin redirects there: %s",
    ([, headers, status]) =>
      Effect.gen(function*() {
        const { answer, ask, file } = yield* start()
        file("/v1", { headers: forever })
        file("/v2", { headers: forever, bytes: otherBytes, etag: "\"v2\"" })
        answer("/latest", () => to("/v1", headers, status))
        assert.isTrue((yield* ask("/latest")).body.equals(bytes))
        answer("/latest", () => to("/v2", headers, status))
        for (const options of [{}, { headers: { range: "bytes=0-9" } }]) {
          const { body } = yield* ask("/latest", options)
          assert.isTrue(body.equals(otherBytes.subarray(0, body.length)))
        }
      })
  )

  it.effect("limits the lifetime of the file, also for the viewer", () =>
    Effect.gen(function*() {
      const { answer, ask, file, seen } = yield* start()
      file("/v1", { headers: forever })
      answer("/latest", () => to("/v1", maxAge(60)))
      const { headers } = yield* ask("/latest")
      assert.strictEqual(headers["cache-control"], "max-age=60")
      yield* TestClock.adjust("59 seconds")
      assert.strictEqual(story((yield* ask("/latest")).headers), "spillway; hit")
      yield* TestClock.adjust("2 seconds")
      assert.strictEqual(story((yield* ask("/latest")).headers), "spillway; fwd=stale; fwd-status=304")
      assert.strictEqual(story((yield* ask("/latest")).headers), "spillway; hit")
      assert.strictEqual(seen("/latest").length, 2)
    }))

  it.effect("with private ends the use of the stored file, even after a 304", () =>
    Effect.gen(function*() {
      const { answer, ask, file } = yield* start()
      file("/v1", { headers: { "cdn-cache-control": "max-age=60" } })
      answer("/latest", () => to("/v1", maxAge(60)))
      yield* ask("/latest")
      yield* TestClock.adjust("61 seconds")
      answer("/latest", () => to("/v1", { "cache-control": "private" }))
      file("/v1", { headers: {} })
      for (let i = 0; i < 2; i++) {
        assert.strictEqual(story((yield* ask("/latest")).headers), "spillway; fwd=bypass; detail=PRIVATE")
      }
    }))

  it.effect("limits the lifetime of an error that it leads to", () =>
    Effect.gen(function*() {
      const { answer, ask, file } = yield* start()
      answer("/gone", () => ({ status: 410, headers: maxAge(3600) }))
      answer("/latest", () => to("/gone", { "cache-control": "no-store" }))
      answer("/soon", () => to("/gone", maxAge(10)))
      for (const path of ["/latest", "/soon"]) assert.strictEqual((yield* ask(path)).status, 410)
      file("/latest")
      file("/soon")
      assert.strictEqual((yield* ask("/latest")).status, 200)
      assert.strictEqual((yield* ask("/soon")).status, 410)
      yield* TestClock.adjust("11 seconds")
      assert.strictEqual((yield* ask("/soon")).status, 200)
    }))

  it.effect("is not followed for others if only credentials lead there", () =>
    Effect.gen(function*() {
      const { answer, ask, file } = yield* start()
      file("/signed", { headers: forever })
      answer("/members", ({ headers: { authorization } }) =>
        authorization === undefined ? { status: 401 } : to("/signed", maxAge(60)))
      answer("/open", () =>
        to("/signed", { "cache-control": "public, max-age=60" }))
      const member = { headers: { authorization: "Basic YTpi" } }
      for (let i = 0; i < 2; i++) {
        assert.strictEqual(
          story((yield* ask("/members", member)).headers),
          "spillway; fwd=bypass; detail=AUTHORIZATION"
        )
        assert.strictEqual((yield* ask("/members")).status, 401)
      }
      yield* ask("/open", member)
      assert.strictEqual(story((yield* ask("/open")).headers), "spillway; hit")
    }))

  it.effect("leads each variant to its own file", () =>
    Effect.gen(function*() {
      const { answer, ask, file } = yield* start()
      file("/de", { headers: forever })
      file("/fr", { headers: forever, bytes: otherBytes, etag: "\"fr\"" })
      answer("/film", ({ headers }) => to(`/${headers["accept-language"]}`, { ...maxAge(60), vary: "Accept-Language" }))
      for (let i = 0; i < 2; i++) {
        for (const [language, expected] of [["de", bytes], ["fr", otherBytes]] as const) {
          const { body } = yield* ask("/film", { headers: { "accept-language": language } })
          assert.isTrue(body.equals(expected))
        }
      }
    }))

  it.effect("is passed on with its target relative to the requested URL", () =>
    Effect.gen(function*() {
      const { answer, ask } = yield* start()
      answer("/a", () => to("/deep/er/b"))
      answer("/deep/er/b", () => to("login?next=b", { "set-cookie": "id=1" }))
      const { headers, status } = yield* ask("/a")
      assert.strictEqual(status, 302)
      assert.strictEqual(headers.location, "/deep/er/login?next=b")
      assert.deepStrictEqual(headers["set-cookie"], ["id=1"])
    }))
})

describe("a redirect on a route that passes redirects on", () => {
  it.effect("is the viewer's to follow, and is stored as other responses are", () =>
    Effect.gen(function*() {
      const { answer, ask, file, origin, seen } = yield* start({ policy: { redirects: "pass" } })
      file("/v1", { headers: forever })
      answer("/latest", () => to("/v1"))
      answer("/moved", () => to(`${origin.url}/v1?a=b`, maxAge(60), 301))
      for (const method of ["GET", "HEAD", "GET"]) {
        const { headers, status } = yield* ask("/latest", { method })
        assert.deepStrictEqual([status, headers["location"]], [302, "/v1"])
      }
      for (let i = 0; i < 2; i++) {
        const { headers, status } = yield* ask("/moved")
        assert.deepStrictEqual([status, headers["location"]], [301, "/v1?a=b"])
      }
      assert.strictEqual(seen("/moved").length, 1)
      assert.strictEqual(seen("/v1").length, 0)
    }))
})
