import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { TestClock } from "effect/testing"
import type { IncomingHttpHeaders } from "node:http"
import { ChunkStore } from "../../src/services/disk/ChunkStore.ts"
import { story } from "../support/cacheStatus.ts"
import { type Applied, decode, encode } from "../support/codings.ts"
import { makeTestOrigin } from "../support/TestOrigin.ts"
import { makeGate, maxAge, type Site, SIZE, start, until, withTime } from "./Site.ts"
import { ask, CHUNK_BYTES } from "./TestProxy.ts"

/** Content codings (RFC 9110 §8.4, §12.5.3). */

const text = (version: number): Buffer => Buffer.from(`version ${version} of a text\n`.repeat(500))

/** How an origin codes a text. */
interface Coder {
  /** The codings that it can apply, the one that it likes best first. */
  readonly codings?: ReadonlyArray<Applied>
  readonly vary?: string | undefined
  /** The `ETag` of version 1 in each coding. */
  readonly etag?: (coding: string, version: number) => string | undefined
  readonly cacheControl?: string
  readonly version?: number
  readonly opened?: Promise<void>
}

/** Each coding has a strong validator of its own, as with Apache, or files that were coded beforehand. */
const suffixed = (coding: string, version: number): string => `"${version}${coding === "identity" ? "" : `-${coding}`}"`

/** What is coded has a weak validator, as with nginx. */
const weakened = (coding: string, version: number): string => `${coding === "identity" ? "" : "W/"}"${version}"`

/** Has the origin answer `/a` with a text, coded as the request accepts. */
const serve = (
  { answer }: Site,
  {
    cacheControl = "max-age=60",
    codings = ["zstd", "br", "gzip"],
    etag = suffixed,
    opened = Promise.resolve(),
    vary = "Accept-Encoding",
    version = 1
  }: Coder = {}
): void =>
  answer("/a", async ({ headers }) => {
    await opened
    const accepted = String(headers["accept-encoding"]).split(/[\s,]+/)
    const coding = codings.find((coding) => accepted.includes(coding))
    const tag = etag(coding ?? "identity", version)
    const fields = {
      "cache-control": cacheControl,
      ...(vary !== "" && { vary }),
      ...(tag !== undefined && { etag: tag }),
      "content-type": "text/plain"
    }
    if (tag !== undefined && headers["if-none-match"] === tag) return { status: 304, headers: fields }
    return {
      headers: { ...fields, ...(coding !== undefined && { "content-encoding": coding }) },
      body: encode(coding, text(version))
    }
  })

const accepting = (field: string | undefined, more: Record<string, string> = {}) => ({
  headers: { ...more, ...(field !== undefined && { "accept-encoding": field }) }
})

/** Asks for `/a`, and checks that the viewer can decode version `version`. Returns the coding and what the cache did. */
const view = (site: Site, accepted: string | undefined, version = 1): Effect.Effect<string, Error> =>
  Effect.map(site.ask("/a", accepting(accepted)), ({ body, headers, status }) => {
    assert.strictEqual(status, 200)
    assert.isTrue(decode(headers, body, accepted ?? "").equals(text(version)))
    return `${headers["content-encoding"] ?? "identity"} ${story(headers)}`
  })

const sent = (site: Site): ReadonlyArray<IncomingHttpHeaders[string]> =>
  site.seen("/a").map(({ headers }) => headers["accept-encoding"])

const HIT = "spillway; hit"
const MISS = "spillway; fwd=uri-miss; stored"
const OTHER = "spillway; fwd=vary-miss; stored"

describe("a coded response", () => {
  it.effect("is stored, and selected by the codings that the viewer accepts (RFC 9111 §4.1)", () =>
    Effect.gen(function*() {
      const site = yield* start()
      serve(site)
      assert.strictEqual(yield* view(site, "gzip"), `gzip ${MISS}`)
      assert.strictEqual(yield* view(site, undefined), `identity ${OTHER}`)
      assert.strictEqual(yield* view(site, "gzip, deflate, br"), `br ${OTHER}`)
      assert.strictEqual(yield* view(site, "gzip, deflate, br, zstd"), `zstd ${OTHER}`)
      const again = [
        "gzip",
        "GZIP;q=0.5",
        undefined,
        "identity",
        "",
        "br, gzip",
        "gzip;q=1, br;q=0.9",
        "zstd, br, gzip"
      ]
      const codings = yield* Effect.forEach(again, (accepted) => site.ask("/a", accepting(accepted)))
      assert.deepStrictEqual(codings.map(({ headers }) => headers["content-encoding"] ?? "identity"), [
        "gzip",
        "gzip",
        "identity",
        "identity",
        "identity",
        "br",
        "br",
        "zstd"
      ])
      for (const { headers } of codings) assert.strictEqual(story(headers), HIT)
      assert.deepStrictEqual(sent(site), ["gzip", "identity", "br, gzip", "zstd, br, gzip"])
    }))

  it.effect("is asked for with the viewer's field in a normal form, and uncoded with a range (RFC 9110 §12.5.3)", () =>
    Effect.gen(function*() {
      const site = yield* start()
      serve(site, { cacheControl: "no-cache" })
      const fields = ["deflate, gzip;q=0.1, br", "br;q=0, *", "gzip, identity;q=0", "identity;q=1, *;q=0"]
      for (const field of fields) yield* site.ask("/a", accepting(field))
      yield* site.ask("/a", accepting("gzip", { range: "bytes=0-9" }))
      assert.deepStrictEqual(sent(site), ["br, gzip", "zstd, gzip", "gzip, identity;q=0", "identity", "identity"])
    }))

  it.effect("serves viewers who accept fewer codings, of which it has one", () =>
    Effect.gen(function*() {
      const site = yield* start()
      serve(site, { codings: ["gzip"] })
      assert.strictEqual(yield* view(site, "gzip, deflate, br, zstd"), `gzip ${MISS}`)
      assert.strictEqual(yield* view(site, "gzip"), `gzip ${HIT}`)
      assert.strictEqual(yield* view(site, "zstd"), `identity ${OTHER}`)
      assert.strictEqual(yield* view(site, "br"), `identity ${OTHER}`)
      assert.strictEqual(yield* view(site, undefined), `identity ${HIT}`)
    }))

  it.effect("is told apart although its origin sends no Vary, and viewers get the field (RFC 9110 §12.5.5)", () =>
    Effect.gen(function*() {
      const site = yield* start()
      serve(site, { vary: "" })
      for (let i = 0; i < 2; i++) {
        const { headers } = yield* site.ask("/a", accepting("gzip"))
        assert.strictEqual(headers["vary"], "Accept-Encoding")
      }
      assert.strictEqual(yield* view(site, undefined), `identity ${OTHER}`)
      assert.strictEqual(yield* view(site, "gzip"), `gzip ${HIT}`)
      assert.strictEqual(yield* view(site, undefined), `identity ${HIT}`)
    }))

  it.effect("is one for each language too", () =>
    Effect.gen(function*() {
      const site = yield* start()
      site.answer("/a", ({ headers }) => {
        const coding = headers["accept-encoding"] === "gzip" ? "gzip" as const : undefined
        const language = String(headers["accept-language"])
        return {
          headers: {
            ...maxAge(60),
            "vary": "Accept-Language, Accept-Encoding",
            "etag": `"${language} ${coding}"`,
            ...(coding && { "content-encoding": coding })
          },
          body: encode(coding, Buffer.from(`in ${language}`))
        }
      })
      for (let i = 0; i < 2; i++) {
        for (const language of ["de", "fr"]) {
          for (const field of ["gzip", "identity"]) {
            const { body, headers } = yield* site.ask("/a", accepting(field, { "accept-language": language }))
            assert.strictEqual(decode(headers, body, field).toString(), `in ${language}`)
            if (i === 1) assert.strictEqual(story(headers), HIT)
          }
        }
      }
    }))

  it.effect("is not said to have ranges, which are those of the file itself", () =>
    Effect.gen(function*() {
      const site = yield* start()
      serve(site)
      assert.notProperty((yield* site.ask("/a", accepting("gzip"))).headers, "accept-ranges")
      const { body, headers, status } = yield* site.ask("/a", accepting("gzip", { range: "bytes=10-19" }))
      assert.strictEqual(status, 206)
      assert.notProperty(headers, "content-encoding")
      assert.strictEqual(headers["accept-ranges"], "bytes")
      assert.isTrue(body.equals(text(1).subarray(10, 20)))
    }))

  it.effect("is revalidated in its own coding, by its own validator (RFC 9111 §4.3.1)", () =>
    Effect.gen(function*() {
      const site = yield* start()
      serve(site, { etag: weakened })
      for (const accepted of ["gzip", "gzip, br", undefined]) yield* view(site, accepted)
      yield* TestClock.adjust("61 seconds")
      assert.strictEqual(yield* view(site, "gzip, br"), "br spillway; fwd=stale; fwd-status=304")
      assert.strictEqual(yield* view(site, "gzip"), "gzip spillway; fwd=stale; fwd-status=304")
      assert.strictEqual(yield* view(site, undefined), "identity spillway; fwd=stale; fwd-status=304")
      const asked = site.seen("/a").slice(-3).map((
        { headers }
      ) => [headers["accept-encoding"], headers["if-none-match"]])
      assert.deepStrictEqual(asked, [["br", "W/\"1\""], ["gzip", "W/\"1\""], ["identity", "\"1\""]])
    }))

  it.effect("is replaced by what the origin sends instead, in any coding that the viewer accepts", () =>
    Effect.gen(function*() {
      const site = yield* start()
      serve(site)
      assert.strictEqual(yield* view(site, "gzip"), `gzip ${MISS}`)
      serve(site, { codings: [], version: 2 })
      yield* TestClock.adjust("61 seconds")
      assert.strictEqual(yield* view(site, "gzip", 2), "identity spillway; fwd=stale; stored")
      assert.strictEqual(yield* view(site, "gzip", 2), `identity ${HIT}`)
      serve(site, { version: 3 })
      yield* TestClock.adjust("61 seconds")
      assert.strictEqual(yield* view(site, "gzip", 3), "gzip spillway; fwd=stale; stored")
      assert.strictEqual(yield* view(site, "gzip", 3), `gzip ${HIT}`)
    }))

  it.effect("is not confirmed by a 304 with the validator of another coding (RFC 9111 §4.3.4)", () =>
    Effect.gen(function*() {
      const site = yield* start()
      serve(site)
      yield* view(site, "gzip")
      yield* TestClock.adjust("61 seconds")
      site.answer("/a", ({ headers }) =>
        headers["if-none-match"] === undefined
          ? {
            headers: { ...maxAge(60), "etag": "\"2-gzip\"", "content-encoding": "gzip" },
            body: encode("gzip", text(2))
          }
          : { status: 304, headers: { ...maxAge(60), etag: "\"2\"" } })
      assert.strictEqual(yield* view(site, "gzip", 2), "gzip spillway; fwd=stale; stored")
    }))

  it.effect("answers conditions by its own validators (RFC 9110 §13.1.2)", () =>
    Effect.gen(function*() {
      const site = yield* start()
      serve(site)
      yield* view(site, "gzip")
      yield* view(site, undefined)
      const status = (accepted: string | undefined, tag: string) =>
        Effect.map(site.ask("/a", accepting(accepted, { "if-none-match": tag })), ({ status }) => status)
      assert.strictEqual(yield* status("gzip", "\"1-gzip\""), 304)
      assert.strictEqual(yield* status("gzip", "\"1\""), 200)
      assert.strictEqual(yield* status(undefined, "\"1\""), 304)
      assert.strictEqual(yield* status(undefined, "\"1-gzip\""), 200)
      assert.lengthOf(site.seen("/a"), 2)
    }))

  it.effect("is resumed by its own ETag, and never continued with the file itself (RFC 9110 §13.1.5)", () =>
    Effect.gen(function*() {
      const site = yield* start()
      serve(site)
      const whole = (yield* site.ask("/a", accepting("gzip"))).body
      yield* view(site, undefined)
      const resume = (accepted: string | undefined, tag: string) =>
        site.ask("/a", accepting(accepted, { "range": "bytes=20-", "if-range": tag }))
      const rest = yield* resume("gzip", "\"1-gzip\"")
      assert.strictEqual(rest.status, 206)
      assert.strictEqual(rest.headers["content-encoding"], "gzip")
      assert.isTrue(rest.body.equals(whole.subarray(20)))
      const file = yield* resume("gzip", "\"1\"")
      assert.strictEqual(file.status, 206)
      assert.notProperty(file.headers, "content-encoding")
      assert.isTrue(file.body.equals(text(1).subarray(20)))
      for (const [accepted, tag] of [[undefined, "\"1-gzip\""], ["br", "\"1-gzip\""], ["gzip", "\"1-br\""]] as const) {
        const other = yield* resume(accepted, tag)
        assert.strictEqual(other.status, 200)
        assert.isTrue(decode(other.headers, other.body, accepted ?? "").equals(text(1)))
      }
    }))

  it.effect("without a strong ETag is not resumed by its date (RFC 9110 §8.8.2.2)", () =>
    Effect.gen(function*() {
      const site = yield* start()
      const modified = site.at(-1000)
      site.answer("/a", () => ({
        headers: { ...maxAge(60), "last-modified": modified, "content-encoding": "gzip", vary: "Accept-Encoding" },
        body: encode("gzip", text(1))
      }))
      yield* view(site, "gzip")
      const { headers, status } = yield* site.ask(
        "/a",
        accepting("gzip, identity;q=0", { "range": "bytes=20-", "if-range": modified })
      )
      assert.deepStrictEqual([status, headers["content-encoding"]], [200, "gzip"])
    }))

  it.effect("is described by HEAD as it is, or as the origin says (RFC 9110 §9.3.2)", () =>
    Effect.gen(function*() {
      const site = yield* start()
      serve(site)
      const describe = (accepted: string | undefined) =>
        Effect.map(site.ask("/a", { ...accepting(accepted), method: "HEAD" }), ({ headers }) => [
          headers["content-encoding"],
          headers["etag"]
        ])
      assert.deepStrictEqual(yield* describe("gzip"), ["gzip", "\"1-gzip\""])
      yield* view(site, "gzip")
      yield* view(site, undefined)
      const requests = site.seen("/a").length
      assert.deepStrictEqual(yield* describe("gzip"), ["gzip", "\"1-gzip\""])
      assert.deepStrictEqual(yield* describe(undefined), [undefined, "\"1\""])
      assert.lengthOf(site.seen("/a"), requests)
    }))

  it.effect("is described by HEAD without choosing a coding for GET, which origins apply to bodies only", () =>
    Effect.gen(function*() {
      const site = yield* start()
      serve(site)
      yield* view(site, undefined)
      serve(site, { codings: [] })
      assert.strictEqual((yield* site.ask("/a", { ...accepting("gzip"), method: "HEAD" })).status, 200)
      serve(site)
      assert.strictEqual(yield* view(site, "gzip"), `gzip ${OTHER}`)
    }))

  it.effect("is not used for only-if-cached unless it is the viewer's (RFC 9111 §5.2.1.7)", () =>
    Effect.gen(function*() {
      const site = yield* start()
      serve(site)
      yield* view(site, "gzip")
      const status = (accepted: string | undefined) =>
        Effect.map(
          site.ask("/a", accepting(accepted, { "cache-control": "only-if-cached" })),
          ({ status }) => status
        )
      assert.strictEqual(yield* status("gzip"), 200)
      assert.strictEqual(yield* status(undefined), 504)
      assert.strictEqual(yield* status("br, gzip"), 504)
      assert.lengthOf(site.seen("/a"), 1)
    }))

  it.effect("stands in for another coding only if the origin fails, and the viewer accepts it (RFC 9111 §4.2.4)", () =>
    Effect.gen(function*() {
      const site = yield* start()
      serve(site)
      yield* view(site, "gzip")
      yield* site.origin.close
      assert.strictEqual(yield* view(site, "br, gzip"), "gzip spillway; hit; detail=ORIGIN_UNREACHABLE")
      const other = yield* withTime(site.ask("/a", accepting("br")))
      assert.strictEqual(other.status, 502)
    }))

  it.effect("is invalidated in all codings (RFC 9111 §4.4)", () =>
    Effect.gen(function*() {
      const site = yield* start()
      serve(site)
      for (const accepted of ["gzip", "br", undefined]) yield* view(site, accepted)
      yield* site.ask("/a", { method: "POST" })
      serve(site, { version: 2 })
      for (const accepted of ["gzip", "br", undefined]) {
        assert.match(yield* view(site, accepted, 2), /fwd=stale; stored$/)
        assert.match(yield* view(site, accepted, 2), /hit$/)
      }
    }))

  it.effect("is fetched once for viewers who accept the same at the same time", () =>
    Effect.gen(function*() {
      const site = yield* start()
      const gate = makeGate()
      serve(site, { opened: gate.opened })
      const fields = ["gzip", "gzip;q=0.5", undefined, "gzip", "identity", "br", "x-gzip"]
      const viewers = yield* Effect.forEach(fields, (field) => Effect.forkChild(ask(site.url, "/a", accepting(field))))
      yield* until("the requests", () => site.seen("/a").length === 3)
      site.file("/ping")
      yield* site.ask("/ping")
      gate.open()
      for (const [i, viewer] of viewers.entries()) {
        const { body, headers } = yield* Fiber.join(viewer)
        assert.isTrue(decode(headers, body, (fields[i] ?? "").replace("x-", "").replace(/;.*/, "")).equals(text(1)))
      }
      assert.sameMembers([...sent(site)], ["gzip", "identity", "br"])
    }))
})

describe("an origin that begins to code", () => {
  const triggers: ReadonlyArray<readonly [string, Parameters<Site["ask"]>[1]]> = [
    ["a 304", { headers: { "cache-control": "no-cache" } }],
    ["a whole file", { headers: { "accept-encoding": "gzip", "cache-control": "no-cache" } }],
    ["a HEAD", { method: "HEAD", headers: { "accept-encoding": "gzip", "cache-control": "no-cache" } }]
  ]
  it.effect.each(triggers)(
    "is noticed in the response to %s, although the stored response is fresh",
    ([, request]) =>
      Effect.gen(function*() {
        const site = yield* start()
        serve(site, { codings: [], vary: "", cacheControl: "max-age=3600" })
        yield* view(site, "gzip")
        assert.strictEqual(yield* view(site, "gzip"), `identity ${HIT}`)
        serve(site, { cacheControl: "max-age=3600" })
        yield* site.ask("/a", request)
        const first = yield* view(site, "gzip")
        assert.match(first, /^gzip/)
        assert.strictEqual(yield* view(site, "gzip"), `gzip ${HIT}`)
        assert.strictEqual(yield* view(site, undefined), `identity ${HIT}`)
      })
  )

  it.effect("is noticed in a part of the file", () =>
    Effect.gen(function*() {
      const site = yield* start()
      site.file("/a")
      yield* site.ask("/a", { headers: { range: "bytes=0-9" } })
      site.file("/a", { headers: { ...maxAge(60), vary: "accept-encoding" } })
      yield* site.ask("/a", { headers: { range: `bytes=${2 * CHUNK_BYTES}-` } })
      const before = site.seen("/a").length
      yield* site.ask("/a", accepting("gzip"))
      assert.strictEqual(site.seen("/a")[before]?.headers["accept-encoding"], "gzip")
    }))
})

describe("a field of Vary that a 304 brings", () => {
  it.effect("selects variants from then on (RFC 9111 §4.1)", () =>
    Effect.gen(function*() {
      const { answer, ask } = yield* start()
      let vary: Record<string, string> = {}
      answer("/a", ({ headers }) => {
        const fields = { ...maxAge(60), ...vary, etag: "\"v1\"" }
        if (headers["if-none-match"] === "\"v1\"") return { status: 304, headers: fields }
        return { headers: fields, body: `for ${headers["accept-language"]}` }
      })
      const as = (language: string, more = {}) => ask("/a", { headers: { "accept-language": language, ...more } })
      yield* as("de")
      vary = { vary: "accept-language" }
      yield* as("de", { "cache-control": "no-cache" })
      assert.strictEqual((yield* as("fr")).body.toString(), "for fr")
    }))
})

describe("after a restart", () => {
  it.effect("viewers get the codings that they got before (RFC 9111 §4.1)", () =>
    Effect.gen(function*() {
      const store = yield* Effect.provide(ChunkStore, ChunkStore.layerMemory)
      const origin = yield* makeTestOrigin
      const before = { origin, store }
      yield* Effect.scoped(Effect.gen(function*() {
        const site = yield* start({ before })
        serve(site, { codings: ["gzip"] })
        for (const accepted of [undefined, "br, gzip"]) yield* view(site, accepted)
      }))
      const site = yield* start({ before })
      assert.strictEqual(yield* view(site, "gzip"), `gzip ${HIT}`)
      assert.strictEqual(yield* view(site, "br, gzip"), `gzip ${HIT}`)
      assert.strictEqual(yield* view(site, undefined), `identity ${HIT}`)
      assert.strictEqual(yield* view(site, "br"), `identity ${OTHER}`)
    }))

  it.effect("an uncoded response is still for the codings that the origin chose it for", () =>
    Effect.gen(function*() {
      const store = yield* Effect.provide(ChunkStore, ChunkStore.layerMemory)
      const origin = yield* makeTestOrigin
      const before = { origin, store }
      yield* Effect.scoped(Effect.gen(function*() {
        const site = yield* start({ before })
        serve(site, { codings: ["br"] })
        yield* view(site, "gzip")
      }))
      const site = yield* start({ before })
      assert.strictEqual(yield* view(site, "gzip"), `identity ${HIT}`)
      assert.strictEqual(yield* view(site, "br, gzip"), `br ${OTHER}`)
    }))
})

describe("an uncoded response", () => {
  it.effect("is one for all viewers, unless the origin says that it depends on Accept-Encoding", () =>
    Effect.gen(function*() {
      const site = yield* start()
      site.file("/a")
      const keys = new Set<string>()
      for (const field of [undefined, "gzip", "identity;q=1, *;q=0", "br, gzip", "zstd"]) {
        const { headers } = yield* site.ask("/a", accepting(field))
        keys.add(/key="(.*)"/.exec(String(headers["cache-status"]))![1]!)
      }
      assert.strictEqual(keys.size, 1)
      assert.lengthOf(site.seen("/a"), 1)
    }))

  it.effect("is stored once although the origin says so, and confirmed once for viewers who accept more", () =>
    Effect.gen(function*() {
      const site = yield* start()
      site.file("/a", { headers: { ...maxAge(60), vary: "Accept-Encoding" } })
      const keys = new Set<string>()
      const look = (field: string | undefined, more: Record<string, string> = {}) =>
        Effect.map(site.ask("/a", accepting(field, more)), ({ headers }) => {
          keys.add(/key="(.*)"/.exec(String(headers["cache-status"]))![1]!)
          return story(headers)
        })
      assert.strictEqual(yield* look("identity;q=1, *;q=0", { range: "bytes=0-" }), MISS)
      assert.strictEqual(yield* look("gzip, deflate, br, zstd"), OTHER)
      assert.strictEqual(site.seen("/a")[1]!.headers["if-none-match"], undefined)
      for (const field of ["gzip", "br", "gzip, br", undefined, "*"]) assert.strictEqual(yield* look(field), HIT)
      assert.strictEqual(yield* look("gzip", { range: `bytes=${CHUNK_BYTES}-` }), HIT)
      assert.strictEqual(keys.size, 1)
      assert.lengthOf(site.seen("/a"), 2)
      yield* TestClock.adjust("61 seconds")
      assert.strictEqual(yield* look("gzip"), "spillway; fwd=stale; fwd-status=304")
      assert.strictEqual(yield* look(undefined), HIT)
    }))

  it.effect("does not replace a coded one that the viewer accepts", () =>
    Effect.gen(function*() {
      const site = yield* start()
      serve(site)
      yield* view(site, undefined)
      assert.strictEqual(yield* view(site, "gzip"), `gzip ${OTHER}`)
      yield* site.ask("/a", accepting("gzip", { range: "bytes=0-9" }))
      assert.strictEqual(yield* view(site, "gzip"), `gzip ${HIT}`)
    }))

  it.effect("is not served to who refuses it, unless the origin sends it all the same (RFC 9110 §12.5.3)", () =>
    Effect.gen(function*() {
      const site = yield* start()
      serve(site, { vary: "" })
      yield* view(site, undefined)
      assert.strictEqual(yield* view(site, "gzip, identity;q=0"), `gzip ${MISS}`)
      const part = yield* site.ask("/a", accepting("gzip, identity;q=0", { range: "bytes=0-9" }))
      assert.deepStrictEqual([part.status, part.headers["content-encoding"]], [206, "gzip"])
      assert.strictEqual(yield* view(site, "identity;q=0"), `identity ${OTHER}`)
      assert.strictEqual(yield* view(site, "identity;q=0"), `identity ${HIT}`)
    }))

  it.effect("is stored in place of a coded one that is uncacheable", () =>
    Effect.gen(function*() {
      const site = yield* start()
      site.answer("/a", ({ headers }) => {
        const isCoded = String(headers["accept-encoding"]).includes("gzip")
        return isCoded
          // Coded while it is sent, so that it has no length, and nothing says that it is fresh.
          ? {
            headers: { "content-encoding": "gzip", "transfer-encoding": "chunked" },
            body: encode("gzip", site.origin.files.get("/b")!.bytes)
          }
          : { headers: { ...maxAge(60), etag: "\"1\"" }, body: site.origin.files.get("/b")!.bytes }
      })
      site.file("/b")
      const look = Effect.map(site.ask("/a", accepting("gzip")), ({ body, headers }) => {
        assert.lengthOf(decode(headers, body, "gzip"), SIZE)
        return story(headers)
      })
      assert.strictEqual(yield* look, "spillway; fwd=bypass; detail=NO_LENGTH")
      assert.strictEqual(yield* look, MISS)
      assert.strictEqual(yield* look, HIT)
      assert.deepStrictEqual(sent(site), ["gzip", "identity"])
    }))
})

describe("a coding that is not stored", () => {
  const unknown = ["deflate", "compress", "aws-chunked", "gzip, gzip", "br, gzip"]

  it.effect.each(unknown)("is passed on as it is: %s (RFC 9110 §8.4)", (coding) =>
    Effect.gen(function*() {
      const site = yield* start()
      site.answer("/a", () => ({
        headers: { ...maxAge(60), "etag": "\"1\"", "content-encoding": coding },
        body: "coded"
      }))
      for (let i = 0; i < 3; i++) {
        const { body, headers } = yield* site.ask("/a", accepting("deflate, gzip"))
        assert.strictEqual(headers["content-encoding"], coding)
        assert.strictEqual(story(headers), "spillway; fwd=bypass; detail=ENCODED")
        assert.strictEqual(body.toString(), "coded")
      }
      // What is passed on is asked for as the viewer does.
      assert.deepStrictEqual(sent(site), ["gzip", "identity", "deflate, gzip"])
    }))

  it.effect("is not asked for by viewers of what is stored", () =>
    Effect.gen(function*() {
      const site = yield* start()
      serve(site, { codings: ["deflate"] })
      assert.strictEqual(yield* view(site, "deflate"), `identity ${MISS}`)
    }))

  it.effect("is also one that the viewer did not accept, which others still get from the cache", () =>
    Effect.gen(function*() {
      const site = yield* start()
      // As object stores do with what was uploaded coded.
      site.answer("/a", () => ({
        headers: { ...maxAge(60), "etag": "\"1\"", "content-encoding": "gzip" },
        body: encode("gzip", text(1))
      }))
      for (const field of [undefined, "br"]) {
        assert.strictEqual(
          story((yield* site.ask("/a", accepting(field))).headers),
          "spillway; fwd=bypass; detail=ENCODED"
        )
      }
      assert.strictEqual(yield* view(site, "gzip"), `gzip ${MISS}`)
      assert.strictEqual(yield* view(site, "gzip"), `gzip ${HIT}`)
      assert.strictEqual(
        story((yield* site.ask("/a")).headers),
        "spillway; fwd=bypass; detail=ENCODED"
      )
    }))
})

describe("an error page", () => {
  it.effect("that is coded is not served to a viewer who can't decode it", () =>
    Effect.gen(function*() {
      const site = yield* start()
      site.answer("/a", ({ headers }) => {
        const coding = headers["accept-encoding"] === "gzip" ? "gzip" as const : undefined
        return {
          status: 404,
          headers: { ...maxAge(60), ...(coding && { "content-encoding": coding }) },
          body: encode(coding, text(1))
        }
      })
      for (const field of ["gzip", undefined, "gzip", "br", "gzip", undefined]) {
        const { body, headers, status } = yield* site.ask("/a", accepting(field))
        assert.strictEqual(status, 404)
        assert.isTrue(decode(headers, body, field ?? "").equals(text(1)))
      }
      // Uncoded, and without `Vary`, it is for all.
      assert.deepStrictEqual(sent(site), ["gzip", "identity"])
      // What is coded by then says nothing of the file.
      serve(site, { codings: ["br"] })
      yield* TestClock.adjust("61 seconds")
      assert.strictEqual(yield* view(site, "gzip"), "identity spillway; fwd=stale; stored")
    }))
})
