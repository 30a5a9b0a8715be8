import { assert, describe, it } from "@effect/vitest"
import { Effect, Stream } from "effect"
import type { OpenOptions } from "../../src/embed/openMedia.ts"
import * as Resource from "../../src/embed/Resource.ts"
import type { SpillwayOptions } from "../../src/index.ts"
import { type ChunkWriter } from "../../src/services/cache/ChunkWriter.ts"
import { Spillway } from "../../src/spillway.ts"
import { FaultyFileSystem, MemoryOrigin, TestSpillway } from "../../src/testing/index.ts"

const FILM = "https://media.example.org/film.mp4"
const bytes = Uint8Array.from({ length: 200_000 }, (_, i) => i * 7)

const film = (headers: Record<string, string> = { "cache-control": "max-age=60" }): MemoryOrigin.MemoryFile => ({
  bytes,
  etag: "\"1\"",
  headers: { "content-type": "video/mp4", ...headers }
})

const origin = MemoryOrigin.MemoryOrigin

/** Everything of what is opened. */
const take = Effect.fnUntraced(function*(what: string, options?: OpenOptions) {
  const { open } = yield* Spillway
  const { stream, ...head } = yield* open(what, options)
  return { ...head, bytes: yield* Stream.mkUint8Array(stream) }
}, Effect.scoped)

const tests = <A, E>(
  name: string,
  effect: Effect.Effect<A, E, Spillway | MemoryOrigin.MemoryOrigin | ChunkWriter | FaultyFileSystem.Faults>,
  options?: SpillwayOptions
) => it.effect(name, () => Effect.provide(effect, TestSpillway.layer(options)))

describe("open", () => {
  tests(
    "shares an entry among URLs whose keys are the same, and fetches each with its own parameters",
    Effect.gen(function*() {
      const { files, requests } = yield* origin
      const url = (token: string) => `${FILM}?v=1&token=${token}`
      for (const token of ["a", "b"]) files.set(url(token), film({}))
      assert.deepStrictEqual((yield* take(url("a"), { range: { start: 0, end: 10 } })).bytes, bytes.slice(0, 10))
      yield* TestSpillway.idle
      assert.deepStrictEqual((yield* take(url("b"))).bytes, bytes)
      assert.strictEqual(requests[0]!.url, url("a"))
      assert.isTrue(requests.slice(1).every((request) => request.url === url("b")))
      const { cacheStatus } = yield* take(url("b"), { range: { start: 5, end: 10 } })
      assert.include(cacheStatus, `key="${Resource.make(`${FILM}?v=1`).id}"`)
    }),
    { cacheKey: ["/* ignore=token"] }
  )

  tests(
    "gives a range and what is known of the file, from the origin once",
    Effect.gen(function*() {
      const { files, requests } = yield* origin
      files.set(FILM, film())
      const range = { start: 100, end: 70_000 }
      const first = yield* take(FILM, { range })
      assert.deepStrictEqual(first.bytes, bytes.slice(100, 70_000))
      assert.deepStrictEqual(first.range, range)
      assert.strictEqual(first.size, 200_000)
      assert.strictEqual(first.headers["content-type"], "video/mp4")
      assert.strictEqual(first.headers["etag"], "\"1\"")
      assert.isUndefined(first.headers["content-length"])
      assert.match(first.cacheStatus, /^spillway; fwd=uri-miss/)
      assert.deepStrictEqual((yield* take(FILM)).bytes, bytes)
      yield* TestSpillway.idle
      const before = requests.length
      const second = yield* take(FILM, { range })
      assert.deepStrictEqual(second.bytes, first.bytes)
      assert.match(second.cacheStatus, /^spillway; hit/)
      assert.strictEqual(requests.length, before)
      // To the end, which the range may go beyond.
      assert.deepStrictEqual((yield* take(FILM, { range: { start: 199_990 } })).bytes, bytes.slice(199_990))
      const beyond = yield* take(FILM, { range: { start: 199_990, end: 999_999 } })
      assert.deepStrictEqual(beyond.range, { start: 199_990, end: 200_000 })
    })
  )

  tests(
    "goes on from the origin where the disk fails",
    Effect.gen(function*() {
      const { files } = yield* origin
      const faults = yield* FaultyFileSystem.Faults
      files.set(FILM, film())
      yield* faults.add({ operation: "write", fault: "ENOSPC" })
      assert.deepStrictEqual((yield* take(FILM)).bytes, bytes)
      yield* TestSpillway.idle
      assert.isAbove(faults.strikes()[0]!, 0)
      assert.deepStrictEqual((yield* take(FILM)).bytes, bytes)
    })
  )

  tests(
    "fails with a type for each reason",
    Effect.gen(function*() {
      const { files } = yield* origin
      files.set(FILM, film())
      const tagOf = (what: string, options?: OpenOptions) =>
        Effect.map(Effect.flip(take(what, options)), ({ _tag }) => _tag)
      assert.strictEqual(yield* tagOf("film.mp4"), "MediaRefused")
      assert.strictEqual(yield* tagOf("ftp://media.example.org/a"), "MediaRefused")
      assert.strictEqual(yield* tagOf("https://a:b@media.example.org/a"), "MediaRefused")
      assert.strictEqual(yield* tagOf(FILM, { headers: { "x-a": "b\r\nc: d" } }), "MediaRefused")
      assert.strictEqual(yield* tagOf(FILM, { range: { start: 5, end: 5 } }), "MediaRefused")
      assert.strictEqual(yield* tagOf(FILM, { range: { start: -1 } }), "MediaRefused")
      // No route is configured.
      assert.strictEqual(yield* tagOf("/film.mp4"), "MediaRefused")
      assert.strictEqual(yield* tagOf("https://media.example.org/lost"), "OriginUnexpected")
      assert.strictEqual(yield* tagOf(FILM, { range: { start: 200_000 } }), "RangeNotSatisfiable")
      yield* take(FILM)
      assert.strictEqual(yield* tagOf(FILM, { range: { start: 200_000 } }), "RangeNotSatisfiable")
    })
  )

  tests(
    "says so where something is not in the cache and no origin may be asked",
    Effect.gen(function*() {
      const error = yield* Effect.flip(take(`${FILM}?secret=1`))
      assert.strictEqual(error._tag, "NotInCache")
      assert.notInclude(error.message, "secret")
    }),
    { offline: true }
  )

  tests(
    "finds a path as a viewer's is found",
    Effect.gen(function*() {
      const { files } = yield* origin
      files.set(FILM, film())
      assert.deepStrictEqual((yield* take("/film.mp4")).bytes, bytes)
      yield* TestSpillway.idle
      // It is the same entry as that of the URL.
      assert.match((yield* take(FILM)).cacheStatus, /^spillway; hit/)
    }),
    { origins: ["https://media.example.org"] }
  )

  tests(
    "streams what may not be kept, and cuts it to the range where the origin sends all",
    Effect.gen(function*() {
      const { files, requests } = yield* origin
      files.set(FILM, film({ "cache-control": "no-store" }))
      const all = "https://media.example.org/all"
      files.set(all, { ...film({ "cache-control": "no-store" }), acceptsRanges: false })
      for (const url of [FILM, all]) {
        for (let i = 1; i <= 2; i++) {
          const { bytes: part, cacheStatus, range, size } = yield* take(url, { range: { start: 40_000, end: 90_000 } })
          assert.deepStrictEqual(part, bytes.slice(40_000, 90_000))
          assert.deepStrictEqual(range, { start: 40_000, end: 90_000 })
          assert.strictEqual(size, 200_000)
          assert.match(cacheStatus, /fwd=bypass; detail=NO_STORE/)
          assert.isAtLeast(requests.filter((request) => request.url === url).length, i)
        }
        assert.deepStrictEqual((yield* take(url)).bytes, bytes)
        assert.strictEqual(
          (yield* Effect.flip(take(url, { range: { start: 200_000 } })))._tag,
          "RangeNotSatisfiable"
        )
      }
    })
  )

  tests(
    "sends headers to the origin, and keeps what they bring apart unless a key says otherwise",
    Effect.gen(function*() {
      const { files, requests } = yield* origin
      files.set(FILM, film({ "cache-control": "max-age=60", "vary": "accept-language" }))
      const range = { start: 0, end: 10 }
      const asked = Effect.fnUntraced(function*(options: OpenOptions, what = FILM) {
        const before = requests.length
        yield* take(what, { ...options, range })
        yield* TestSpillway.idle
        return requests.slice(before)
      })
      const anna = { headers: { Authorization: "Bearer anna" } }
      const ben = { headers: { authorization: "Bearer ben" } }
      const [first] = yield* asked(anna)
      assert.strictEqual(first?.headers["authorization"], "Bearer anna")
      assert.deepStrictEqual(yield* asked(anna), [])
      assert.isAbove((yield* asked(ben)).length, 0)
      assert.isAbove((yield* asked({})).length, 0)
      assert.isAbove((yield* asked({ ...anna, key: "film" })).length, 0)
      assert.deepStrictEqual(yield* asked({ ...ben, key: "film" }), [])
      // A signed URL, say.
      files.set(`${FILM}?sig=2`, film())
      assert.deepStrictEqual(yield* asked({ key: "film" }, `${FILM}?sig=2`), [])
    })
  )
})
