import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { TestClock } from "effect/testing"
import { story } from "../support/cacheStatus.ts"
import { makeGate, maxAge, type Site, start, until, withTime } from "./Site.ts"
import { CHUNK_BYTES } from "./TestProxy.ts"

const as = (authorization: string) => ({ headers: { authorization } })

/** Has `/a` tell each viewer its name, to be cached as `cacheControl` says. */
const serveNames = (site: Site, cacheControl: string, opened: Promise<void> = Promise.resolve()) =>
  site.answer("/a", async ({ headers }) => {
    await opened
    const name = headers.authorization ?? headers.cookie ?? "nobody"
    return { headers: { "cache-control": cacheControl, "etag": `"${name}"` }, body: `for ${name}` }
  })

describe("Authorization", () => {
  it.effect("is sent to the origin, and the answer only to its viewer (RFC 9111 §3.5)", () =>
    Effect.gen(function*() {
      const site = yield* start()
      serveNames(site, "max-age=60")
      for (const name of ["a", "b", "a"]) {
        const { body, headers } = yield* site.ask("/a", as(name))
        assert.strictEqual(body.toString(), `for ${name}`)
        assert.strictEqual(story(headers), "spillway; fwd=bypass; detail=AUTHORIZATION")
      }
      const open = yield* site.ask("/a")
      assert.strictEqual(open.body.toString(), "for nobody")
      assert.strictEqual(story(open.headers), "spillway; fwd=uri-miss; stored")
      // What is for nobody in particular was not said to be for somebody.
      assert.strictEqual((yield* site.ask("/a", as("a"))).body.toString(), "for a")
      assert.strictEqual(story((yield* site.ask("/a")).headers), "spillway; hit")
    }))

  it.effect.each(["public", "s-maxage=60", "must-revalidate"])(
    "makes no difference with %s (RFC 9111 §3.5)",
    (directive) =>
      Effect.gen(function*() {
        const site = yield* start()
        serveNames(site, `max-age=60, ${directive}`)
        assert.strictEqual(story((yield* site.ask("/a", as("a"))).headers), "spillway; fwd=uri-miss; stored")
        for (const options of [as("a"), as("b"), {}, { method: "HEAD", ...as("b") }]) {
          const { headers } = yield* site.ask("/a", options)
          assert.strictEqual(story(headers), "spillway; hit")
          assert.strictEqual(headers["etag"], "\"a\"")
        }
        assert.strictEqual(site.seen("/a").length, 1)
      })
  )

  it.effect("prevents viewers who ask at the same time from sharing an answer (RFC 9111 §3.5)", () =>
    Effect.gen(function*() {
      const site = yield* start()
      const gate = makeGate()
      serveNames(site, "max-age=60", gate.opened)
      const options = [as("a"), as("b"), {}, as("a"), { headers: { cookie: "c" } }]
      const viewers: Array<Fiber.Fiber<string, Error>> = []
      for (const option of options) {
        viewers.push(yield* Effect.forkChild(Effect.map(site.ask("/a", option), ({ body }) => body.toString())))
      }
      yield* until("three requests", () => site.seen("/a").length >= 3)
      gate.open()
      const bodies = yield* Effect.forEach(viewers, Fiber.join)
      assert.deepStrictEqual(bodies, ["for a", "for b", "for nobody", "for a", "for c"])
    }))

  it.effect("prevents viewers from sharing a refusal (RFC 9111 §3.5)", () =>
    Effect.gen(function*() {
      const site = yield* start()
      const gate = makeGate()
      site.answer("/a", async ({ headers }) => {
        await gate.opened
        const { authorization } = headers
        return authorization === undefined
          ? { status: 401, headers: { ...maxAge(60), "www-authenticate": "Basic realm=\"a\"" }, body: "who?" }
          : { status: 403, headers: maxAge(60), body: `not ${authorization}` }
      })
      const viewers = yield* Effect.forEach(
        [as("a"), {}, as("b")],
        (option) => Effect.forkChild(site.ask("/a", option))
      )
      yield* until("three requests", () => site.seen("/a").length >= 3)
      gate.open()
      const answers = yield* Effect.forEach(viewers, Fiber.join)
      assert.deepStrictEqual(
        answers.map(({ body, headers, status }) => [status, body.toString(), headers["www-authenticate"]]),
        [[403, "not a", undefined], [401, "who?", "Basic realm=\"a\""], [403, "not b", undefined]]
      )
      // Nor afterwards.
      assert.strictEqual((yield* site.ask("/a", as("c"))).body.toString(), "not c")
    }))

  it.effect("is sent to the origin with ranges and conditions (RFC 9111 §3.5)", () =>
    Effect.gen(function*() {
      const { ask, file, seen } = yield* start()
      file("/a")
      yield* ask("/a")
      const headers = { "authorization": "a", "range": "bytes=0-9" }
      assert.strictEqual((yield* ask("/a", { headers })).headers["content-length"], "10")
      const same = yield* ask("/a", { headers: { "authorization": "a", "if-none-match": "\"v1\"" } })
      assert.strictEqual(same.status, 304)
      assert.strictEqual(seen("/a").at(-1)!.headers.authorization, "a")
      assert.strictEqual(story((yield* ask("/a")).headers), "spillway; hit")
    }))
})

describe("credentials that the origin refuses", () => {
  it.effect.each([401, 403, 404, 410, 302])(
    "leave a stored file to the others: %i",
    (status) =>
      Effect.gen(function*() {
        const site = yield* start()
        site.answer("/a", ({ headers: { authorization } }) =>
          authorization === "bad"
            ? { status, body: "no" }
            : { headers: { "cache-control": "public, max-age=60", "etag": "\"v1\"" }, body: "a" })
        yield* site.ask("/a", { headers: { authorization: "good" } })
        const bad = { headers: { "authorization": "bad", "cache-control": "no-cache" } }
        assert.strictEqual((yield* site.ask("/a", bad)).status, status)
        assert.strictEqual(story((yield* site.ask("/a")).headers), "spillway; hit")
        yield* TestClock.adjust("61 seconds")
        assert.strictEqual((yield* site.ask("/a", bad)).status, status)
        yield* site.origin.close
        const { headers } = yield* withTime(site.ask("/a", { headers: { authorization: "good" } }))
        assert.strictEqual(story(headers), "spillway; hit; detail=ORIGIN_UNREACHABLE")
      })
  )

  it.effect("are needed for each part that is not stored", () =>
    Effect.gen(function*() {
      const { ask, file, origin } = yield* start()
      file("/a", { headers: maxAge(60, "public") })
      const first = { headers: { range: "bytes=0-9" } }
      yield* ask("/a", { headers: { ...first.headers, authorization: "good" } })
      origin.handlers.set("/a", (_, response) => void response.writeHead(404, { "content-length": "2" }).end("no"))
      const rest = { headers: { range: `bytes=${2 * CHUNK_BYTES}-`, authorization: "bad" } }
      assert.strictEqual((yield* ask("/a", rest)).status, 404)
      assert.strictEqual(story((yield* ask("/a", first)).headers), "spillway; hit")
    }))
})

describe("a credential of a media server or an API", () => {
  it.effect.each(["x-plex-token", "x-emby-token", "x-api-key", "private-token", "x-amz-security-token"])(
    "is treated like Authorization: %s",
    (name) =>
      Effect.gen(function*() {
        const site = yield* start()
        site.answer("/a", ({ headers }) => ({
          status: headers[name] === undefined ? 401 : 200,
          headers: { ...maxAge(60), "etag": `"${headers[name]}"` },
          body: `for ${headers[name]}`
        }))
        for (const token of ["a", "b", "a"]) {
          const { body, headers } = yield* site.ask("/a", { headers: { [name]: token } })
          assert.strictEqual(body.toString(), `for ${token}`)
          assert.strictEqual(story(headers), "spillway; fwd=bypass; detail=AUTHORIZATION")
        }
        assert.strictEqual((yield* site.ask("/a")).status, 401)
        site.answer("/b", () => ({ headers: { "cache-control": "public, max-age=60", "etag": "\"v1\"" }, body: "b" }))
        yield* site.ask("/b", { headers: { [name]: "a" } })
        assert.strictEqual(story((yield* site.ask("/b")).headers), "spillway; hit")
      })
  )

  it.effect("is not answered with a fresh file that was stored without it", () =>
    Effect.gen(function*() {
      const { ask, file } = yield* start()
      file("/a")
      yield* ask("/a")
      const { headers } = yield* ask("/a", { headers: { "x-plex-token": "a" } })
      assert.strictEqual(story(headers), "spillway; fwd=bypass; detail=AUTHORIZATION")
      assert.strictEqual(story((yield* ask("/a", { headers: { "x-other-token": "a" } })).headers), "spillway; hit")
    }))

  it.effect("is not shared among viewers who ask at the same time", () =>
    Effect.gen(function*() {
      const site = yield* start()
      const gate = makeGate()
      site.answer("/a", async ({ headers }) => {
        await gate.opened
        return { headers: { ...maxAge(60), "etag": "\"v1\"" }, body: `for ${headers["x-api-key"]}` }
      })
      const keys = ["a", "b"]
      const viewers = yield* Effect.forEach(
        keys,
        (key) => Effect.forkChild(site.ask("/a", { headers: { "x-api-key": key } }))
      )
      yield* until("two requests", () => site.seen("/a").length >= 2)
      gate.open()
      const answers = yield* Effect.forEach(viewers, Fiber.join)
      assert.deepStrictEqual(answers.map(({ body }) => body.toString()), ["for a", "for b"])
    }))
})

describe("Set-Cookie", () => {
  const setCookies = (cacheControl: string, status = 200) => {
    let sessions = 0
    return () => ({
      status,
      headers: {
        "cache-control": cacheControl,
        "etag": "\"v1\"",
        "set-cookie": [`session=${++sessions}; Path=/`, "b=2"]
      },
      body: "abc"
    })
  }

  it.effect("prevents an answer from being stored and reaches its viewer (RFC 9111 §7.3)", () =>
    Effect.gen(function*() {
      const { answer, ask } = yield* start()
      for (const status of [200, 404]) {
        answer("/a", setCookies("max-age=60", status))
        const sessions = new Set<string>()
        for (let i = 0; i < 3; i++) {
          const { headers, lines } = yield* ask("/a")
          const cookies = lines.filter(([name]) => name === "set-cookie").map(([, value]) => value)
          assert.strictEqual(cookies[1], "b=2")
          sessions.add(cookies[0]!)
          assert.strictEqual(story(headers), "spillway; fwd=bypass; detail=SET_COOKIE")
        }
        assert.strictEqual(sessions.size, 3)
      }
    }))

  it.effect.each(["GET", "POST", "HEAD"])(
    "reaches the viewer unchanged, line by line: %s (RFC 6265 §3)",
    (method) =>
      Effect.gen(function*() {
        const { answer, ask } = yield* start()
        const cookies = [
          "id=1; Path=/films",
          "id=2; path=/; Secure",
          "id=; Expires=Thu, 1-Jan-70 00:00:00 GMT",
          "a,b{c}=d e",
          "flag",
          "theme=dark; Partitioned; Priority=Low",
          "=nameless"
        ]
        for (const status of [200, 302, 404]) {
          answer("/a", () => ({
            status,
            headers: { "cache-control": "no-store", "set-cookie": cookies, location: "/b" },
            body: "abc"
          }))
          const { lines } = yield* ask("/a", { method, ...(method === "POST" && { body: "x" }) })
          assert.deepStrictEqual(lines.filter(([name]) => name === "set-cookie").map(([, value]) => value), cookies)
        }
      })
  )

  it.effect.each(["public", "s-maxage=60"])(
    "is not stored with an answer that is %s (RFC 9111 §7.3)",
    (directive) =>
      Effect.gen(function*() {
        const { answer, ask, seen } = yield* start()
        answer("/a", setCookies(`max-age=60, ${directive}`))
        for (let i = 0; i < 2; i++) {
          const { body, headers } = yield* ask("/a")
          assert.strictEqual(body.toString(), "abc")
          assert.notProperty(headers, "set-cookie")
        }
        assert.strictEqual(seen("/a").length, 1)
      })
  )

  it.effect.each(["max-age=60", "public, max-age=60", "no-cache"])(
    "is sent to only one of the viewers who ask at the same time: %s (RFC 9111 §7.3)",
    (field) =>
      Effect.gen(function*() {
        const { answer, ask, seen } = yield* start()
        const gate = makeGate()
        const reply = setCookies(field, 403)
        answer("/a", async () => {
          await gate.opened
          return reply()
        })
        const viewers = yield* Effect.forEach([1, 2, 3], () => Effect.forkChild(ask("/a")))
        yield* until("a request", () => seen("/a").length > 0)
        gate.open()
        const answers = yield* Effect.forEach(viewers, Fiber.join)
        assert.strictEqual(new Set(answers.map(({ headers }) => headers["set-cookie"]![0])).size, 3)
      })
  )
})

describe("an answer that a shared cache must not store", () => {
  const cases: ReadonlyArray<readonly [string, string, Record<string, string>]> = [
    ["no-store (§5.2.2.5)", "NO_STORE", { "cache-control": "no-store, max-age=60" }],
    ["private (§5.2.2.7)", "PRIVATE", { "cache-control": "private, max-age=60" }],
    ["private for a field (§5.2.2.7)", "PRIVATE", { "cache-control": "private=\"x-own\", max-age=60" }],
    ["no-store in CDN-Cache-Control (RFC 9213 §2.2)", "NO_STORE", { ...maxAge(60), "cdn-cache-control": "no-store" }],
    ["neither a validator nor a lifetime", "NO_VALIDATOR", { "etag": "v1" }],
    ["no length", "NO_LENGTH", { "transfer-encoding": "chunked" }]
  ]

  it.effect.each(cases)(
    "%s is passed through, with one request for each viewer",
    ([, detail, headers]) =>
      Effect.gen(function*() {
        const { answer, ask, seen } = yield* start()
        answer("/a", (request) => ({
          headers: { "etag": "\"v1\"", "content-type": "video/mp4", "x-own": "1", ...headers },
          body: `for ${request.headers.cookie}`
        }))
        yield* ask("/a")
        for (const cookie of ["a", "b"]) {
          const before = seen("/a").length
          const { body, headers } = yield* ask("/a", { headers: { cookie } })
          assert.strictEqual(body.toString(), `for ${cookie}`)
          assert.strictEqual(story(headers), `spillway; fwd=bypass; detail=${detail}`)
          assert.deepInclude(headers, { "content-type": "video/mp4", "x-own": "1" })
          assert.strictEqual(headers["content-length"], detail === "NO_LENGTH" ? undefined : String(body.length))
          assert.strictEqual(seen("/a").length, before + 1)
        }
      })
  )

  it.effect("is stored again when the origin allows it again", () =>
    Effect.gen(function*() {
      const { ask, file } = yield* start()
      file("/a", { headers: { "cache-control": "no-store" } })
      yield* ask("/a")
      file("/a")
      yield* TestClock.adjust("2 minutes")
      yield* ask("/a")
      assert.strictEqual(story((yield* ask("/a")).headers), "spillway; hit")
    }))
})
