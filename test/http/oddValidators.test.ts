import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { TestClock } from "effect/testing"
import type { IncomingMessage } from "node:http"
import { story } from "../support/cacheStatus.ts"
import { bytes, maxAge, otherBytes, type Site, start, withTime } from "./Site.ts"
import { CHUNK_BYTES } from "./TestProxy.ts"

const BYPASS = "spillway; fwd=bypass; detail=NO_VALIDATOR"

describe("a file that has just been written", () => {
  const validators: ReadonlyArray<readonly [string, (site: Site) => Record<string, string>]> = [
    ["Last-Modified alone", (site) => ({ "last-modified": site.at(0) })],
    ["a weak ETag", (site) => ({ "etag": "W/\"v1\"", "last-modified": site.at(0) })],
    ["a Last-Modified that is slightly ahead", (site) => ({ "last-modified": site.at(1) })]
  ]

  it.effect.each(validators)(
    "with %s is stored at once, as bytes of one transfer",
    ([, fields]) =>
      Effect.gen(function*() {
        const site = yield* start()
        const { ask, file, seen } = site
        file("/a", { etag: undefined!, lastModified: undefined!, headers: { ...maxAge(60), ...fields(site) } })
        const first = yield* ask("/a")
        assert.isTrue(first.body.equals(bytes))
        assert.strictEqual(story(first.headers), "spillway; fwd=uri-miss; stored")
        yield* TestClock.adjust("2 seconds")
        assert.strictEqual(story((yield* ask("/a")).headers), "spillway; hit")
        assert.strictEqual(seen("/a").length, 1)
      })
  )

  it.effect("is remembered as such for its time, and viewers don't wait for each other", () =>
    Effect.gen(function*() {
      const { ask, at, file, seen } = yield* start()
      file("/a", { etag: undefined!, lastModified: at(0) })
      yield* ask("/a", { headers: { range: "bytes=0-9" } })
      yield* TestClock.adjust("900 millis")
      const before = seen("/a").length
      yield* ask("/a", { headers: { range: "bytes=0-9" } })
      assert.deepStrictEqual(seen("/a").slice(before).map(({ headers }) => headers["range"]), ["bytes=0-9"])
    }))

  it.effect("replaces the stored version at once", () =>
    Effect.gen(function*() {
      const { ask, at, file } = yield* start()
      file("/a", { etag: undefined!, lastModified: at(-1000), headers: maxAge(1) })
      yield* ask("/a")
      yield* TestClock.adjust("5 seconds")
      file("/a", { bytes: otherBytes, etag: undefined!, lastModified: at(5), headers: maxAge(60) })
      const first = yield* ask("/a")
      assert.isTrue(first.body.equals(otherBytes))
      assert.strictEqual(story(first.headers), "spillway; fwd=stale; stored")
      assert.isTrue((yield* ask("/a")).body.equals(otherBytes))
      assert.strictEqual(story((yield* ask("/a")).headers), "spillway; hit")
    }))
})

describe("a Last-Modified that is not an HTTP-date", () => {
  const dates: ReadonlyArray<readonly [string, (at: Site["at"]) => string]> = [
    ["RFC 850", () => "Saturday, 01-Jan-28 12:00:00 GMT"],
    ["asctime", () => "Sat Jan  1 12:00:00 2028"],
    ["in UTC", () => "Sat, 01 Jan 2028 12:00:00 UTC"],
    ["with an offset", () => "Sat, 01 Jan 2028 13:00:00 +0100"],
    ["without a zone", () => "Sat, 01 Jan 2028 12:00:00"],
    ["with a day of one digit", () => "Sat, 1 Jan 2028 12:00:00 GMT"],
    ["in lower case", () => "sat, 01 jan 2028 12:00:00 gmt"],
    ["in ISO 8601", () => "2028-01-01T12:00:00Z"],
    ["in another language", () => "sam., 01 janv. 2028 12:00:00 GMT"],
    ["in seconds", () => "1830340800"],
    ["two hours ahead", (at) => at(7200)]
  ]

  it.effect.each(dates)("%s is compared and sent back unchanged", ([, dateOf]) =>
    Effect.gen(function*() {
      const { ask, at, file, origin, seen } = yield* start()
      const lastModified = dateOf(at)
      file("/a", { etag: undefined!, lastModified })
      yield* ask("/a", { headers: { range: `bytes=0-${CHUNK_BYTES - 1}` } })
      const whole = yield* ask("/a")
      assert.isTrue(whole.body.equals(bytes))
      assert.strictEqual(whole.headers["last-modified"], lastModified)
      assert.strictEqual(seen("/a").at(-1)!.headers["if-range"], lastModified)
      const mine = { "if-modified-since": lastModified }
      assert.strictEqual((yield* ask("/a", { headers: mine })).status, 304)
      const part = yield* ask("/a", { headers: { "range": "bytes=5-9", "if-range": lastModified } })
      assert.strictEqual(part.status, 206)
      const sent = origin.bodyBytes()
      yield* TestClock.adjust("3601 seconds")
      assert.strictEqual(story((yield* ask("/a")).headers), "spillway; fwd=stale; fwd-status=304")
      assert.strictEqual(seen("/a").at(-1)!.headers["if-modified-since"], lastModified)
      assert.strictEqual(origin.bodyBytes(), sent)
    }))

  it.effect("is another version when it changes", () =>
    Effect.gen(function*() {
      const { ask, file } = yield* start()
      file("/a", { etag: undefined!, lastModified: "Sat, 01 Jan 2028 12:00:00 UTC" })
      yield* ask("/a")
      yield* TestClock.adjust("61 seconds")
      file("/a", { bytes: otherBytes, etag: undefined!, lastModified: "Sat, 01 Jan 2028 12:00:01 UTC" })
      assert.isTrue((yield* ask("/a")).body.equals(otherBytes))
    }))
})

/** An origin like WEBrick: no validators with a 206, or not those that come with the whole. */
const serveBlankParts = (
  site: Site,
  body: Buffer,
  lastModified: string,
  ofParts: Record<string, string> = {},
  ofWhole: Record<string, string> = { etag: "0abc" }
): void =>
  site.answer("/a", (request: IncomingMessage) => {
    const { "if-modified-since": since, "if-none-match": etag } = request.headers
    const isSame = etag === undefined ? since === lastModified : etag === ofWhole["etag"]
    if (isSame && request.headers.range === undefined) {
      return { status: 304, headers: maxAge(60) }
    }
    const match = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? "")
    if (match === null) return { headers: { ...maxAge(60), "last-modified": lastModified, ...ofWhole }, body }
    const [first, last] = [Number(match[1]), match[2] === "" ? body.length - 1 : Number(match[2])]
    return {
      status: 206,
      headers: { "content-range": `bytes ${first}-${last}/${body.length}`, ...ofParts },
      body: body.subarray(first, last + 1)
    }
  })

describe("a part without the validator of the whole", () => {
  const lacking: ReadonlyArray<readonly [string, Record<string, string>, Record<string, string>]> = [
    ["none", {}, {}],
    ["an ETag without quotes", { "etag": "0abc" }, { "etag": "0abc" }],
    ["a weak ETag", { "etag": "W/\"v1\"" }, {}],
    ["the date alone", { "last-modified": "Tue, 01 Jan 2030 11:43:20 GMT" }, { "etag": "\"v1\"" }]
  ]

  it.effect.each(lacking)(
    "(%s) causes the whole file to be revalidated, which stays in use",
    ([, ofParts, ofWhole]) =>
      Effect.gen(function*() {
        const site = yield* start()
        const { ask, at, origin } = site
        serveBlankParts(site, bytes, at(-1000), ofParts, ofWhole)
        yield* ask("/a")
        yield* TestClock.adjust("61 seconds")
        const range = `bytes=${CHUNK_BYTES}-${CHUNK_BYTES + 9}`
        const part = yield* ask("/a", { headers: { range } })
        assert.strictEqual(part.status, 206)
        assert.isTrue(part.body.equals(bytes.subarray(CHUNK_BYTES, CHUNK_BYTES + 10)))
        assert.strictEqual(story(part.headers), "spillway; fwd=stale; fwd-status=304")
        assert.strictEqual(story((yield* ask("/a")).headers), "spillway; hit")
        yield* TestClock.adjust("61 seconds")
        yield* origin.close
        const stale = yield* withTime(ask("/a", { headers: { range } }))
        assert.strictEqual(story(stale.headers), "spillway; hit; detail=ORIGIN_UNREACHABLE")
      })
  )

  it.effect("of a changed file is taken from the new one", () =>
    Effect.gen(function*() {
      const site = yield* start()
      const { ask, at } = site
      serveBlankParts(site, bytes, at(-1000))
      yield* ask("/a")
      yield* TestClock.adjust("61 seconds")
      serveBlankParts(site, otherBytes, at(10))
      const part = yield* ask("/a", { headers: { range: "bytes=10-19" } })
      assert.strictEqual(part.status, 206)
      assert.isTrue(part.body.equals(otherBytes.subarray(10, 20)))
    }))

  it.effect("does not prevent the whole file from being stored", () =>
    Effect.gen(function*() {
      const site = yield* start()
      const { ask, at } = site
      serveBlankParts(site, bytes, at(-1000))
      const part = yield* ask("/a", { headers: { range: "bytes=0-9" } })
      assert.strictEqual(story(part.headers), BYPASS)
      assert.isTrue(part.body.equals(bytes.subarray(0, 10)))
      yield* ask("/a")
      assert.strictEqual(story((yield* ask("/a")).headers), "spillway; hit")
    }))

  it.effect("is requested once for each viewer, and not widened again", () =>
    Effect.gen(function*() {
      const site = yield* start()
      const { ask, at, seen } = site
      serveBlankParts(site, bytes, at(-1000))
      yield* ask("/a", { headers: { range: "bytes=0-9" } })
      const before = seen("/a").length
      for (const range of ["bytes=0-9", "bytes=20-29"]) yield* ask("/a", { headers: { range } })
      assert.deepStrictEqual(seen("/a").slice(before).map(({ headers }) => headers["range"]), [
        "bytes=0-9",
        "bytes=20-29"
      ])
    }))
})

describe("a stored file whose origin answers without a validator or a length", () => {
  it.effect.each([["validator", {}], ["length", { "etag": "\"v2\"", "transfer-encoding": "chunked" }]] as const)(
    "is used without the %s when the origin fails",
    ([, fields]) =>
      Effect.gen(function*() {
        const { answer, ask, file, origin } = yield* start()
        file("/a")
        yield* ask("/a")
        yield* TestClock.adjust("61 seconds")
        answer("/a", () => ({ headers: fields, body: "other" }))
        assert.strictEqual((yield* ask("/a")).body.toString(), "other")
        yield* origin.close
        const stale = yield* withTime(ask("/a"))
        assert.isTrue(stale.body.equals(bytes))
        assert.strictEqual(story(stale.headers), "spillway; hit; detail=ORIGIN_UNREACHABLE")
      })
  )
})
