import { assert, describe, it } from "@effect/vitest"
import { Effect, Stream } from "effect"
import { make } from "../../../src/domain/Resource.ts"
import { ChunkWriter } from "../../../src/services/cache/ChunkWriter.ts"
import { MemoryTier } from "../../../src/services/cache/MemoryTier.ts"
import { MediaStream } from "../../../src/services/media/MediaStream.ts"
import { Counters } from "../../../src/services/observe/Counters.ts"
import { MemoryOrigin } from "../../../src/testing/MemoryOrigin.ts"
import { stack, view } from "../../support/stack.ts"
import { randomBytes } from "../../support/TestOrigin.ts"

const url = "http://origin.test/film.mp4"
const CHUNK = 16 * 1024
const film = randomBytes(5 * CHUNK + 12_345)

/** The pieces of the film's bytes from `start` to `end`, to a server that sends several of them at a time. */
const piecesOf = Effect.fnUntraced(function*(start: number, end: number) {
  const media = yield* MediaStream
  const ranges = [{ _tag: "From" as const, start, last: end - 1 }]
  const opened = yield* media.open({ resource: make(url), ranges, reuses: true })
  assert(opened._tag === "Media")
  const bytes = yield* opened.parts[0]!.bytes
  return bytes instanceof Uint8Array ? [bytes] : yield* Stream.runCollect(bytes)
}, Effect.scoped)

const fill = Effect.gen(function*() {
  const origin = yield* MemoryOrigin
  origin.files.set(url, { bytes: film, etag: "\"1\"", headers: { "cache-control": "max-age=3600" } })
  yield* view(url)
  yield* (yield* ChunkWriter).idle
})

describe("a short piece", () => {
  it.effect("stays as it is when the next chunk is read from disk", () =>
    Effect.gen(function*() {
      yield* fill
      // Chunks are shorter than what a server waits for, so all of them may be on their way at the same time.
      const pieces = yield* piecesOf(100, film.length)
      assert.isAbove(pieces.length, 4)
      assert.isTrue(Buffer.concat(pieces).equals(film.subarray(100)))
    }).pipe(Effect.provide(stack("faulty", { chunkSize: CHUNK }))))

  it.effect("does not keep its chunk in memory", () =>
    Effect.gen(function*() {
      yield* fill
      const bytes = (pieces: ReadonlyArray<Uint8Array>) =>
        pieces.reduce((sum, { buffer }) => sum + buffer.byteLength, 0)
      // Its first and last chunk are in memory, and not wanted as a whole.
      const pieces = yield* piecesOf(CHUNK - 10, 4 * CHUNK + 10)
      assert.deepStrictEqual(pieces.map(({ length }) => length), [10, CHUNK, CHUNK, CHUNK, 10])
      assert.strictEqual(bytes(pieces), 3 * CHUNK + 20)
    }).pipe(Effect.provide(stack("memory", { chunkSize: CHUNK, memory: 10 * CHUNK }))))
})

describe("the parts of several ranges", () => {
  it.effect("are looked up one by one, when their turn comes", () =>
    Effect.gen(function*() {
      yield* fill
      const media = yield* MediaStream
      const memory = yield* MemoryTier
      const fromMemory = Effect.map(Counters, (traffic) => traffic.totals().bytes.memory)
      const before = yield* fromMemory
      const starts = [5, 2 * CHUNK + 5, 4 * CHUNK + 5]
      const ranges = starts.map((start) => ({ _tag: "From" as const, start, last: start + 9 }))
      const opened = yield* media.open({ resource: make(url), ranges })
      assert(opened._tag === "Media")
      assert.strictEqual(yield* fromMemory, before)
      const [first, second, third] = opened.parts
      assert.deepStrictEqual(Buffer.from((yield* first!.bytes) as Uint8Array), film.subarray(5, 15))
      assert.strictEqual(yield* fromMemory, before + 10)
      // What has left memory in the meantime comes from disk.
      memory.removeResource(make(url).id)
      for (const [part, start] of [[second!, starts[1]!], [third!, starts[2]!]] as const) {
        assert.deepStrictEqual(Buffer.from((yield* part.bytes) as Uint8Array), film.subarray(start, start + 10))
      }
      assert.strictEqual(yield* fromMemory, before + 10)
    }).pipe(Effect.scoped, Effect.provide(stack("memory", { chunkSize: CHUNK, memory: 10 * CHUNK }))))
})
