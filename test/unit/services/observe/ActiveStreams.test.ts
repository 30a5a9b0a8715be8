import { assert, describe, it } from "@effect/vitest"
import { Effect, Stream } from "effect"
import { TestClock } from "effect/testing"
import { make as makeResource } from "../../../../src/domain/Resource.ts"
import { ChunkWriter } from "../../../../src/services/cache/ChunkWriter.ts"
import { MediaStream } from "../../../../src/services/media/MediaStream.ts"
import { ActiveStreams } from "../../../../src/services/observe/ActiveStreams.ts"
import { Counters } from "../../../../src/services/observe/Counters.ts"
import { Faults } from "../../../../src/testing/FaultyFileSystem.ts"
import { MemoryOrigin } from "../../../../src/testing/MemoryOrigin.ts"
import { CHUNK, stack, ticking } from "../../../support/stack.ts"
import { randomBytes } from "../../../support/TestOrigin.ts"

const url = "http://origin.test/film.mp4?key=1"
const film = randomBytes(4 * CHUNK)

const putFilm = Effect.gen(function*() {
  const origin = yield* MemoryOrigin
  origin.files.set(url, { bytes: film, etag: "\"1\"", headers: { "cache-control": "max-age=3600" } })
  return origin
})

/** Reads the film a piece at a time; `each` sees what is listed after each piece. */
const watch = (each: Effect.Effect<void, never, ActiveStreams>) =>
  Effect.scoped(Effect.gen(function*() {
    const media = yield* MediaStream
    const opened = yield* media.open({ resource: makeResource(url), viewer: "192.0.2.1" })
    assert(opened._tag === "Media")
    const bytes = yield* opened.parts[0]!.bytes
    assert(!(bytes instanceof Uint8Array))
    yield* Stream.runForEach(bytes, () => each)
  }))

describe("streams", () => {
  it.effect("are listed while they run, with what they are fed from", () =>
    Effect.gen(function*() {
      yield* putFilm
      const activity = yield* ActiveStreams
      const faults = yield* Faults
      const writer = yield* ChunkWriter
      const positions: Array<number> = []
      const sources = new Set<string>()
      const look = Effect.gen(function*() {
        assert.strictEqual(activity.count(), 1)
        const [stream] = activity.streams()
        assert.deepInclude(stream, { url, start: 0, end: film.length, size: film.length, viewer: "192.0.2.1" })
        positions.push(stream!.position)
        sources.add(stream!.detail === undefined ? stream!.source : `${stream!.source} ${stream!.detail}`)
        yield* TestClock.adjust("1 second")
      })
      yield* watch(look)
      assert.deepStrictEqual([...sources], ["origin"])
      assert.deepStrictEqual(positions, positions.toSorted((a, b) => a - b))
      assert.strictEqual(positions.at(-1), film.length)
      assert.deepStrictEqual(activity.streams(), [])
      yield* ticking(writer.idle)

      sources.clear()
      yield* watch(look)
      assert.deepStrictEqual([...sources], ["disk"])

      sources.clear()
      yield* faults.add({ operation: "read", fault: "EMFILE" })
      yield* ticking(watch(look))
      assert.deepStrictEqual([...sources], ["passthrough IO_ERROR"])
      assert.deepStrictEqual((yield* Counters).totals().bytes, {
        memory: 0,
        disk: film.length,
        peer: 0,
        origin: film.length,
        passthrough: film.length
      })
    }).pipe(Effect.provide(stack("faulty"))))

  it.effect("have a rate that is measured over 5 to 10 seconds, since players fetch in bursts", () =>
    Effect.gen(function*() {
      const activity = yield* ActiveStreams
      const rate = () => activity.streams()[0]!.bytesPerSecond
      const stream = yield* activity.begin({ url, resource: "a", start: 1000, end: 10_000, size: 10_000 })
      assert.strictEqual(rate(), 0)
      stream.advance(3000, "origin")
      yield* TestClock.adjust("2 seconds")
      assert.strictEqual(rate(), 1500)
      yield* TestClock.adjust("3 seconds")
      assert.strictEqual(rate(), 600)
      stream.advance(1000, "disk")
      yield* TestClock.adjust("4 seconds")
      assert.strictEqual(rate(), Math.round(4000 / 9))
      yield* TestClock.adjust("1 second")
      // The burst at the beginning is forgotten.
      assert.strictEqual(rate(), 200)
    }).pipe(Effect.scoped, Effect.provide(stack("memory"))))
})
