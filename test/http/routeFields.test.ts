import { assert, describe, it } from "@effect/vitest"
import { Effect, Redacted } from "effect"
import { story } from "../support/cacheStatus.ts"
import { maxAge, start } from "./Site.ts"

const SECRET = "secret-4f9a"

describe("fields that a route changes", () => {
  it.effect("of requests: the origin gets what the route says, and viewers who differ in that share an entry", () =>
    Effect.gen(function*() {
      const site = yield* start({
        policy: {
          requestFields: {
            set: { "x-api-key": Redacted.make(SECRET), "accept-language": Redacted.make("de") },
            remove: ["authorization", "cookie"]
          }
        }
      })
      site.file("/a", { headers: { ...maxAge(60), vary: "accept-language" } })
      const viewers = [
        { authorization: "Bearer a", cookie: "session=a", "accept-language": "fr" },
        { authorization: "Bearer b", "x-api-key": "guess", "accept-language": "it" },
        {}
      ]
      const stories = []
      for (const headers of viewers) stories.push(story((yield* site.ask("/a", { headers })).headers))
      assert.deepStrictEqual(stories, ["spillway; fwd=uri-miss; stored", "spillway; hit", "spillway; hit"])
      yield* site.ask("/a", { method: "POST", headers: viewers[0]!, body: "x" })
      assert.deepStrictEqual(
        site.seen("/a").map(({ headers, method }) => [
          method,
          headers["x-api-key"],
          headers["accept-language"],
          headers["authorization"],
          headers["cookie"]
        ]),
        ["GET", "POST"].map((method) => [method, SECRET, "de", undefined, undefined])
      )
    }))

  it.effect("of responses: each viewer gets what the route says, of errors, too", () =>
    Effect.gen(function*() {
      const site = yield* start({
        policy: {
          responseFields: {
            set: { "access-control-allow-origin": Redacted.make("*"), "cache-control": Redacted.make("no-store") },
            remove: ["x-powered-by", "server"]
          }
        }
      })
      site.file("/a", {
        etag: "\"1\"",
        headers: { ...maxAge(60), "x-powered-by": "PHP", "access-control-allow-origin": "http://a.example" }
      })
      site.answer("/error", () => ({ status: 500, headers: { "x-powered-by": "PHP" } }))
      const answers = [
        yield* site.ask("/a"),
        yield* site.ask("/a"),
        yield* site.ask("/a", { headers: { range: "bytes=0-9" } }),
        yield* site.ask("/a", { headers: { "if-none-match": "\"1\"" } }),
        yield* site.ask("/a", { method: "HEAD" }),
        yield* site.ask("/error"),
        yield* site.ask("/../a")
      ]
      assert.deepStrictEqual(answers.map(({ status }) => status), [200, 200, 206, 304, 200, 500, 400])
      assert.strictEqual(story(answers[1]!.headers), "spillway; hit")
      for (const { headers } of answers) {
        assert.strictEqual(headers["access-control-allow-origin"], "*")
        assert.strictEqual(headers["cache-control"], "no-store")
        assert.isUndefined(headers["x-powered-by"])
        assert.isUndefined(headers["server"])
      }
      assert.isUndefined((yield* site.ask("/_spillway/api/status")).headers["access-control-allow-origin"])
    }))

  it.effect("fields of the key part viewers as if the origin named them in Vary, and are told to viewers", () =>
    Effect.gen(function*() {
      const site = yield* start({ policy: { keyFields: ["accept-language"] } })
      site.file("/a")
      const stories = []
      for (const language of ["de", "fr", "de", "fr"]) {
        const { headers } = yield* site.ask("/a", { headers: { "accept-language": language } })
        assert.include(headers["vary"], "accept-language")
        stories.push(story(headers))
      }
      assert.deepStrictEqual(stories.slice(2), ["spillway; hit", "spillway; hit"])
      assert.deepStrictEqual(site.seen("/a").map(({ headers }) => headers["accept-language"]), ["de", "fr"])
    }))
})
