import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { TestClock } from "effect/testing"
import { story } from "../support/cacheStatus.ts"
import { bytes, maxAge, SIZE, start, withTime } from "./Site.ts"
import { CHUNK_BYTES } from "./TestProxy.ts"

/** A media server that sends no validators; its files never change by the word of the operator. */
const startAssumed = Effect.fnUntraced(function*(headers: Record<string, string> = maxAge(60)) {
  const site = yield* start({ cache: { assumeUnchanged: ["/library/*"] } })
  const file = (path: string, content = bytes) =>
    site.file(path, { bytes: content, etag: undefined!, lastModified: undefined!, headers })
  file("/library/a")
  file("/other/a")
  return { ...site, file }
})

const range = (start: number, end: number) => ({ headers: { range: `bytes=${start}-${end - 1}` } })

describe("--assume-unchanged", () => {
  it.effect("caches parts of a file without a validator, and combines them", () =>
    Effect.gen(function*() {
      const { ask, origin } = yield* startAssumed()
      const part = yield* ask("/library/a", range(CHUNK_BYTES, 2 * CHUNK_BYTES))
      assert.strictEqual(story(part.headers), "spillway; fwd=uri-miss; stored")
      assert.strictEqual(
        story((yield* ask("/library/a", range(CHUNK_BYTES, CHUNK_BYTES + 9))).headers),
        "spillway; hit"
      )
      const sent = origin.bodyBytes()
      assert.isTrue((yield* ask("/library/a")).body.equals(bytes))
      assert.isAtMost(origin.bodyBytes() - sent, SIZE - CHUNK_BYTES)
    }))

  it.effect("leaves other paths alone", () =>
    Effect.gen(function*() {
      const { ask } = yield* startAssumed()
      const part = yield* ask("/other/a", range(0, 10))
      assert.strictEqual(story(part.headers), "spillway; fwd=bypass; detail=NO_VALIDATOR")
    }))

  it.effect("keeps chunks that have become stale", () =>
    Effect.gen(function*() {
      const { ask, origin } = yield* startAssumed({})
      yield* ask("/library/a")
      const sent = origin.bodyBytes()
      const { body } = yield* ask("/library/a", range(0, SIZE))
      assert.isTrue(body.equals(bytes))
      // The response that shows that it is the same begins at the first byte.
      assert.isAtMost(origin.bodyBytes() - sent, SIZE)
      yield* TestClock.adjust("1 hour")
      yield* origin.close
      const stale = yield* withTime(ask("/library/a"))
      assert.isTrue(stale.body.equals(bytes))
    }))

  it.effect("takes a file of another size for another version", () =>
    Effect.gen(function*() {
      const { ask, file } = yield* startAssumed()
      yield* ask("/library/a")
      yield* TestClock.adjust("61 seconds")
      const longer = Buffer.concat([bytes, Buffer.from("more")])
      file("/library/a", longer)
      assert.isTrue((yield* ask("/library/a")).body.equals(longer))
    }))

  it.effect("resumes a transfer that breaks off at the exact byte", () =>
    Effect.gen(function*() {
      const { ask, origin, seen } = yield* startAssumed()
      origin.handlers.set("/library/a", ({ headers }, response) => {
        const from = Number(/bytes=(\d+)-/.exec(headers.range ?? "bytes=0-")![1])
        const fields = { ...maxAge(60), "content-length": SIZE - from }
        if (from === 0) {
          response.writeHead(200, fields)
          response.write(bytes.subarray(0, CHUNK_BYTES + 10), () => setTimeout(() => response.destroy(), 20))
        } else {
          response.writeHead(206, { ...fields, "content-range": `bytes ${from}-${SIZE - 1}/${SIZE}` })
          response.end(bytes.subarray(from))
        }
      })
      assert.isTrue((yield* withTime(ask("/library/a"))).body.equals(bytes))
      assert.deepStrictEqual(seen("/library/a").map(({ headers }) => [headers["range"], headers["if-range"]]), [
        [undefined, undefined],
        [`bytes=${CHUNK_BYTES + 10}-${SIZE - 1}`, undefined]
      ])
    }))
})
