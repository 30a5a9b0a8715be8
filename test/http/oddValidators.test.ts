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
    "with %s is stored as soon as the validator is strong",
    ([, fields]) =>
      Effect.gen(function*() {
        const site = yield* start()
        const { ask, file, seen } = site
        file("/a", { etag: undefined!, lastModified: undefined!, headers: { ...maxAge(60), ...fields(site) } })
        const first = yield* ask("/a")
        assert.isTrue(first.body.equals(bytes))
        assert.strictEqual(story(first.headers), BYPASS)
        yield* TestClock.adjust("2 seconds")
        assert.include(story((yield* ask("/a")).headers), "stored")
        assert.strictEqual(story((yield* ask("/a")).headers), "spillway; hit")
        assert.strictEqual(seen("/a").length, 2)
      })
  )

  it.effect("is remembered as such while that is true, and viewers don't wait for each other", () =>
    Effect.gen(function*() {
      const { ask, at, file, seen } = yield* start()
      file("/a", { etag: undefined!, lastModified: at(0) })
      yield* ask("/a", { headers: { range: "bytes=0-9" } })
      yield* TestClock.adjust("900 millis")
      const before = seen("/a").length
      yield* ask("/a", { headers: { range: "bytes=0-9" } })
      assert.deepStrictEqual(seen("/a").slice(before).map(({ headers }) => headers["range"]), ["bytes=0-9"])
    }))

  it.effect("takes the place of the stored version one second later", () =>
    Effect.gen(function*() {
      const { ask, at, file } = yield* start()
      file("/a", { etag: undefined!, lastModified: at(-1000), headers: maxAge(1) })
      yield* ask("/a")
      yield* TestClock.adjust("5 seconds")
      file("/a", { bytes: otherBytes, etag: undefined!, lastModified: at(5), headers: maxAge(60) })
      const first = yield* ask("/a")
      assert.isTrue(first.body.equals(otherBytes))
      assert.strictEqual(story(first.headers), BYPASS)
      yield* TestClock.adjust("1 second")
      assert.isTrue((yield* ask("/a")).body.equals(otherBytes))
      assert.strictEqual(story((yield* ask("/a")).headers), "spillway; hit")
    }))
})

/** An origin like WEBrick: no validators with a 206. */
const serveBlankParts = (site: Site, body: Buffer, lastModified: string): void =>
  site.answer("/a", (request: IncomingMessage) => {
    if (request.headers["if-modified-since"] === lastModified && request.headers.range === undefined) {
      return { status: 304, headers: maxAge(60) }
    }
    const match = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? "")
    if (match === null) return { headers: { ...maxAge(60), "last-modified": lastModified, "etag": "0abc" }, body }
    const [first, last] = [Number(match[1]), match[2] === "" ? body.length - 1 : Number(match[2])]
    return {
      status: 206,
      headers: { "content-range": `bytes ${first}-${last}/${body.length}` },
      body: body.subarray(first, last + 1)
    }
  })

describe("a part without validators", () => {
  it.effect("of a stored file has the whole confirmed, and the file stays in use", () =>
    Effect.gen(function*() {
      const site = yield* start()
      const { ask, at, origin } = site
      serveBlankParts(site, bytes, at(-1000))
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
    }))

  it.effect("of a file that has changed is of the new one", () =>
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

  it.effect("does not keep the whole file from being stored", () =>
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
