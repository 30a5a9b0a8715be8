import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Layer } from "effect"
import * as Server from "../../src/http/server/Server.ts"
import { story } from "../support/cacheStatus.ts"
import { bytes, maxAge, SIZE, start } from "./Site.ts"
import { type Answer, type Ask, CHUNK_BYTES, layerHttp, layerPlainHttp } from "./TestProxy.ts"

/** Requests for a file that is in memory, some of which can be answered at once, and others cannot. */
const requests: ReadonlyArray<readonly [string, Ask]> = [
  ["the whole file", {}],
  ["a range", { headers: { range: "bytes=10-99" } }],
  ["a range across two chunks", { headers: { range: `bytes=${CHUNK_BYTES - 5}-${CHUNK_BYTES + 4}` } }],
  ["a range across three chunks", { headers: { range: `bytes=5-${2 * CHUNK_BYTES + 4}` } }],
  ["the end", { headers: { range: "bytes=-7" } }],
  ["several ranges", { headers: { range: "bytes=0-1,500-600" } }],
  ["a range that lies outside", { headers: { range: `bytes=${SIZE}-` } }],
  ["a range of this version", { headers: { "range": "bytes=0-9", "if-range": "\"v1\"" } }],
  ["a range of another version", { headers: { "range": "bytes=0-9", "if-range": "\"v0\"" } }],
  ["what the viewer has", { headers: { "if-none-match": "\"v0\", \"v1\"" } }],
  ["what the viewer has not", { headers: { "range": "bytes=0-9", "if-none-match": "\"v0\"" } }],
  ["another version only", { headers: { "if-match": "\"v0\"" } }],
  ["what is fresh enough", { headers: { "range": "bytes=0-9", "cache-control": "max-age=30, only-if-cached" } }],
  ["the origin's word", { headers: { "range": "bytes=0-9", "cache-control": "no-cache" } }],
  ["what came by other proxies", { headers: { range: "bytes=0-9", via: "1.1 a, 1.1 b" } }],
  ["with credentials", { headers: { range: "bytes=0-9", authorization: "Basic x" } }],
  ["a request with a body", { headers: { range: "bytes=0-9" }, body: "unread" }],
  ["the head", { method: "HEAD" }],
  ["another method", { method: "OPTIONS" }]
]

const ofConnection = new Set(["connection", "date", "keep-alive"])

const told = ({ body, lines, status }: Answer) => {
  // The boundary is another each time.
  const boundary = /boundary=(\S+)/.exec(lines.find(([name]) => name === "content-type")?.[1] ?? "")?.[1]
  const normal = (text: string) =>
    (boundary === undefined ? text : text.replaceAll(boundary, "BOUNDARY")).replace(/key="\w+"/, "key=KEY")
  return {
    status,
    fields: lines.filter(([name]) => !ofConnection.has(name)).map(([name, value]) => `${name}: ${normal(value)}`)
      .toSorted(),
    body: normal(body.toString("latin1"))
  }
}

const answers = (plain: boolean) =>
  Effect.gen(function*() {
    const { ask, file } = yield* start(plain ? { server: layerPlainHttp } : {})
    file("/a", { headers: maxAge(60, "public") })
    assert.isTrue((yield* ask("/a")).body.equals(bytes))
    return yield* Effect.forEach(requests, ([what, options]) =>
      Effect.map(ask("/a", options), (answer) => ({ what, ...told(answer) })))
  }).pipe(Effect.scoped)

describe("a hit", () => {
  it.effect("is the same when it is answered at once and through the platform's server", () =>
    Effect.gen(function*() {
      const atOnce = yield* answers(false)
      const plain = yield* answers(true)
      assert.deepStrictEqual(atOnce, plain)
      assert.isAbove(atOnce.filter(({ fields }) => fields.some((field) => field.includes("spillway; hit"))).length, 8)
    }))

  it.effect("is answered at once if it needs no waiting", () =>
    Effect.gen(function*() {
      const reached: Array<string | undefined> = []
      const server = Layer.tap(layerHttp, (context) => {
        const node = Context.get(context, Server.NodeServer)
        return Effect.sync(() => void node.on("request", ({ headers }) => reached.push(headers.range)))
      })
      const { ask, file } = yield* start({ server })
      file("/a")
      const ranges = ["bytes=0-9", "bytes=0-9", `bytes=${CHUNK_BYTES - 5}-${CHUNK_BYTES}`, "bytes=0-9,500-509"]
      yield* ask("/a")
      for (const range of ranges) yield* ask("/a", { headers: { range } })
      // The first request, which fetched the file, and the one that puts several parts together.
      assert.deepStrictEqual(reached, [undefined, "bytes=0-9,500-509"])
    }))
})

describe("a stored file", () => {
  it.effect("has a Content-Range of a whole file as it came, and its own in a part (RFC 9110 §14.4)", () =>
    Effect.gen(function*() {
      const { ask, file } = yield* start()
      file("/a", { headers: { ...maxAge(60), "content-range": "nonsense" } })
      for (let i = 0; i < 2; i++) assert.strictEqual((yield* ask("/a")).headers["content-range"], "nonsense")
      const part = yield* ask("/a", { headers: { range: "bytes=0-9" } })
      assert.strictEqual(part.headers["content-range"], `bytes 0-9/${SIZE}`)
    }))

  it.effect("has the same fields from the origin and from the cache", () =>
    Effect.gen(function*() {
      const { ask, at, file, seen } = yield* start()
      const own = {
        ...maxAge(60),
        "content-disposition": "inline",
        "access-control-allow-origin": "*",
        "x-own": "1",
        "link": "</b>; rel=next"
      }
      file("/a", { headers: { ...own, "alt-svc": "h3=\":443\"" } })
      for (const told of ["spillway; fwd=uri-miss; stored", "spillway; hit"]) {
        const { body, headers, status } = yield* ask("/a")
        assert.strictEqual(status, 200)
        assert.isTrue(body.equals(bytes))
        assert.strictEqual(story(headers), told)
        assert.deepInclude(headers, {
          ...own,
          "accept-ranges": "bytes",
          "content-length": String(SIZE),
          "content-type": "video/mp4",
          "etag": "\"v1\"",
          "last-modified": at(-1000)
        })
        for (const name of ["alt-svc", "content-range", "transfer-encoding"]) assert.notProperty(headers, name)
      }
      assert.strictEqual(seen("/a").length, 1)
    }))
})
