import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { ChunkWriter } from "../../../../src/services/cache/ChunkWriter.ts"
import { Counters } from "../../../../src/services/observe/Counters.ts"
import { Faults } from "../../../../src/testing/FaultyFileSystem.ts"
import { MemoryOrigin } from "../../../../src/testing/MemoryOrigin.ts"
import { CHUNK, stack, ticking, view } from "../../../support/stack.ts"
import { randomBytes } from "../../../support/TestOrigin.ts"

const url = "http://origin.test/film.mp4?key=1"
const film = randomBytes(4 * CHUNK)

const putFilm = Effect.gen(function*() {
  const origin = yield* MemoryOrigin
  origin.files.set(url, { bytes: film, etag: "\"1\"", headers: { "cache-control": "max-age=3600" } })
  return origin
})

describe("counters", () => {
  it.effect("counts what origins were asked for and gave", () =>
    Effect.gen(function*() {
      yield* putFilm
      const counters = yield* Counters
      yield* view(url)
      assert.deepInclude(counters.totals(), { originRequests: 1, originBytes: film.length, evictions: 0 })
    }).pipe(Effect.provide(stack("memory"))))

  it.effect("counts what is evicted, and what is not written", () =>
    Effect.gen(function*() {
      yield* putFilm
      const counters = yield* Counters
      const faults = yield* Faults
      const writer = yield* ChunkWriter
      yield* view(url)
      yield* ticking(writer.idle)
      assert.deepInclude(counters.totals(), { evictions: 3, droppedChunks: 0 })
      yield* faults.add({ operation: "open", fault: "EIO" })
      yield* ticking(view(url))
      yield* ticking(writer.idle)
      assert.strictEqual(counters.totals().droppedChunks, 4)
    }).pipe(Effect.provide(stack("faulty", { maxSize: 2 * CHUNK + 24 * 1024 }))))
})
