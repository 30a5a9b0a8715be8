import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { TestClock } from "effect/testing"
import type { IncomingMessage } from "node:http"
import { ChunkStore } from "../../src/services/disk/ChunkStore.ts"
import { story } from "../support/cacheStatus.ts"
import { makeTestOrigin } from "../support/TestOrigin.ts"
import { bytes, makeGate, maxAge, otherBytes, type Reply, type Site, start, until, withTime } from "./Site.ts"
import { CHUNK_BYTES } from "./TestProxy.ts"

const as = (cookie: string, headers: Record<string, string> = {}) => ({ headers: { ...headers, cookie } })

const HIT = "spillway; hit"
const CONFIRMED = "spillway; fwd=request; fwd-status=304"

/** Answers with `body` as `headers` say, or 304 to its validator. */
const served = (request: IncomingMessage, headers: Record<string, string>, body: Buffer | string): Reply => {
  const { "if-modified-since": since, "if-none-match": etag } = request.headers
  const isKnown = etag !== undefined
    ? etag === headers["etag"]
    : since !== undefined && since === headers["last-modified"]
  return isKnown ? { status: 304, headers } : { headers, body }
}

const film = (control = "max-age=60") => ({ "cache-control": control, "etag": "\"film\"" })

/** Has those with a cookie that begins with `member` given the film, and the others a login page. */
const membersOnly = (site: Site, page: (request: IncomingMessage) => Reply, control?: string) =>
  site.answer(
    "/a",
    (request) =>
      request.headers.cookie?.startsWith("member") === true ? served(request, film(control), bytes) : page(request)
  )

const login = { "cache-control": "max-age=3600", "etag": "\"login\"" }

const pages: ReadonlyArray<readonly [string, (request: IncomingMessage) => Reply]> = [
  ["200", (request) => served(request, login, "log in")],
  [
    "302 to another site",
    () => ({ status: 302, headers: { location: "https://login.example/", ...maxAge(3600) }, body: "log in" })
  ],
  ["302 to a page that is followed", () => ({ status: 302, headers: { location: "/login" } })],
  ["302 that is followed, and kept", () => ({ status: 302, headers: { location: "/login", ...maxAge(3600) } })],
  ["403", () => ({ status: 403, headers: maxAge(3600), body: "log in" })],
  ["404", () => ({ status: 404, headers: maxAge(3600), body: "log in" })]
]

describe("a cookie", () => {
  it.effect("is sent to the origin with a single request", () =>
    Effect.gen(function*() {
      const { ask, file, seen } = yield* start()
      file("/a")
      for (const method of ["HEAD", "GET"]) {
        yield* ask("/a", { method, ...as("a=1; b=2") })
        assert.strictEqual(seen("/a").at(-1)!.headers.cookie, "a=1; b=2")
      }
      assert.strictEqual(seen("/a").length, 2)
    }))

  it.effect("causes one revalidation of a fresh file, without a body", () =>
    Effect.gen(function*() {
      const { ask, file, origin, seen } = yield* start()
      file("/a")
      yield* ask("/a")
      const before = origin.bodyBytes()
      assert.strictEqual(story((yield* ask("/a", as("a"))).headers), CONFIRMED)
      for (const options of [as("a"), as("a", { range: "bytes=5-9" }), { method: "HEAD", ...as("a") }, {}]) {
        assert.strictEqual(story((yield* ask("/a", options)).headers), HIT)
      }
      assert.strictEqual(story((yield* ask("/a", as("b"))).headers), CONFIRMED)
      assert.strictEqual(origin.bodyBytes(), before)
      assert.deepStrictEqual(seen("/a").map(({ headers }) => headers.cookie), [undefined, "a", "b"])
      // Each confirmation lasts for as long as it says.
      yield* TestClock.adjust("40 seconds")
      yield* ask("/a", as("c"))
      yield* TestClock.adjust("30 seconds")
      assert.strictEqual(story((yield* ask("/a", as("c"))).headers), HIT)
      for (const options of [as("a"), {}]) assert.strictEqual(story((yield* ask("/a", options)).headers), CONFIRMED)
    }))

  it.effect.each(["public", "s-maxage=60", "immutable"])(
    "makes no difference to a file that is %s",
    (directive) =>
      Effect.gen(function*() {
        const { ask, file, seen } = yield* start()
        file("/a", { headers: maxAge(60, directive) })
        yield* ask("/a", as("a"))
        for (const options of [{}, as("b"), as("c", { range: "bytes=0-9" })]) {
          assert.strictEqual(story((yield* ask("/a", options)).headers), HIT)
        }
        assert.strictEqual(seen("/a").length, 1)
      })
  )

  it.effect("is confirmed by the validator of an origin that never answers 304", () =>
    Effect.gen(function*() {
      const { answer, ask } = yield* start()
      answer("/a", () => ({ headers: film(), body: bytes }))
      yield* ask("/a")
      assert.isTrue((yield* ask("/a", as("a"))).body.equals(bytes))
      assert.strictEqual(story((yield* ask("/a", as("a"))).headers), HIT)
    }))

  it.effect("is not satisfied by a date that only says another file is older", () =>
    Effect.gen(function*() {
      const { answer, ask, at } = yield* start()
      // As servers do that compare dates by order.
      const files: Record<string, readonly [string, string]> = {
        anna: [at(-50), "of anna"],
        bob: [at(-900), "of bob!"]
      }
      answer("/report", ({ headers: { cookie, "if-modified-since": since } }) => {
        const [modified, body] = files[cookie!]!
        const headers = { ...maxAge(60), "last-modified": modified }
        return since !== undefined && Date.parse(since) >= Date.parse(modified)
          ? { status: 304, headers }
          : { headers, body }
      })
      for (const name of ["anna", "bob", "anna", "bob"]) {
        assert.strictEqual((yield* ask("/report", as(name))).body.toString(), files[name]![1])
      }
      yield* TestClock.adjust("61 seconds")
      // To whom it was given, the origin may say that it is still the same.
      assert.strictEqual(story((yield* ask("/report", as("anna"))).headers), "spillway; fwd=stale; fwd-status=304")
    }))

  it.effect("is remembered for the last 64 cookies", () =>
    Effect.gen(function*() {
      const { ask, file, seen } = yield* start()
      file("/a")
      yield* ask("/a")
      for (let i = 0; i < 65; i++) yield* ask("/a", as(`viewer-${i}`))
      assert.strictEqual(seen("/a").length, 66)
      assert.strictEqual(story((yield* ask("/a")).headers), HIT)
      assert.strictEqual(story((yield* ask("/a", as("viewer-64"))).headers), HIT)
      assert.strictEqual(story((yield* ask("/a", as("viewer-0"))).headers), CONFIRMED)
    }))

  it.effect("brings its viewer the origin's failure, not what others have been given", () =>
    Effect.gen(function*() {
      const { ask, file, origin } = yield* start()
      file("/a", { headers: maxAge(60, "stale-while-revalidate=600") })
      yield* ask("/a")
      yield* ask("/a", as("a"))
      yield* origin.close
      assert.strictEqual((yield* withTime(ask("/a", as("b")))).status, 502)
      yield* TestClock.adjust("61 seconds")
      assert.strictEqual((yield* withTime(ask("/a", as("b")))).status, 502)
      for (const options of [{}, as("a")]) assert.isTrue((yield* withTime(ask("/a", options))).body.equals(bytes))
    }))
})

describe("--ignore-cookies", () => {
  it.effect("withholds cookies from the origin and shares every stored file", () =>
    Effect.gen(function*() {
      const { answer, ask, file, seen } = yield* start({ cache: { ignoreCookies: ["/films/*"] } })
      file("/films/a")
      for (const options of [as("a"), as("b"), { method: "HEAD", ...as("c") }, {}]) yield* ask("/films/a", options)
      assert.strictEqual(seen("/films/a").length, 1)
      answer("/films/b", () => ({ headers: { "cache-control": "no-store" }, body: "b" }))
      for (let i = 0; i < 2; i++) yield* ask("/films/b", as("a"))
      yield* ask("/films/b", { method: "POST", body: "x", ...as("a") })
      const cookies = [...seen("/films/a"), ...seen("/films/b")].map(({ headers }) => headers.cookie)
      assert.deepStrictEqual(cookies, [undefined, undefined, undefined, "a"])
      file("/other")
      yield* ask("/other", as("a"))
      assert.strictEqual(seen("/other")[0]!.headers.cookie, "a")
    }))
})

describe("a file only for viewers with a cookie", () => {
  it.effect("stays so after a restart, until the origin confirms it for others", () =>
    Effect.gen(function*() {
      const origin = yield* makeTestOrigin
      const store = yield* Effect.provide(ChunkStore, ChunkStore.layerMemory)
      yield* Effect.scoped(Effect.gen(function*() {
        const site = yield* start({ before: { origin, store } })
        membersOnly(site, () => ({ status: 403, headers: maxAge(3600), body: "log in" }), "max-age=3600")
        yield* site.ask("/a", as("member-1"))
      }))
      const { ask } = yield* start({ before: { origin, store } })
      assert.strictEqual((yield* ask("/a")).status, 403)
      assert.strictEqual(story((yield* ask("/a", as("member-1"))).headers), CONFIRMED)
      assert.strictEqual(story((yield* ask("/a", as("member-1"))).headers), HIT)
    }))
})

describe("a file that differs by cookie", () => {
  it.effect.each(pages)(
    "is never given to other viewers: a film and a login page of %s",
    ([, page]) =>
      Effect.gen(function*() {
        const site = yield* start()
        site.answer("/login", (request) => served(request, login, "log in"))
        membersOnly(site, page)
        for (const cookies of [["member-1", undefined, "stranger"], [undefined, "stranger", "member-1", "member-2"]]) {
          for (let i = 0; i < 3; i++) {
            for (const cookie of cookies) {
              const isMember = cookie?.startsWith("member") === true
              for (const range of [undefined, "bytes=0-2"]) {
                const headers = { ...(cookie !== undefined && { cookie }), ...(range !== undefined && { range }) }
                const { body, status } = yield* site.ask("/a", { headers })
                const whole: Buffer = isMember ? bytes : Buffer.from("log in")
                assert.isTrue(
                  body.equals(whole) || (status === 206 && body.equals(whole.subarray(0, 3))),
                  String(cookie)
                )
              }
            }
            yield* TestClock.adjust("20 seconds")
          }
        }
      })
  )

  it.effect("is stored in versions that do not displace each other", () =>
    Effect.gen(function*() {
      const site = yield* start()
      membersOnly(site, (request) => served(request, login, "log in"))
      yield* site.ask("/a", as("member-1"))
      assert.strictEqual(story((yield* site.ask("/a")).headers), "spillway; fwd=bypass; detail=COOKIE")
      // From now on, each has an entry.
      for (let i = 0; i < 2; i++) for (const options of [as("member-1"), {}]) yield* site.ask("/a", options)
      const before = site.seen("/a").length
      assert.isTrue((yield* site.ask("/a", as("member-1"))).body.equals(bytes))
      assert.strictEqual((yield* site.ask("/a")).body.toString(), "log in")
      assert.strictEqual(site.seen("/a").length, before)
      // A stranger with a cookie gets the page in hand, and the film stays.
      for (let i = 0; i < 3; i++) {
        const { body, headers } = yield* site.ask("/a", as(`stranger-${i}`))
        assert.strictEqual(body.toString(), "log in")
        assert.strictEqual(story(headers), "spillway; fwd=bypass; detail=COOKIE")
      }
      assert.strictEqual(story((yield* site.ask("/a", as("member-1"))).headers), HIT)
    }))

  it.effect("does not displace a film that is revalidated each time", () =>
    Effect.gen(function*() {
      const site = yield* start()
      membersOnly(site, (request) => served(request, login, "log in"), "no-cache")
      yield* site.ask("/a", as("member-1"))
      for (let i = 0; i < 2; i++) yield* site.ask("/a", as("member-1"))
      const before = site.origin.bodyBytes()
      for (let i = 0; i < 3; i++) {
        yield* site.ask("/a", as("stranger"))
        assert.isTrue((yield* site.ask("/a", as("member-1"))).body.equals(bytes))
      }
      assert.isBelow(site.origin.bodyBytes() - before, bytes.length + 1000)
    }))

  it.effect("is served although others got private answers", () =>
    Effect.gen(function*() {
      const site = yield* start()
      site.answer("/a", (request) =>
        request.headers.cookie === undefined
          ? served(request, film(), bytes)
          : { headers: { "cache-control": "private", "etag": "\"own\"" }, body: `for ${request.headers.cookie}` })
      yield* site.ask("/a")
      for (const cookie of ["a", "b"]) {
        const { body, headers } = yield* site.ask("/a", as(cookie))
        assert.strictEqual(body.toString(), `for ${cookie}`)
        assert.strictEqual(story(headers), "spillway; fwd=bypass; detail=PRIVATE")
        assert.strictEqual(story((yield* site.ask("/a")).headers), HIT)
      }
    }))

  it.effect("is removed only for a viewer who is refused it", () =>
    Effect.gen(function*() {
      const site = yield* start()
      let banned = ""
      site.answer(
        "/a",
        (request) => request.headers.cookie === banned ? { status: 404 } : served(request, film(), bytes)
      )
      for (const cookie of ["a", "b"]) yield* site.ask("/a", as(cookie))
      banned = "a"
      yield* TestClock.adjust("61 seconds")
      assert.strictEqual((yield* site.ask("/a", as("a"))).status, 404)
      yield* site.origin.close
      assert.strictEqual((yield* withTime(site.ask("/a", as("a")))).status, 502)
      assert.isTrue((yield* withTime(site.ask("/a", as("b")))).body.equals(bytes))
    }))

  it.effect("is not shared by viewers who ask at the same time", () =>
    Effect.gen(function*() {
      const site = yield* start()
      const gate = makeGate()
      site.answer("/a", async ({ headers: { cookie } }) => {
        await gate.opened
        return { headers: { ...maxAge(60), "etag": `"${cookie}"` }, body: `for ${cookie}` }
      })
      const cookies = ["a", "b", "a", "c"]
      const viewers = yield* Effect.forEach(cookies, (cookie) => Effect.forkChild(site.ask("/a", as(cookie))))
      yield* until("a request", () => site.seen("/a").length > 0)
      gate.open()
      const answers = yield* Effect.forEach(viewers, Fiber.join)
      assert.deepStrictEqual(answers.map(({ body }) => body.toString()), cookies.map((cookie) => `for ${cookie}`))
    }))

  it.effect("does not delay or fail a viewer with other cookies", () =>
    Effect.gen(function*() {
      const site = yield* start()
      const gate = makeGate()
      site.answer("/slow", async ({ headers: { cookie } }) => {
        if (cookie === "a") await gate.opened
        return { headers: { "cache-control": "no-store" }, body: `for ${cookie}` }
      })
      const slow = yield* Effect.forkChild(site.ask("/slow", as("a")))
      yield* until("a request", () => site.seen("/slow").length > 0)
      assert.strictEqual((yield* withTime(site.ask("/slow", as("b")))).body.toString(), "for b")
      gate.open()
      assert.strictEqual((yield* Fiber.join(slow)).body.toString(), "for a")
    }))

  it.effect("costs one request if the file turns out to be public", () =>
    Effect.gen(function*() {
      const site = yield* start()
      const gate = makeGate()
      site.answer("/a", async (request) => {
        await gate.opened
        return served(request, film("public, max-age=60"), bytes)
      })
      const viewers = yield* Effect.forEach([1, 2, 3, 4], (i) => Effect.forkChild(site.ask("/a", as(`viewer-${i}`))))
      yield* until("a request", () => site.seen("/a").length > 0)
      gate.open()
      for (const { body } of yield* Effect.forEach(viewers, Fiber.join)) assert.isTrue(body.equals(bytes))
      assert.strictEqual(site.seen("/a").length, 1)
    }))
})

describe("one request of a viewer", () => {
  const unkept: ReadonlyArray<readonly [string, Record<string, string>]> = [
    ["no-store", { "cache-control": "no-store" }],
    ["private", { "cache-control": "private" }],
    ["Set-Cookie", { "set-cookie": "id=1" }],
    ["no validator", { etag: "" }],
    ["Vary: *", { vary: "*" }]
  ]

  const asked: ReadonlyArray<Record<string, string>> = [
    {},
    { cookie: "id=1" },
    { authorization: "Basic YTpi" },
    { "x-api-key": "1" },
    { range: "bytes=10-19" },
    { range: "bytes=10-" },
    { range: "bytes=-10", cookie: "id=1" },
    { "range": "bytes=10-19", "if-range": "\"one\"" },
    { "range": "bytes=10-19", "if-range": "\"two\"" },
    { "if-none-match": "\"one\"" },
    { "if-none-match": "\"two\"" },
    { "if-match": "\"two\"" }
  ]

  it.effect.each(unkept)(
    "is one request at the origin, and is answered from it: %s",
    ([, fields]) =>
      Effect.gen(function*() {
        const site = yield* start()
        let path = 0
        for (const method of ["GET", "HEAD"]) {
          for (const headers of asked) {
            const url = `/ticket?${path++}`
            let uses = 0
            site.answer(url, (request) => {
              if (uses++ > 0) return { status: 410 }
              const own = { "etag": "\"one\"", ...fields }
              if (own.etag === "") delete (own as Record<string, string>)["etag"]
              const match = /^bytes=(\d*)-(\d*)$/.exec(request.headers.range ?? "")
              const tie = request.headers["if-range"]
              if (match === null || (tie !== undefined && tie !== own.etag)) return { headers: own, body: bytes }
              const from = match[1] === "" ? bytes.length - Number(match[2]) : Number(match[1])
              const to = match[1] === "" || match[2] === ""
                ? bytes.length
                : Math.min(Number(match[2]) + 1, bytes.length)
              const range = `bytes ${from}-${to - 1}/${bytes.length}`
              return { status: 206, headers: { ...own, "content-range": range }, body: bytes.subarray(from, to) }
            })
            const { body, headers: got, status } = yield* site.ask(url, { method, headers })
            const text = JSON.stringify([method, headers, status])
            assert.strictEqual(uses, 1, text)
            assert.notStrictEqual(status, 410, text)
            const hasTag = fields["etag"] !== ""
            if (headers["if-none-match"] === "\"one\"" && hasTag) assert.strictEqual(status, 304, text)
            else if (headers["if-match"] !== undefined) assert.strictEqual(status, 412, text)
            else if (method === "HEAD") assert.strictEqual(status, 200, text)
            else if (headers["range"] === undefined) assert.isTrue(body.equals(bytes), text)
            else if (status === 206) {
              const part = headers["range"] === "bytes=-10"
                ? bytes.subarray(-10)
                : bytes.subarray(10, headers["range"] === "bytes=10-" ? undefined : 20)
              assert.isTrue(body.equals(part), text)
              assert.match(String(got["content-range"]), new RegExp(`-\\d+/${bytes.length}$`), text)
            } else assert.isTrue(body.equals(bytes), text)
          }
        }
      })
  )

  it.effect.each([302, 404, 403])(
    "is one request at the origin if that answers %i without a length",
    (status) =>
      Effect.gen(function*() {
        let path = 0
        const site = yield* start()
        for (const length of [10, 3 * CHUNK_BYTES]) {
          const body = otherBytes.subarray(0, length)
          for (const fields of [{ "cache-control": "no-store" }, { "set-cookie": "id=1" }, maxAge(60)]) {
            const url = `/once?${path++}`
            let uses = 0
            site.answer(url, () =>
              uses++ > 0
                ? { status: 410 }
                : {
                  status,
                  headers: { "transfer-encoding": "chunked", "location": "https://a.example/", ...fields },
                  body
                })
            const answer = yield* site.ask(url, as("a"))
            assert.strictEqual(answer.status, status)
            assert.isTrue(answer.body.equals(body))
            assert.strictEqual(uses, 1)
          }
        }
      })
  )
})
