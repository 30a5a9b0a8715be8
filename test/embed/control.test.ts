import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Stream } from "effect"
import { TestClock } from "effect/testing"
import type { SpillwayOptions } from "../../src/index.ts"
import type { ChunkWriter } from "../../src/services/cache/ChunkWriter.ts"
import { Spillway } from "../../src/spillway.ts"
import { type FaultyFileSystem, MemoryOrigin, TestSpillway } from "../../src/testing/index.ts"
import { ticking } from "../support/ticking.ts"

const SIZE = 200_000
const bytes = Uint8Array.from({ length: SIZE }, (_, i) => i * 7)

const url = (name: string) => `https://media.example.org/${name}`
const FILM = url("film.mp4")

const tests = <A, E>(
  name: string,
  effect: Effect.Effect<A, E, Spillway | MemoryOrigin.MemoryOrigin | ChunkWriter | FaultyFileSystem.Faults>,
  options?: SpillwayOptions
) => it.effect(name, () => Effect.provide(effect, TestSpillway.layer(options)))

/** Has the origin have a file. */
const put = (at: string, headers: Record<string, string> = {}) =>
  Effect.map(MemoryOrigin.MemoryOrigin, ({ files }) => {
    files.set(at, { bytes, etag: "\"1\"", headers: { "cache-control": "max-age=60", ...headers } })
  })

/** Has a file be cached. */
const cached = Effect.fnUntraced(function*(at: string, headers?: Record<string, string>) {
  yield* put(at, headers)
  const { open } = yield* Spillway
  const { stream } = yield* open(at)
  yield* Stream.runDrain(stream)
  yield* TestSpillway.idle
}, Effect.scoped)

const isCached = (at: string) =>
  Effect.gen(function*() {
    const { open } = yield* Spillway
    const { stream } = yield* open(at, { onlyIfCached: true })
    yield* Stream.runDrain(stream)
    return true
  }).pipe(Effect.scoped, Effect.catchTag("NotInCache", () => Effect.succeed(false)))

describe("control", () => {
  tests(
    "lists what is cached, and tells which parts, by URL or text",
    Effect.gen(function*() {
      const { list, map, status } = yield* Spillway
      yield* cached(FILM)
      yield* cached(url("other"))
      assert.sameMembers((yield* list()).resources.map((one) => one.url), [FILM, url("other")])
      assert.deepInclude(yield* list({ prefix: url("f"), limit: 1 }), { total: 1 })
      for (const what of [FILM, new URL(FILM)]) {
        const { ranges, size } = yield* map(what)
        assert.deepStrictEqual({ ranges, size }, { ranges: [{ start: 0, end: SIZE }], size: SIZE })
      }
      assert.strictEqual((yield* Effect.flip(map(url("none"))))._tag, "NotInCache")
      assert.strictEqual((yield* Effect.flip(map("no URL")))._tag, "MediaRefused")
      assert.strictEqual((yield* status).cache.resources, 2)
    })
  )

  tests(
    "explains a file that isn't cached by the origin's response",
    Effect.gen(function*() {
      const { why } = yield* Spillway
      yield* put(FILM, { "cache-control": "no-store" })
      assert.deepInclude(yield* why(FILM), { url: FILM, cached: "no", storable: false })
      assert.strictEqual((yield* Effect.flip(why("no URL")))._tag, "MediaRefused")
    })
  )

  tests(
    "fetches a file ahead, with its progress until it is done",
    Effect.gen(function*() {
      const { warm } = yield* Spillway
      yield* put(FILM)
      const jobs = yield* ticking(Stream.runCollect(warm(FILM)))
      assert.deepInclude(jobs.at(-1), { state: "done", bytes: SIZE, size: SIZE })
      assert.isTrue(yield* isCached(FILM))
    })
  )

  tests(
    "fetches the files of a playlist ahead",
    Effect.gen(function*() {
      const { warm } = yield* Spillway
      const { files } = yield* MemoryOrigin.MemoryOrigin
      yield* put(url("show/1.ts"))
      const playlist = new TextEncoder().encode("#EXTM3U\n#EXTINF:4,\n1.ts\n")
      files.set(url("show/a.m3u8"), { bytes: playlist, etag: "\"1\"", headers: { "cache-control": "max-age=60" } })
      const jobs = yield* ticking(Stream.runCollect(warm(new URL(url("show/a.m3u8")))))
      assert.deepInclude(jobs.at(-1), { state: "done", files: { total: 2, done: 2, failed: 0 } })
      assert.isTrue(yield* isCached(url("show/1.ts")))
      files.delete(url("show/1.ts"))
      files.set(url("b.m3u8"), { bytes: playlist, etag: "\"1\"" })
      const failed = yield* Effect.flip(ticking(Stream.runDrain(warm(url("b.m3u8")))))
      assert.strictEqual(failed._tag, "WarmFailed")
      assert.include(failed.message, "of 2 files could not be fetched")
    })
  )

  tests(
    "fails if a file can't be fetched ahead, and cancels the job of who leaves",
    Effect.gen(function*() {
      const { warm } = yield* Spillway
      const origin = yield* MemoryOrigin.MemoryOrigin
      yield* put(FILM, { "cache-control": "no-store" })
      assert.strictEqual((yield* Effect.flip(ticking(Stream.runDrain(warm(FILM)))))._tag, "WarmFailed")
      yield* put(url("slow"))
      origin.behaviour = () => ({ _tag: "Stall", after: 1000, millis: 1e9 })
      const leaving = yield* Effect.forkChild(Stream.runDrain(warm(url("slow"))))
      const staying = yield* Effect.forkChild(Effect.flip(Stream.runDrain(warm(url("slow")))))
      yield* TestClock.adjust("1 second")
      yield* Fiber.interrupt(leaving)
      yield* TestClock.adjust("1 second")
      assert.strictEqual((yield* Fiber.join(staying))._tag, "WarmFailed")
    })
  )

  tests(
    "pins and unpins what is cached",
    Effect.gen(function*() {
      const { pin, unpin } = yield* Spillway
      assert.strictEqual((yield* Effect.flip(pin(FILM)))._tag, "NotInCache")
      yield* cached(FILM)
      assert.isTrue((yield* pin(FILM)).pinned)
      assert.isFalse((yield* unpin(new URL(FILM))).pinned)
    })
  )

  tests(
    "purges by URL, prefix and tag, and softly",
    Effect.gen(function*() {
      const { list, purge, purges } = yield* Spillway
      yield* cached(url("a"), { "surrogate-key": "x y" })
      yield* cached(url("b"), { "cache-tag": "x" })
      yield* cached(url("c"))
      assert.sameMembers((yield* list({ tag: "x" })).resources.map((one) => one.url), [url("a"), url("b")])
      assert.deepInclude(yield* list({ tag: "x", prefix: url("b") }), { total: 1 })
      yield* purge({ tag: "x" })
      assert.deepStrictEqual(yield* Effect.forEach(["a", "b", "c"].map(url), isCached), [false, false, true])
      const { requests } = yield* MemoryOrigin.MemoryOrigin
      const before = requests.length
      yield* purge({ all: true, soft: true })
      yield* cached(url("c"))
      assert.deepStrictEqual(requests.slice(before).map(({ headers }) => headers["if-none-match"]), ["\"1\""])
      assert.deepInclude(yield* Effect.flip(purge({ url: "no URL?secret" })), { _tag: "MediaRefused", url: "no URL?…" })
      const { id } = yield* purge({ prefix: "https://media.example.org/" })
      assert.isFalse(yield* isCached(url("c")))
      yield* ticking(Effect.repeat(Effect.andThen(Effect.sleep("100 millis"), purges), {
        until: (all) => all.find((one) => one.id === id)?.state === "done"
      }))
    })
  )
})

describe("open", () => {
  tests(
    "gives the last bytes of a file, cached or not",
    Effect.gen(function*() {
      const { open } = yield* Spillway
      yield* put(FILM)
      yield* put(url("uncacheable"), { "cache-control": "no-store" })
      for (const at of [FILM, new URL(FILM), url("uncacheable")]) {
        const { bytes: found, range } = yield* Effect.scoped(Effect.gen(function*() {
          const opened = yield* open(at, { range: { suffix: 1000 } })
          return { range: opened.range, bytes: yield* Stream.mkUint8Array(opened.stream) }
        }))
        assert.deepStrictEqual(range, { start: SIZE - 1000, end: SIZE })
        assert.deepStrictEqual(found, bytes.slice(-1000))
      }
      for (const suffix of [0, -1, 0.5]) {
        assert.strictEqual((yield* Effect.flip(open(FILM, { range: { suffix } })))._tag, "MediaRefused")
      }
    }).pipe(Effect.scoped)
  )

  tests(
    "asks no origin if only what is cached is wanted",
    Effect.gen(function*() {
      const { requests } = yield* MemoryOrigin.MemoryOrigin
      yield* put(FILM)
      assert.isFalse(yield* isCached(FILM))
      assert.lengthOf(requests, 0)
      yield* cached(FILM)
      assert.isTrue(yield* isCached(FILM))
      assert.lengthOf(requests, 1)
    })
  )

  tests(
    "tells where the bytes come from, and how far the stream is",
    Effect.gen(function*() {
      const { open } = yield* Spillway
      yield* put(FILM)
      const first = yield* open(FILM, { range: { start: 0, end: 65_536 } })
      yield* Stream.runDrain(first.stream)
      yield* TestSpillway.idle
      const { events, stream } = yield* open(FILM, { range: { start: 1000 } })
      yield* Stream.runDrain(stream)
      const told = yield* Stream.runCollect(events)
      assert.deepStrictEqual([...new Set(told.map(({ source }) => source))], ["disk", "origin"])
      assert.deepStrictEqual(told.at(-1), { position: SIZE, source: "origin", detail: undefined })
      assert.isTrue(told.every(({ position }, i) => i === 0 || position > told[i - 1]!.position))
      yield* put(url("uncacheable"), { "cache-control": "no-store" })
      const passed = yield* open(url("uncacheable"))
      yield* Stream.runDrain(passed.stream)
      assert.deepInclude((yield* Stream.runCollect(passed.events)).at(-1), {
        position: SIZE,
        source: "passthrough",
        detail: "NO_STORE"
      })
    }).pipe(Effect.scoped)
  )

  tests(
    "ends the events of a stream that is not read to its end",
    Effect.gen(function*() {
      const { open } = yield* Spillway
      yield* put(FILM)
      const { events } = yield* Effect.scoped(open(FILM))
      assert.isAtMost((yield* Stream.runCollect(events)).length, 2)
    })
  )
})
