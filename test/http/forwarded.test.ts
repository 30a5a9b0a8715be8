import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { story } from "../support/cacheStatus.ts"
import { maxAge, type Site, start } from "./Site.ts"
import type { TestProxyOptions } from "./TestProxy.ts"

const NAMES = ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip"] as const

/** What the last request for `path` told the origin. */
const toldOf = ({ seen }: Site, path: string) => {
  const { headers } = seen(path).at(-1)!
  return Object.fromEntries(NAMES.flatMap((name) => headers[name] === undefined ? [] : [[name, headers[name]]]))
}

const startForwarding = (options: TestProxyOptions = {}) => start({ policy: { forwarded: true }, ...options })

/** What a viewer may make up. */
const madeUp = { "x-forwarded-for": "1.1.1.1", "x-real-ip": "1.1.1.1", forwarded: "for=1.1.1.1", host: "a.example" }

describe("X-Forwarded-… and Forwarded on a route that sends them", () => {
  it.effect("are no part of the key: viewers share an entry, and a host that one could make up is not sent", () =>
    Effect.gen(function*() {
      const site = yield* startForwarding()
      site.file("/a")
      yield* site.ask("/a", { headers: madeUp })
      assert.deepStrictEqual(toldOf(site, "/a"), {
        forwarded: "for=127.0.0.1;proto=http",
        "x-forwarded-for": "127.0.0.1",
        "x-forwarded-proto": "http"
      })
      const second = yield* site.ask("/a", { headers: { ...madeUp, "x-forwarded-for": "2.2.2.2", host: "b.example" } })
      assert.strictEqual(story(second.headers), "spillway; hit")
      assert.strictEqual(site.seen("/a").length, 1)
    }))

  it.effect.each(["POST", "GET"])(
    "have the host if nobody else gets the response: %s",
    (method) =>
      Effect.gen(function*() {
        const site = yield* startForwarding()
        site.answer("/a", () => ({ headers: { "cache-control": "no-store" }, body: "a" }))
        // It is remembered that the response is not for others.
        for (let i = 0; i < 2; i++) yield* site.ask("/a", { method, headers: madeUp })
        assert.deepStrictEqual(toldOf(site, "/a"), {
          forwarded: "for=127.0.0.1;host=\"a.example\";proto=http",
          "x-forwarded-for": "127.0.0.1",
          "x-forwarded-host": "a.example",
          "x-forwarded-proto": "http"
        })
      })
  )

  it.effect.each(["127.0.0.1", "127.0.0.0/8"])(
    "follow those of a trusted proxy: %s",
    (network) =>
      Effect.gen(function*() {
        const site = yield* startForwarding({ limits: { trustedProxies: ["10.0.0.0/8", "::1", network] } })
        site.file("/a")
        yield* site.ask("/a", {
          headers: { host: "media.example", "x-forwarded-for": "203.0.113.7", "x-forwarded-proto": "https" }
        })
        assert.deepStrictEqual(toldOf(site, "/a"), {
          forwarded: "for=203.0.113.7, for=127.0.0.1;host=\"media.example\";proto=https",
          "x-forwarded-for": "203.0.113.7, 127.0.0.1",
          "x-forwarded-host": "media.example",
          "x-forwarded-proto": "https"
        })
      })
  )

  it.effect("make a response that varies on them one for its viewer alone", () =>
    Effect.gen(function*() {
      const { answer, ask } = yield* startForwarding()
      answer("/a", () => ({ headers: { ...maxAge(60), etag: "\"1\"", vary: "X-Forwarded-For" }, body: "a" }))
      for (let i = 0; i < 2; i++) {
        assert.strictEqual(story((yield* ask("/a")).headers), "spillway; fwd=bypass; detail=PRIVATE")
      }
    }))
})

describe("X-Forwarded-… and Forwarded on other routes", () => {
  it.effect("are not sent for what others get too, and passed on as they are otherwise", () =>
    Effect.gen(function*() {
      const site = yield* start()
      site.file("/a")
      yield* site.ask("/a", { headers: madeUp })
      assert.deepStrictEqual(toldOf(site, "/a"), {})
      yield* site.ask("/a", { method: "POST", headers: madeUp })
      assert.deepStrictEqual(toldOf(site, "/a"), {
        forwarded: "for=1.1.1.1",
        "x-forwarded-for": "1.1.1.1",
        "x-real-ip": "1.1.1.1"
      })
    }))
})
