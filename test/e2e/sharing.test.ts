import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { story } from "../support/cacheStatus.ts"
import { chunkFiles, temporaryDirectory } from "../support/disks.ts"
import { eventually, eventuallyHit, openView, startProgram, view } from "../support/Program.ts"
import { fileOf, makeGate, makeTestOrigin, MiB, sha256, type TestOrigin } from "../support/TestOrigin.ts"
import { withoutHedges } from "../support/withoutHedges.ts"

const start = Effect.fnUntraced(function*(origin: TestOrigin) {
  const directory = yield* temporaryDirectory
  const steady = yield* withoutHedges(origin.url)
  const program = yield* startProgram([...steady, "--cache-dir", directory, "--min-free", "0", "--memory", "4MiB"])
  return { ...program, directory }
})

/** Requests for bytes; the program also looks at the start whether the origin answers. */
const gets = (origin: TestOrigin) => origin.requests.filter(({ method }) => method === "GET")

const hashOf = (origin: TestOrigin, path: string, start?: number, end?: number) =>
  sha256(origin.files.get(path)!.bytes.subarray(start, end))

describe("viewers of one file", () => {
  it.live(
    "fifty at once cost the origin one transfer, and each gets bytes while it goes on",
    () =>
      Effect.gen(function*() {
        const origin = yield* makeTestOrigin
        const size = 16 * MiB
        // Not even the first chunk is whole before each viewer has something of it.
        const gate = makeGate()
        const hold = { after: 256 * 1024, until: gate.opened }
        origin.files.set("/film", fileOf(size, 1, { rate: 20_000_000, hold }))
        const { url } = yield* start(origin)
        const viewers = yield* Effect.forEach(Array.from({ length: 50 }), () => openView(`${url}/film`), {
          concurrency: "unbounded"
        })
        yield* Effect.forEach(viewers, ({ readTo }) => readTo(1), { concurrency: "unbounded" })
        assert.strictEqual(origin.bodyBytes(), hold.after)
        yield* gate.open
        const seen = yield* Effect.forEach(viewers, ({ rest }) => rest, { concurrency: "unbounded" })
        const hash = hashOf(origin, "/film")
        for (const { sha256, size: received } of seen) {
          assert.strictEqual(received, size)
          assert.strictEqual(sha256, hash)
        }
        assert.isAtMost(origin.bodyBytes(), size * 1.01)
        assert.strictEqual(gets(origin).length, 1)
      })
  )

  it.live("get their own bytes from disk, though they pause, leave and share read buffers", () =>
    Effect.gen(function*() {
      const origin = yield* makeTestOrigin
      // Far more than the kernel takes for two sockets, so that who pauses holds a buffer.
      const size = 48 * MiB
      origin.files.set("/film", fileOf(size, 1))
      const { url } = yield* start(origin)
      yield* view(`${url}/film`)
      yield* eventuallyHit(`${url}/film`)
      origin.reset()
      const open = (from: number, to: number) => openView(`${url}/film`, { range: `bytes=${from}-${to - 1}` })
      const paused = yield* Effect.forEach([1, 2, 3, 4, 5, 6], (from) => open(from * 12_345, size - from))
      yield* Effect.forEach(paused, ({ readTo }, index) => readTo((1 + index) * MiB), { concurrency: "unbounded" })
      for (let round = 0; round < 4; round++) {
        const leaving = Effect.flatMap(open(round * MiB, size), ({ readTo }) => readTo(3 * MiB))
        const staying = Array.from({ length: 8 }, (_, index) => {
          const from = (round + index) * 1_234_567
          const to = from + (1 + index) * 300_000
          const whole = Effect.flatMap(open(from, to), ({ rest }) => rest)
          return Effect.map(whole, (seen) => assert.strictEqual(seen.sha256, hashOf(origin, "/film", from, to)))
        })
        yield* Effect.all([leaving, ...staying].map(Effect.scoped), { concurrency: "unbounded" })
      }
      const rest = yield* Effect.forEach(paused, ({ rest }) => rest, { concurrency: "unbounded" })
      for (const [index, seen] of rest.entries()) {
        assert.strictEqual(seen.sha256, hashOf(origin, "/film", (1 + index) * 12_345, size - 1 - index))
      }
      assert.strictEqual(origin.bodyBytes(), 0)
    }))

  it.live("a slow one slows no other, nor takes in what it does not read", () =>
    Effect.gen(function*() {
      const origin = yield* makeTestOrigin
      const size = 64 * MiB
      origin.files.set("/film", fileOf(size, 1))
      const { url } = yield* start(origin)
      const slow = yield* openView(`${url}/film`)
      yield* slow.readTo(MiB)
      // The origin sends no more than what fits into the buffers on the way.
      let before = -1
      yield* eventually(
        "the origin to pause",
        Effect.suspend(() => {
          const sent = origin.bodyBytes()
          const paused = sent === before
          before = sent
          return Effect.delay(Effect.succeed(paused), "200 millis")
        })
      )
      assert.isBelow(origin.bodyBytes(), size / 2)
      const quick = yield* Effect.all([view(`${url}/film`), view(`${url}/film`)], { concurrency: 2 })
      const hash = hashOf(origin, "/film")
      for (const { sha256 } of quick) assert.strictEqual(sha256, hash)
      assert.isBelow(slow.received(), size / 2)
      assert.strictEqual((yield* slow.rest).sha256, hash)
      assert.isAtMost(origin.bodyBytes(), size * 1.01)
    }))

  it.live(
    "at their own pace, from the disk, get right bytes though memory is used over and over",
    () =>
      Effect.gen(function*() {
        const origin = yield* makeTestOrigin
        const size = 24 * MiB
        origin.files.set("/film", fileOf(size, 1))
        const directory = yield* temporaryDirectory
        // Chunks that fit into no memory tier.
        const steady = yield* withoutHedges(origin.url)
        const { url } = yield* startProgram([...steady, "--cache-dir", directory, "--min-free=0", "--memory=1MiB"])
        yield* view(`${url}/film`)
        yield* eventually("the file on disk", Effect.sync(() => chunkFiles(directory).length === 24))
        const sent = origin.bodyBytes()
        const slow = Effect.gen(function*() {
          const { readTo, rest } = yield* openView(`${url}/film`)
          for (let at = MiB; at < 8 * MiB; at += 700_001) yield* Effect.delay(readTo(at), "5 millis")
          return (yield* rest).sha256
        })
        const quick = Effect.map(view(`${url}/film`), ({ sha256 }) => sha256)
        const hashes = yield* Effect.all([slow, quick, quick, slow], { concurrency: "unbounded" })
        for (const hash of hashes) assert.strictEqual(hash, hashOf(origin, "/film"))
        // Begins and ends with a short piece each.
        const [from, to] = [3 * MiB - 1000, 9 * MiB + 1000]
        const part = yield* view(`${url}/film`, { range: `bytes=${from}-${to - 1}` })
        assert.strictEqual(part.sha256, hashOf(origin, "/film", from, to))
        assert.strictEqual(origin.bodyBytes(), sent)
      })
  )

  it.live("the last one to leave ends the transfer, and no one before", () =>
    Effect.gen(function*() {
      const origin = yield* makeTestOrigin
      const size = 64 * MiB
      origin.files.set("/film", fileOf(size, 1, { rate: 8 * MiB }))
      const { url } = yield* start(origin)
      const watch = (bytes: number) =>
        Effect.scoped(Effect.flatMap(openView(`${url}/film`), ({ readTo }) => readTo(bytes)))
      const last = yield* Effect.forkChild(watch(6 * MiB))
      yield* watch(MiB)
      const [request] = gets(origin)
      assert.isFalse(request!.aborted)
      yield* Fiber.join(last)
      yield* eventually("the transfer to be aborted", Effect.sync(() => request!.aborted))
      assert.strictEqual(gets(origin).length, 1)
      assert.isBelow(origin.bodyBytes(), 16 * MiB)
    }))
})

describe("a range of a file that is not cached", () => {
  it.live("is asked for from the sought byte on", () =>
    Effect.gen(function*() {
      const origin = yield* makeTestOrigin
      const size = 16 * MiB
      origin.files.set("/film", fileOf(size, 1))
      const { url } = yield* start(origin)
      const sought = 9 * MiB + 123_456
      const seen = yield* view(`${url}/film`, { range: `bytes=${sought}-` })
      assert.strictEqual(seen.status, 206)
      assert.strictEqual(seen.headers["content-range"], `bytes ${sought}-${size - 1}/${size}`)
      assert.strictEqual(seen.sha256, hashOf(origin, "/film", sought))
      assert.match(gets(origin)[0]!.headers.range ?? "", new RegExp(`^bytes=${sought}-`))
    }))

  it.live("costs the chunks that it touches, and only once", () =>
    Effect.gen(function*() {
      const origin = yield* makeTestOrigin
      origin.files.set("/film", fileOf(16 * MiB, 1))
      const { directory, url } = yield* start(origin)
      const seek = Effect.fnUntraced(function*(start: number, end: number) {
        const seen = yield* view(`${url}/film`, { range: `bytes=${start}-${end - 1}` })
        assert.strictEqual(seen.status, 206)
        assert.strictEqual(seen.sha256, hashOf(origin, "/film", start, end))
        return story(seen.headers)
      })
      const stored = (...indices: ReadonlyArray<number>) =>
        eventually(
          `chunks ${indices.join(", ")} on disk`,
          Effect.sync(() => chunkFiles(directory).map(({ index }) => index).join() === indices.join())
        )

      yield* seek(2.5 * MiB, 3.5 * MiB)
      yield* stored(2, 3)
      assert.isAtMost(origin.bodyBytes(), 2 * MiB)

      // Two of its four chunks are there.
      yield* seek(1.5 * MiB, 4.5 * MiB)
      yield* stored(1, 2, 3, 4)
      assert.isAtMost(origin.bodyBytes(), 4 * MiB)

      origin.reset()
      assert.strictEqual(yield* seek(MiB, 5 * MiB), "spillway; hit")
      assert.strictEqual(yield* seek(1.25 * MiB, 1.25 * MiB + 1), "spillway; hit")
      assert.deepStrictEqual(origin.requests, [])
    }))
})

describe("a second view", () => {
  it.live("costs the origin nothing while the file is fresh", () =>
    Effect.gen(function*() {
      const origin = yield* makeTestOrigin
      origin.files.set("/film", fileOf(9 * MiB + 1, 1))
      const { url } = yield* start(origin)
      yield* view(`${url}/film`)
      yield* eventuallyHit(`${url}/film`)
      origin.reset()
      assert.strictEqual((yield* view(`${url}/film`)).sha256, hashOf(origin, "/film"))
      assert.deepStrictEqual(origin.requests, [])
    }))

  it.live("costs a question and no byte where the origin says nothing of freshness", () =>
    Effect.gen(function*() {
      const origin = yield* makeTestOrigin
      const size = 9 * MiB + 1
      origin.files.set("/film", fileOf(size, 1, { headers: {} }))
      const { directory, url } = yield* start(origin)
      yield* view(`${url}/film`)
      yield* eventually("all chunks on disk", Effect.sync(() => chunkFiles(directory).length === 10))
      origin.reset()
      const { headers, sha256 } = yield* view(`${url}/film`)
      assert.strictEqual(sha256, hashOf(origin, "/film"))
      assert.strictEqual(story(headers), "spillway; fwd=stale; fwd-status=304")
      assert.strictEqual(origin.requests.length, 1)
      assert.strictEqual(origin.bodyBytes(), 0)
    }))
})
