import { assert, describe, it } from "@effect/vitest"
import { Effect, Option, Stream } from "effect"
import type { IncomingMessage } from "node:http"
import { ChunkStore } from "../../src/services/disk/ChunkStore.ts"
import { bytes, maxAge, otherBytes, type Reply, SIZE, start, until, withTime } from "./Site.ts"
import { CHUNK_BYTES, type TestProxy } from "./TestProxy.ts"

const LAST_MODIFIED = "Tue, 01 Jan 2030 10:00:00 GMT"

/** The range that a request asks for, `end` exclusive. */
const rangeOf = ({ headers }: IncomingMessage) => {
  const match = /^bytes=(\d+)-(\d*)$/.exec(headers.range ?? "")
  if (match === null) return undefined
  return { start: Number(match[1]), end: match[2] === "" ? SIZE : Math.min(Number(match[2]) + 1, SIZE) }
}

const whole = (headers: Reply["headers"], body = bytes): Reply => ({ headers: { ...maxAge(60), ...headers }, body })

const part = (range: { start: number; end: number }, headers: Reply["headers"], body = bytes): Reply => ({
  status: 206,
  headers: { ...maxAge(60), "content-range": `bytes ${range.start}-${range.end - 1}/${SIZE}`, ...headers },
  body: body.subarray(range.start, range.end)
})

/** The requests that the origin got for `/a`, as `range` or `range if-range`. */
const asked = ({ origin }: TestProxy): ReadonlyArray<string> =>
  origin.requests.map(({ headers }) =>
    [headers.range ?? "whole", ...(headers["if-range"] === undefined ? [] : ["if-range"])].join(" ")
  )

const chunk = (index: number): string => `bytes=${index * CHUNK_BYTES}-${Math.min((index + 1) * CHUNK_BYTES, SIZE) - 1}`

const seek = ({ ask }: TestProxy, index: number) =>
  Effect.map(ask("/a", { headers: { range: chunk(index) } }), ({ body, status }) => {
    assert.strictEqual(status, 206)
    assert.isTrue(body.equals(bytes.subarray(index * CHUNK_BYTES, (index + 1) * CHUNK_BYTES)))
  })

/** The only manifest of a store in memory. */
const manifestOf = (store: ChunkStore["Service"]) =>
  Effect.gen(function*() {
    const [found] = yield* Stream.runCollect(store.resources(Effect.fail))
    return found === undefined ? undefined : Option.getOrUndefined(yield* store.readManifest(found.resource))
  }).pipe(Effect.orDie, Effect.runSync)

describe("a 206 without validators", () => {
  it.effect("to If-Range causes one request without it for each representation (§15.3.7)", () =>
    Effect.gen(function*() {
      const site = yield* start()
      site.answer("/a", (request) => {
        const range = rangeOf(request)
        if (range === undefined) return whole({ "last-modified": LAST_MODIFIED })
        return part(range, request.headers["if-range"] === undefined ? { "last-modified": LAST_MODIFIED } : {})
      })
      for (const index of [0, 1, 2, 3]) yield* seek(site, index)
      assert.deepStrictEqual(asked(site), [chunk(0), `${chunk(1)} if-range`, chunk(1), chunk(2), chunk(3)])
    }))

  it.effect("in all cases causes a request for the whole file, whose validators are compared", () =>
    Effect.gen(function*() {
      const site = yield* start()
      site.answer("/a", (request) => {
        const range = rangeOf(request)
        return range === undefined ? whole({ etag: "\"v1\"" }) : part(range, { "last-modified": LAST_MODIFIED })
      })
      // The first chunk is there, the rest is not.
      site.origin.handlers.set("/b", site.origin.handlers.get("/a")!)
      site.answer("/a", () => part({ start: 0, end: CHUNK_BYTES }, { etag: "\"v1\"" }))
      yield* seek(site, 0)
      site.origin.handlers.set("/a", site.origin.handlers.get("/b")!)
      const answer = yield* site.ask("/a")
      assert.isTrue(answer.body.equals(bytes))
      assert.deepStrictEqual(asked(site).slice(1), [
        `bytes=${CHUNK_BYTES}-${SIZE - 1} if-range`,
        `bytes=${CHUNK_BYTES}-${SIZE - 1}`,
        "whole"
      ])
    }))

  it.effect("does not hide that the file has changed", () =>
    Effect.gen(function*() {
      const site = yield* start()
      let current = bytes
      site.answer("/a", (request) => {
        const range = rangeOf(request)
        const lastModified = current === bytes ? LAST_MODIFIED : "Tue, 01 Jan 2030 11:00:00 GMT"
        if (range === undefined) return whole({ "last-modified": lastModified }, current)
        const headers = request.headers["if-range"] === undefined ? { "last-modified": lastModified } : {}
        return part(range, headers, current)
      })
      yield* seek(site, 0)
      current = otherBytes
      // It is found out before the first byte, so the new file is sent.
      const answer = yield* site.ask("/a", { headers: { range: chunk(2) } })
      assert.isTrue(answer.body.equals(otherBytes.subarray(2 * CHUNK_BYTES, 3 * CHUNK_BYTES)))
    }))
})

describe("a 206 that is shorter than requested", () => {
  it.effect.each(
    [
      ["with a length", (length: number) => ({ "content-length": String(length) })],
      ["in chunks", () => ({ "transfer-encoding": "chunked" })]
    ] as const
  )("%s is followed at once by a request for the rest (§15.3.7)", ([, framing]) =>
    Effect.gen(function*() {
      const site = yield* start()
      const cap = 10_000
      site.answer("/a", (request) => {
        const { end, start } = rangeOf(request) ?? { start: 0, end: SIZE }
        const range = { start, end: Math.min(start + cap, end) }
        return part(range, { etag: "\"v1\"", ...framing(range.end - range.start) })
      })
      // The clock of the test stands still: a pause would never end.
      const answer = yield* site.ask("/a", { headers: { range: "bytes=0-" } })
      assert.isTrue(answer.body.equals(bytes))
      const starts = asked(site).map((range) => Number(/\d+/.exec(range)![0]))
      assert.deepStrictEqual(starts, starts.toSorted((a, b) => a - b))
      assert.isAtMost(starts.length, Math.ceil(SIZE / cap) + 1)
    }))

  it.effect("still fails if it breaks off before its own end", () =>
    Effect.gen(function*() {
      const site = yield* start()
      let broken = 0
      site.answer("/a", () => part({ start: 0, end: CHUNK_BYTES }, { etag: "\"v1\"" }))
      yield* seek(site, 0)
      site.origin.handlers.set("/a", (request, response) => {
        const range = rangeOf(request)!
        const { body, headers } = part(range, { etag: "\"v1\"" })
        response.writeHead(206, { ...headers as Record<string, string>, "transfer-encoding": "chunked" })
        broken += 1
        response.end(broken > 2 ? body : bytes.subarray(range.start, range.start + 100))
      })
      const answer = yield* withTime(site.ask("/a"))
      assert.isTrue(answer.body.equals(bytes))
      assert.strictEqual(broken, 3)
    }))
})

describe("an origin that does not announce ranges", () => {
  it.effect.each(["GET", "HEAD"])("is asked for a range after a %s (§14.3)", (method) =>
    Effect.gen(function*() {
      const site = yield* start()
      const big = { "content-length": String(SIZE), "etag": "\"v1\"" }
      let gone = Promise.resolve()
      site.origin.handlers.set("/a", (request, response) => {
        const range = rangeOf(request)
        if (range !== undefined) {
          const { body, headers, status } = part(range, { etag: "\"v1\"" })
          return void response.writeHead(status!, headers as Record<string, string>).end(body)
        }
        response.writeHead(200, { ...maxAge(60), ...big })
        if (request.method === "HEAD") return void response.end()
        // It breaks off, so that the rest is missing.
        response.write(bytes.subarray(0, 1000))
        gone = new Promise((resolve) => response.on("close", resolve))
        setImmediate(() => response.destroy())
      })
      yield* method === "HEAD"
        ? site.ask("/a", { method })
        : Effect.exit(withTime(site.ask("/a", { headers: { range: "bytes=0-999" } })))
      yield* Effect.promise(() => gone)
      site.origin.reset()
      yield* seek(site, 2)
      assert.deepStrictEqual(asked(site)[0]!.split(" ")[0], chunk(2))
    }))

  it.effect("is remembered not to support them if it ignores Range, also after a restart", () =>
    Effect.gen(function*() {
      const store = yield* ChunkStore
      const { origin } = yield* start()
      const first = yield* start({ before: { origin, store } })
      first.answer("/a", () => whole({ etag: "\"v1\"" }))
      yield* seek(first, 2)
      // Chunks before the one that is wanted are kept as well; the manifest is written with the first of them.
      yield* until("the manifest", () => manifestOf(store)?.ranges === "none")
      const second = yield* start({ before: { origin, store } })
      origin.reset()
      yield* Effect.forEach([0, 1, 2], (index) => seek(second, index))
      assert.isTrue(asked(second).every((range) => range === "whole"))
    }).pipe(Effect.provide(ChunkStore.layerMemory)))
})
