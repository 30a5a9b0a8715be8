import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { story } from "../support/cacheStatus.ts"
import { bytes, maxAge, type Reply, type Site, SIZE, start, until } from "./Site.ts"
import { CHUNK_BYTES } from "./TestProxy.ts"

/** The fields by which a server tells its version of the file. */
type Validators = Record<string, string>

/** Has servers with the same file answer, the one of `pick` for each request. */
const serveBy = (site: Site, servers: ReadonlyArray<Validators>, freshness: number, pick: (n: number) => number) => {
  let n = 0
  site.answer("/a", ({ headers }): Reply => {
    const validators = servers[pick(n++)]!
    const fields = { ...maxAge(freshness), ...validators, "accept-ranges": "bytes" }
    const own = new Set([validators["etag"], validators["last-modified"]])
    if (own.has(headers["if-none-match"] ?? headers["if-modified-since"] ?? "")) {
      return { status: 304, headers: fields }
    }
    const condition = headers["if-range"]
    const match = condition === undefined || own.has(String(condition))
      ? /^bytes=(\d+)-(\d*)$/.exec(headers.range ?? "")
      : null
    if (match === null) return { headers: fields, body: bytes }
    const [first, last] = [Number(match[1]), match[2] === "" ? SIZE - 1 : Math.min(Number(match[2]), SIZE - 1)]
    return {
      status: 206,
      headers: { ...fields, "content-range": `bytes ${first}-${last}/${SIZE}` },
      body: bytes.subarray(first, last + 1)
    }
  })
}

/** Whether each of `count` GETs of the whole file brought all of it. A wrong byte fails the test. */
const getAll = Effect.fnUntraced(function*({ ask }: Site, count: number) {
  const whole: Array<boolean> = []
  for (let i = 0; i < count; i++) {
    const answer = yield* Effect.option(ask("/a"))
    if (answer._tag === "Some") assert.isTrue(answer.value.body.equals(bytes))
    whole.push(answer._tag === "Some")
  }
  return whole
})

const tagged = [{ etag: "\"node0\"" }, { etag: "\"node1\"" }]

const pairs: ReadonlyArray<readonly [string, (site: Site) => ReadonlyArray<Validators>]> = [
  ["ETags", () => tagged],
  ["dates", ({ at }) => [{ "last-modified": at(-1000) }, { "last-modified": at(-2000) }]],
  ["kinds of validator", ({ at }) => [{ "last-modified": at(-1000) }, { etag: "\"node1\"" }]]
]

const orders: ReadonlyArray<readonly [string, (n: number) => number]> = [
  ["in turn", (n) => n % 2],
  ["two by two", (n) => Math.floor(n / 2) % 2],
  ["in no order", (n) => [0, 1, 1, 0, 1, 0, 0, 0, 1, 1, 1, 0, 1, 0][n % 14]!]
]

describe("two servers with different validators for one file", () => {
  for (const [order, pick] of orders) {
    it.effect.each(pairs)(
      `with other %s that answer ${order} cut no second GET in a row`,
      ([, servers]) =>
        Effect.gen(function*() {
          for (const freshness of [600, 0]) {
            const site = yield* start()
            serveBy(site, servers(site), freshness, pick)
            // A part of the file is in the cache, of one of them.
            yield* site.ask("/a", { headers: { range: "bytes=0-99" } })
            const whole = yield* getAll(site, 8)
            assert.isFalse(whole.some((isWhole, i) => !isWhole && whole[i + 1] === false), String(whole))
            // The next one has the version that the response began with.
            if (order === "in turn") assert.isTrue(whole.every((isWhole) => isWhole), String(whole))
            if (freshness > 0) assert.strictEqual(story((yield* site.ask("/a")).headers), "spillway; hit")
          }
        })
    )
  }

  it.effect("answer seeks", () =>
    Effect.gen(function*() {
      const site = yield* start()
      serveBy(site, tagged, 600, (n) => n % 2)
      for (const chunk of [0, 2, 1, 3, 0, 2]) {
        const first = chunk * CHUNK_BYTES + 5
        const answer = yield* site.ask("/a", { headers: { range: `bytes=${first}-${first + 99}` } })
        assert.strictEqual(answer.status, 206)
        assert.isTrue(answer.body.equals(bytes.subarray(first, first + 100)))
      }
    }))
})

describe("a file that is missing for a moment in the middle of a transfer", () => {
  it.effect.each([404, 410, 416])("keeps its cached chunks after a %i", (status) =>
    Effect.gen(function*() {
      const site = yield* start()
      const { ask, file, origin, seen } = site
      file("/a")
      yield* ask("/a", { headers: { range: "bytes=0-99" } })
      yield* until("the chunk", () => seen("/a")[0]!.sent === CHUNK_BYTES)
      site.answer("/a", () => ({ status }))
      yield* Effect.option(ask("/a"))
      file("/a")
      origin.reset()
      assert.isTrue((yield* ask("/a")).body.equals(bytes))
      assert.strictEqual(origin.bodyBytes(), SIZE - CHUNK_BYTES)
    }))
})
