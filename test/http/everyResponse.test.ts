import { assert, describe, it } from "@effect/vitest"
import { Effect, Schedule, Stream } from "effect"
import { TestClock } from "effect/testing"
import { gzipSync } from "node:zlib"
import { chunksIn, ChunkStore } from "../../src/services/disk/ChunkStore.ts"
import { story } from "../support/cacheStatus.ts"
import { makeTestOrigin } from "../support/TestOrigin.ts"
import { bytes, type Reply, type Site, start, until, withTime } from "./Site.ts"
import { CHUNK_BYTES, makeTestProxy } from "./TestProxy.ts"

/** What RFC 9111, 9211, 9213, 5861 and 8246 ask of a shared cache, for every kind of response that it stores. */

interface Kind {
  readonly name: string
  readonly path?: string
  readonly status?: number
  /** Fields of the response besides those that say how long it is fresh. */
  readonly fields: Record<string, string>
  readonly body: Buffer
  /** Fields of each request. */
  readonly request?: Record<string, string>
}

const chunked = { "transfer-encoding": "chunked" }

const kinds: ReadonlyArray<Kind> = [
  { name: "a strong ETag", fields: { etag: "\"1\"" }, body: bytes },
  { name: "--assume-unchanged", path: "/library/a", fields: {}, body: bytes },
  { name: "no validator", fields: {}, body: bytes },
  { name: "a weak ETag", fields: { etag: "W/\"1\"" }, body: bytes },
  { name: "no length, short", fields: chunked, body: bytes.subarray(0, 1000) },
  { name: "no length, long", fields: chunked, body: bytes },
  {
    name: "a coding",
    fields: { "vary": "accept-encoding", "content-encoding": "gzip" },
    body: gzipSync(bytes),
    request: { "accept-encoding": "gzip" }
  },
  { name: "status 301", status: 301, fields: { location: "https://elsewhere.example/" }, body: Buffer.from("moved") },
  { name: "status 404", status: 404, fields: {}, body: Buffer.from("not found") },
  { name: "no body", fields: { etag: "\"1\"" }, body: Buffer.alloc(0) },
  { name: "no body and no length", fields: chunked, body: Buffer.alloc(0) },
  {
    name: "status 301 without a body",
    status: 301,
    fields: { location: "https://elsewhere.example/" },
    body: Buffer.alloc(0)
  }
]

/** A site with a response of a kind, and a viewer of it. */
const startWith = Effect.fnUntraced(function*({ body, fields, path = "/a", request = {}, status = 200 }: Kind) {
  const site = yield* start({ cache: { assumeUnchanged: ["/library/*"] } })
  let more: Record<string, string> = {}
  let reply: Reply | undefined
  site.answer(path, () => reply ?? { status, headers: { ...fields, ...more }, body })
  const get = (headers: Record<string, string> = {}, method = "GET") =>
    site.ask(path, { method, headers: { ...request, ...headers } })
  return {
    ...site,
    get,
    head: (headers?: Record<string, string>) => get(headers, "HEAD"),
    requests: () => site.seen(path).length,
    /** Has the origin add these fields. */
    say: (fields: Record<string, string>) => void (more = fields),
    /** Has the origin answer otherwise. */
    answerWith: (other: Reply | undefined) => void (reply = other),
    isRight: (answered: { readonly status: number | undefined; readonly body: Buffer }) => {
      assert.strictEqual(answered.status, status)
      assert.isTrue(answered.body.equals(body))
    }
  }
})

const maxAge = (seconds: number, ...more: ReadonlyArray<string>) => ({
  "cache-control": [`max-age=${seconds}`, ...more].join(", ")
})

describe.for(kinds)("a response with $name", (kind) => {
  it.effect("is used while it is fresh, with its Age (RFC 9111 §4, §5.1), and Cache-Status says so (RFC 9211 §2)", () =>
    Effect.gen(function*() {
      const { get, isRight, requests, say } = yield* startWith(kind)
      say(maxAge(60))
      isRight(yield* get())
      yield* TestClock.adjust("59 seconds")
      const again = yield* get()
      isRight(again)
      assert.strictEqual(again.headers["age"], "59")
      assert.match(again.headers["cache-status"] as string, /^spillway; hit; ttl=1; key="[0-9a-f]{32}"$/)
      assert.strictEqual(requests(), 1)
      yield* TestClock.adjust("1 second")
      isRight(yield* get())
      assert.strictEqual(requests(), 2)
    }))

  it.effect("answers HEAD (RFC 9111 §4)", () =>
    Effect.gen(function*() {
      const { get, head, requests, say } = yield* startWith(kind)
      say(maxAge(60))
      yield* get()
      const { body, headers, status } = yield* head()
      assert.strictEqual(status, kind.status ?? 200)
      assert.lengthOf(body, 0)
      assert.strictEqual(headers["content-length"], String(kind.body.length))
      assert.strictEqual(requests(), 1)
    }))

  it.effect("obeys no-cache, min-fresh, max-stale and only-if-cached of a request (RFC 9111 §5.2.1)", () =>
    Effect.gen(function*() {
      const { get, isRight, requests, say } = yield* startWith(kind)
      say(maxAge(60))
      assert.strictEqual((yield* get({ "cache-control": "only-if-cached" })).status, 504)
      yield* get()
      isRight(yield* get({ "cache-control": "only-if-cached" }))
      assert.strictEqual(requests(), 1)
      isRight(yield* get({ "cache-control": "no-cache" }))
      assert.strictEqual(requests(), 2)
      yield* TestClock.adjust("40 seconds")
      isRight(yield* get({ "cache-control": "min-fresh=30" }))
      assert.strictEqual(requests(), 3)
      yield* TestClock.adjust("70 seconds")
      isRight(yield* get({ "cache-control": "max-stale=20" }))
      assert.strictEqual(requests(), 3)
      assert.strictEqual((yield* get({ "cache-control": "only-if-cached" })).status, 504)
    }))

  it.effect("is used while it is revalidated in the background (RFC 5861 §3)", () =>
    Effect.gen(function*() {
      const { get, isRight, requests, say } = yield* startWith(kind)
      say(maxAge(60, "stale-while-revalidate=60"))
      yield* get()
      yield* TestClock.adjust("61 seconds")
      const stale = yield* get()
      isRight(stale)
      assert.include(stale.headers["cache-status"] as string, "spillway; hit")
      yield* until("the revalidation", () => requests() === 2)
      yield* withTime(Effect.repeat(get(), {
        until: ({ headers }) => Number(headers["age"] ?? 0) < 60,
        schedule: Schedule.spaced("10 millis")
      }))
      assert.strictEqual(requests(), 2)
    }))

  it.effect("is used within stale-if-error, and no longer (RFC 5861 §4)", () =>
    Effect.gen(function*() {
      const { answerWith, get, isRight, say } = yield* startWith(kind)
      say(maxAge(60, "stale-if-error=60"))
      yield* get()
      answerWith({ status: 503 })
      yield* TestClock.adjust("100 seconds")
      isRight(yield* get())
      yield* TestClock.adjust("30 seconds")
      assert.strictEqual((yield* get()).status, 503)
    }))

  it.effect("is not used stale with must-revalidate (RFC 9111 §5.2.2.2)", () =>
    Effect.gen(function*() {
      const { answerWith, get, say } = yield* startWith(kind)
      say(maxAge(60, "must-revalidate"))
      yield* get()
      answerWith({ status: 503 })
      yield* TestClock.adjust("61 seconds")
      assert.strictEqual((yield* get()).status, 503)
    }))

  it.effect("is fresh by CDN-Cache-Control rather than Cache-Control (RFC 9213 §2.2)", () =>
    Effect.gen(function*() {
      const { get, isRight, requests, say } = yield* startWith(kind)
      say({ "cache-control": "no-store", "cdn-cache-control": "max-age=60" })
      yield* get()
      isRight(yield* get())
      assert.strictEqual(requests(), 1)
    }))

  it.effect("is fresh with immutable alone (RFC 8246)", () =>
    Effect.gen(function*() {
      const { get, isRight, requests, say } = yield* startWith(kind)
      say({ "cache-control": "immutable" })
      yield* get()
      yield* TestClock.adjust("10 minutes")
      isRight(yield* get())
      assert.strictEqual(requests(), 1)
    }))

  it.effect.each(["no-store", "private"])("is not stored with %s (RFC 9111 §3)", (directive) =>
    Effect.gen(function*() {
      const { get, isRight, requests, say } = yield* startWith(kind)
      say(maxAge(60, directive))
      for (let i = 0; i < 2; i++) isRight(yield* get())
      assert.strictEqual(requests(), 2)
    }))

  it.effect("is shared by requests with Authorization only if that is allowed (RFC 9111 §3.5)", () =>
    Effect.gen(function*() {
      for (const [more, expected] of [[[], 2], [["public"], 1]] as const) {
        const { get, isRight, requests, say } = yield* startWith(kind)
        say(maxAge(60, ...more))
        for (let i = 0; i < 2; i++) isRight(yield* get({ authorization: "Basic YTpi" }))
        assert.strictEqual(requests(), expected)
      }
    }))

  it.effect("has variants (RFC 9111 §4.1)", () =>
    Effect.gen(function*() {
      const { get, isRight, requests, say } = yield* startWith(kind)
      say({ ...maxAge(60), vary: [kind.fields["vary"], "x-language"].filter(Boolean).join(", ") })
      for (let i = 0; i < 2; i++) {
        for (const language of ["de", "en"]) isRight(yield* get({ "x-language": language }))
      }
      assert.strictEqual(requests(), 2)
    }))

  it.effect("is not used again after an unsafe request (RFC 9111 §4.4)", () =>
    Effect.gen(function*() {
      const { answerWith, get, isRight, requests, say } = yield* startWith(kind)
      say(maxAge(60))
      yield* get()
      answerWith({ status: 200 })
      yield* withTime(get({}, "DELETE"))
      answerWith(undefined)
      isRight(yield* get())
      assert.strictEqual(requests(), 3)
    }))

  it.effect("is used after a restart", () =>
    Effect.gen(function*() {
      const store = yield* ChunkStore
      const before = { origin: yield* makeTestOrigin, store }
      const options = { before, cache: { assumeUnchanged: ["/library/*"] } }
      const { body, fields, path = "/a", request = {}, status = 200 } = kind
      let requests = 0
      before.origin.handlers.set(path, (_, response) => {
        requests += 1
        const length = "transfer-encoding" in fields ? {} : { "content-length": body.length }
        response.writeHead(status, { ...length, ...maxAge(60), ...fields }).end(body)
      })
      const first: Site = yield* start(options)
      yield* first.ask(path, { headers: request })
      const stored = Stream.runFold(
        Stream.mapEffect(store.resources(Effect.fail), ({ resource }) => store.contents(resource)),
        () => 0,
        (count, contents) => count + chunksIn(contents).length
      )
      yield* withTime(Effect.repeat(stored, {
        until: (count) => count === Math.max(1, Math.ceil(body.length / CHUNK_BYTES)),
        schedule: Schedule.spaced("10 millis")
      }))
      const again = yield* makeTestProxy(options)
      const answered = yield* again.ask(path, { headers: request })
      assert.isTrue(answered.body.equals(body))
      assert.strictEqual(story(answered.headers), "spillway; hit")
      assert.strictEqual(requests, 1)
    }).pipe(Effect.scoped, Effect.provide(ChunkStore.layerMemory)))
})
