import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Logger, References } from "effect"
import { TestClock } from "effect/testing"
import type { Why } from "../../src/http/admin/api/model.ts"
import { story } from "../support/cacheStatus.ts"
import { control } from "./api/Control.ts"
import { maxAge, start, withTime } from "./Site.ts"

/** A logger of all that is said, each with what it is annotated with. */
const recorded = () => {
  const lines: Array<Record<string, unknown>> = []
  const logger = Logger.map(Logger.formatStructured, ({ annotations, message }) => {
    lines.push({ message: String(message), ...annotations })
  })
  const layer = Layer.merge(Logger.layer([logger]), Layer.succeed(References.MinimumLogLevel, "All"))
  return { lines, layer }
}

describe("an origin that fails", () => {
  it.effect("is reported with its cause and advice, in the log and by why", () => {
    const { layer, lines } = recorded()
    return Effect.gen(function*() {
      const site = yield* start()
      const api = control(site)
      yield* site.origin.close
      const { body, status } = yield* withTime(site.ask("/a?hidden"))
      assert.strictEqual(status, 502)
      assert.notInclude(body.toString(), site.origin.url)
      const line = lines.find(({ message }) => message === "Origin failed")
      const port = new URL(site.origin.url).port
      const reason =
        `${site.origin.url}/a?…: no answer from the origin: connection refused (ECONNREFUSED, 127.0.0.1:${port})`
      const advice = "Start the origin, or correct host and port of its URL"
      assert.deepInclude(line, { url: `${site.origin.url}/a?…`, error: "OriginUnreachable", reason, advice })
      const why = yield* api.get<Why>(`/why?url=${encodeURIComponent(`${site.origin.url}/a?hidden`)}`)
      assert.deepStrictEqual(why.reasons, [
        { code: "ORIGIN_FAILED", message: `The request to the origin failed: ${reason}` }
      ])
      assert.deepStrictEqual(why.advice, [advice])
      assert.notInclude(JSON.stringify(lines), "hidden")
    }).pipe(Effect.provide(layer))
  })

  it.effect("is logged once a minute for each cause, for all requests", () => {
    const { layer, lines } = recorded()
    return Effect.gen(function*() {
      const site = yield* start()
      const failed = () =>
        lines.filter(({ message }) => message === "Origin failed").map(({ reason }) => String(reason))
      yield* site.origin.close
      for (let i = 0; i < 5; i++) yield* withTime(site.ask(`/${i}`, { method: "POST" }))
      assert.lengthOf(failed(), 1)
      yield* site.origin.listen
      site.origin.handlers.set("/strange", (_, response) => void response.socket!.end("SSH-2.0-OpenSSH_9.2\r\n"))
      for (let i = 0; i < 3; i++) yield* site.ask("/strange", { method: "POST" })
      assert.lengthOf(failed(), 2)
      assert.include(failed()[1], "its answer is not HTTP (NOT_HTTP)")
      yield* TestClock.adjust("1 minute")
      yield* site.ask("/strange", { method: "POST" })
      assert.lengthOf(failed(), 3)
    }).pipe(Effect.provide(layer))
  })
})

describe("an origin that breaks off a short body without a length", () => {
  /** Has the origin break off so many responses. */
  const begin = Effect.fnUntraced(function*(broken: number) {
    const site = yield* start()
    site.origin.handlers.set("/list", (_, response) => {
      const isBroken = site.seen("/list").length <= broken
      response.writeHead(200, maxAge(60))
      response.write("#EXTM3U\n")
      if (isBroken) setImmediate(() => response.destroy())
      else response.end("film.ts\n")
    })
    return site
  })

  it.effect("is asked again, and the viewer gets all of it", () =>
    Effect.gen(function*() {
      const { ask, seen } = yield* begin(3)
      const { body, status } = yield* withTime(ask("/list"))
      assert.strictEqual(status, 200)
      assert.strictEqual(body.toString(), "#EXTM3U\nfilm.ts\n")
      assert.lengthOf(seen("/list"), 4)
      assert.strictEqual(story((yield* ask("/list")).headers), "spillway; hit")
    }))

  it.effect("is asked four times in all", () =>
    Effect.gen(function*() {
      const { ask, seen } = yield* begin(Infinity)
      assert.strictEqual((yield* withTime(ask("/list"))).status, 502)
      assert.lengthOf(seen("/list"), 4)
    }))
})

describe("an origin that does not answer", () => {
  it.effect("is asked once for a file that is not stored, which is answered 504", () =>
    Effect.gen(function*() {
      const { ask, origin, seen } = yield* start({ origins: { firstByteTimeout: 5000 } })
      origin.handlers.set("/a", () => {})
      for (const headers of [{}, { authorization: "Basic YTpi" }]) {
        const answer = yield* withTime(ask("/a", { headers }))
        assert.strictEqual(answer.status, 504)
        assert.strictEqual(story(answer.headers), "spillway; fwd=miss; detail=ORIGIN_TIMEOUT")
      }
      // The origin may have been waiting for an event, and a second request would wait for the next one.
      assert.strictEqual(seen("/a").length, 2)
    }))

  it.effect("is asked twice to validate a stored file", () =>
    Effect.gen(function*() {
      const { ask, file, origin, seen } = yield* start({ origins: { firstByteTimeout: 5000 } })
      file("/a", { headers: { "cache-control": "no-cache" } })
      yield* ask("/a")
      origin.handlers.set("/a", () => {})
      assert.strictEqual((yield* withTime(ask("/a"))).status, 504)
      assert.strictEqual(seen("/a").length, 3)
    }))
})
