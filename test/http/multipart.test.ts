import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { request as httpRequest } from "node:http"
import { COALESCE_GAP_BYTES, MAX_RANGES } from "../../src/domain/rfc/ByteRange.ts"
import { story } from "../support/cacheStatus.ts"
import { fileOf, MiB, randomBytes } from "../support/TestOrigin.ts"
import { bytes, makeGate, maxAge, type Site, SIZE, start, until, withTime } from "./Site.ts"
import { type Answer, CHUNK_BYTES } from "./TestProxy.ts"

interface Part {
  readonly type: string | null
  readonly range: string | undefined
  readonly body: Buffer
}

const field = (head: string, name: string): string | undefined =>
  head.split("\r\n").find((line) => line.toLowerCase().startsWith(`${name}: `))?.slice(name.length + 2)

/** Reads the body of a `multipart/byteranges`, byte by byte as RFC 2046 §5.1.1 has it; fails on anything else. */
const partsOf = (answer: Answer): ReadonlyArray<Part> => {
  const boundary = /^multipart\/byteranges; boundary=(\S+)$/.exec(answer.headers["content-type"] ?? "")?.[1]
  assert.isDefined(boundary)
  const delimiter = `\r\n--${boundary}`
  const parts: Array<Part> = []
  // The first delimiter need not have a line break before it.
  let rest = Buffer.concat([Buffer.from("\r\n"), answer.body])
  while (true) {
    assert.strictEqual(rest.subarray(0, delimiter.length).toString("latin1"), delimiter)
    rest = rest.subarray(delimiter.length)
    if (rest.toString("latin1") === "--\r\n") return parts
    assert.strictEqual(rest.subarray(0, 2).toString(), "\r\n")
    const endOfHead = rest.indexOf("\r\n\r\n")
    const head = rest.subarray(2, endOfHead).toString("latin1")
    const end = rest.indexOf(delimiter, endOfHead + 4)
    assert.isAbove(end, endOfHead)
    parts.push({
      type: field(head, "content-type") ?? null,
      range: field(head, "content-range"),
      body: rest.subarray(endOfHead + 4, end)
    })
    rest = rest.subarray(end)
  }
}

/** Checks that an answer has exactly these parts of `whole`, `[from, to)` each, in this order. */
const assertParts = (
  answer: Answer,
  expected: ReadonlyArray<readonly [number, number]>,
  whole = bytes,
  type: string | null = "video/mp4"
): void => {
  assert.strictEqual(answer.status, 206)
  // §15.3.7.2: of no part alone.
  assert.notProperty(answer.headers, "content-range")
  assert.notProperty(answer.headers, "transfer-encoding")
  assert.strictEqual(answer.headers["content-length"], String(answer.body.length))
  const parts = partsOf(answer)
  assert.deepStrictEqual(
    parts.map(({ range, type }) => [range, type]),
    expected.map(([from, to]) => [`bytes ${from}-${to - 1}/${whole.length}`, type])
  )
  for (const [i, [from, to]] of expected.entries()) {
    assert.isTrue(parts[i]!.body.equals(whole.subarray(from, to)), `part ${i}`)
  }
}

const ask = (site: Site, range: string) => site.ask("/a", { headers: { range } })

/** Checks an answer for a file that nobody has asked for, for one that is cached in part, and for one that is cached. */
const assertEverywhere = Effect.fnUntraced(function*(range: string, check: (answer: Answer) => void) {
  const site = yield* start()
  site.file("/a")
  check(yield* ask(site, range))
  const partly = yield* start()
  partly.file("/a")
  yield* ask(partly, `bytes=${CHUNK_BYTES}-${CHUNK_BYTES + 9}`)
  check(yield* ask(partly, range))
  const warm = yield* start()
  warm.file("/a")
  yield* warm.ask("/a")
  const answer = yield* ask(warm, range)
  check(answer)
  assert.strictEqual(story(answer.headers), "spillway; hit")
  assert.strictEqual(warm.seen("/a").length, 1)
})

const assertEverywhereWhole = Effect.fnUntraced(function*(range: string) {
  const site = yield* start()
  site.file("/a")
  for (let i = 0; i < 2; i++) {
    const answer = yield* ask(site, range)
    assert.strictEqual(answer.status, 200)
    assert.isTrue(answer.body.equals(bytes))
  }
})

const FAR = 2 * CHUNK_BYTES + 5

const several: ReadonlyArray<readonly [string, string, ReadonlyArray<readonly [number, number]>]> = [
  ["two", `bytes=0-99,${FAR}-${FAR + 99}`, [[0, 100], [FAR, FAR + 100]]],
  ["two of one chunk", "bytes=0-99,1000-1099", [[0, 100], [1000, 1100]]],
  ["in the order asked for", `bytes=${FAR}-${FAR + 99},0-99,-10`, [[FAR, FAR + 100], [0, 100], [SIZE - 10, SIZE]]],
  ["three, of which two overlap", `bytes=${FAR}-,0-99,50-149`, [[FAR, SIZE], [0, 150]]],
  ["across the border of chunks", `bytes=${CHUNK_BYTES - 5}-${CHUNK_BYTES + 4},-5`, [
    [CHUNK_BYTES - 5, CHUNK_BYTES + 5],
    [SIZE - 5, SIZE]
  ]],
  ["as far apart as a part's head costs", `bytes=0-9,${10 + COALESCE_GAP_BYTES}-199`, [
    [0, 10],
    [10 + COALESCE_GAP_BYTES, 200]
  ]],
  ["one of which lies outside", `bytes=0-99,1000-1099,${SIZE}-`, [[0, 100], [1000, 1100]]],
  [
    "as many as are allowed",
    `bytes=${Array.from({ length: MAX_RANGES }, (_, i) => `${i * 1000}-${i * 1000 + 9}`).join()}`,
    Array.from({ length: MAX_RANGES }, (_, i) => [i * 1000, i * 1000 + 10] as const)
  ]
]

describe("several ranges", () => {
  it.effect.each(several)(
    "%s (§15.3.7.2)",
    ([, range, expected]) => assertEverywhere(range, (answer) => assertParts(answer, expected))
  )

  const single: ReadonlyArray<readonly [string, string, number, number]> = [
    ["overlap", "bytes=0-99,50-149", 0, 150],
    ["touch", "bytes=100-199,0-99", 0, 200],
    ["have a small gap between them", `bytes=0-9,${9 + COALESCE_GAP_BYTES}-199`, 0, 200],
    ["are one but for those outside", `bytes=0-99,${SIZE}-,-0`, 0, 100],
    ["are the same", "bytes=0-99,0-99,0-99", 0, 100]
  ]

  it.effect.each(single)(
    "%s are answered as one (§15.3.7.2)",
    ([, range, from, to]) =>
      assertEverywhere(range, (answer) => {
        assert.strictEqual(answer.status, 206)
        assert.strictEqual(answer.headers["content-range"], `bytes ${from}-${to - 1}/${SIZE}`)
        assert.strictEqual(answer.headers["content-type"], "video/mp4")
        assert.strictEqual(answer.headers["content-length"], String(to - from))
        assert.isTrue(answer.body.equals(bytes.subarray(from, to)))
      })
  )

  const outside: ReadonlyArray<readonly [string, string]> = [
    ["all outside", `bytes=${SIZE}-,${SIZE + 5}-${SIZE + 9},-0`],
    [
      "too many (§17.15)",
      `bytes=${Array.from({ length: MAX_RANGES + 1 }, (_, i) => `${i * 1000}-${i * 1000 + 9}`).join()}`
    ]
  ]

  it.effect.each(outside)("%s are answered 416 (§15.5.17)", ([, range]) =>
    Effect.gen(function*() {
      const site = yield* start()
      site.file("/a")
      for (let i = 0; i < 2; i++) {
        const { body, headers, status } = yield* ask(site, range)
        assert.strictEqual(status, 416)
        assert.strictEqual(headers["content-range"], `bytes */${SIZE}`)
        assert.strictEqual(body.length, 0)
        yield* site.ask("/a")
      }
    }))

  it.effect("are ignored if one is malformed (§14.2)", () => assertEverywhereWhole("bytes=0-9,a-b"))

  it.effect("the first of which lies outside (§15.3.7.2)", () =>
    assertEverywhere(`bytes=${SIZE}-,0-99,1000-1099`, (answer) => assertParts(answer, [[0, 100], [1000, 1100]])))

  it.effect("have a random boundary each time (§14.6)", () =>
    Effect.gen(function*() {
      const site = yield* start()
      site.file("/a")
      const boundaries = yield* Effect.forEach(
        [1, 2, 3],
        () =>
          Effect.map(
            ask(site, "bytes=0-99,1000-1099"),
            ({ headers }) => headers["content-type"]!.split("boundary=")[1]!
          )
      )
      assert.strictEqual(new Set(boundaries).size, 3)
      for (const boundary of boundaries) assert.match(boundary, /^[0-9a-f]{32}$/)
    }))

  it.effect("have no Content-Type in their parts if the file has none (§15.3.7.2)", () =>
    Effect.gen(function*() {
      const site = yield* start()
      site.answer("/a", () => ({ headers: { ...maxAge(60), "etag": "\"v1\"" }, body: bytes }))
      yield* site.ask("/a")
      assertParts(yield* ask(site, "bytes=0-99,1000-1099"), [[0, 100], [1000, 1100]], bytes, null)
    }))

  it.effect("cost one request for each missing stretch (§15.3.7.2)", () =>
    Effect.gen(function*() {
      const site = yield* start()
      const size = 64 * CHUNK_BYTES
      const whole = randomBytes(size, 3)
      site.file("/a", { bytes: whole })
      const parts = [10, 40, 20].map((chunk) => [chunk * CHUNK_BYTES + 5, chunk * CHUNK_BYTES + 15] as const)
      const answer = yield* ask(site, `bytes=${parts.map(([from, to]) => `${from}-${to - 1}`).join()}`)
      assertParts(answer, parts, whole)
      assert.strictEqual(story(answer.headers), "spillway; fwd=uri-miss; stored")
      // One for each part, and one for the front of each chunk that is filled in behind.
      assert.isAtMost(site.seen("/a").length, 6)
      assert.isAtMost(site.origin.bodyBytes(), 6 * CHUNK_BYTES)
    }))

  it.effect("work with If-None-Match and If-Match like one range (§15.3.7.2)", () =>
    Effect.gen(function*() {
      const { ask, file } = yield* start()
      file("/a")
      const range = "bytes=0-99,1000-1099"
      assert.strictEqual((yield* ask("/a", { headers: { range, "if-none-match": "\"v1\"" } })).status, 304)
      assert.strictEqual((yield* ask("/a", { headers: { range, "if-match": "\"v0\"" } })).status, 412)
    }))

  it.effect("are no longer fetched after their viewer has left", () =>
    Effect.gen(function*() {
      const site = yield* start()
      const gate = makeGate()
      site.origin.files.set("/a", fileOf(16 * MiB, 4, { hold: { after: 2 * CHUNK_BYTES, until: gate.opened } }))
      yield* Effect.callback<void>((resume) => {
        const range = "bytes=0-99,8000000-15000000"
        const request = httpRequest(`${site.url}/a`, { headers: { range }, agent: false }, (response) => {
          let received = 0
          response.on("error", () => {})
          response.on("data", (data: Buffer) => {
            received += data.length
            // In the second part.
            if (received > CHUNK_BYTES) resume(Effect.sync(() => request.destroy()))
          })
        })
        request.on("error", () => {})
        request.end()
      })
      yield* until("the end of the transfer", () => site.seen("/a").some(({ aborted }) => aborted))
      gate.open()
      assert.isBelow(site.origin.bodyBytes(), 2 * MiB)
    }))

  it.effect("are cut if the origin cuts them", () =>
    Effect.gen(function*() {
      const site = yield* start()
      site.file("/a")
      yield* site.ask("/a", { headers: { range: "bytes=0-9" } })
      site.origin.handlers.set("/a", (_, response) => void response.destroy())
      const exit = yield* withTime(Effect.exit(ask(site, `bytes=0-9,${FAR}-`)))
      assert.strictEqual(exit._tag, "Failure")
    }))
})
