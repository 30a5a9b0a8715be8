import { assert, describe, it } from "@effect/vitest"
import { Effect, Logger } from "effect"
import { TestClock } from "effect/testing"
import { fromHead, Representation } from "../../../src/domain/Representation.ts"
import { make as makeResource } from "../../../src/domain/Resource.ts"
import { keepRunning } from "../../../src/effects/keepRunning.ts"
import { CacheIndex } from "../../../src/services/cache/CacheIndex.ts"
import { Catalog } from "../../../src/services/cache/Catalog.ts"
import { ChunkWriter } from "../../../src/services/cache/ChunkWriter.ts"
import { CHUNK, stack } from "../../support/stack.ts"

describe("a job in the background", () => {
  it.effect("runs again after a defect, which is logged once a minute", () =>
    Effect.gen(function*() {
      const lines: Array<string> = []
      const logger = Logger.make(({ message }) => void lines.push(String(message)))
      let jobs = 0
      const job = Effect.suspend(() => ++jobs % 2 === 1 ? Effect.die(new Error("odd")) : Effect.sleep("1 second"))
      yield* Effect.provide(keepRunning("Oddity")(job), Logger.layer([logger]))
      yield* TestClock.adjust("10 seconds")
      assert.isAtLeast(jobs, 16)
      assert.deepStrictEqual(lines.map((line) => line.split(",")[0]), ["Oddity: a job failed unexpectedly"])
      yield* TestClock.adjust("51 seconds")
      assert.lengthOf(lines, 2)
    }))

  it.effect("ends with its scope", () =>
    Effect.gen(function*() {
      let jobs = 0
      const job = Effect.andThen(Effect.sync(() => void jobs++), Effect.sleep("1 second"))
      yield* Effect.scoped(Effect.andThen(keepRunning("Job")(job), TestClock.adjust("3 seconds")))
      yield* TestClock.adjust("10 seconds")
      assert.strictEqual(jobs, 4)
    }))
})

describe("the writer of chunks", () => {
  it.effect("writes the next chunk after one whose write ended in a defect", () =>
    Effect.gen(function*() {
      const catalog = yield* Catalog
      const index = yield* CacheIndex
      const writer = yield* ChunkWriter
      const resource = makeResource("http://origin.test/film")
      const headers = { "content-length": String(4 * CHUNK), etag: "\"1\"" }
      const found = fromHead(resource, { status: 200, headers }, CHUNK)
      assert.instanceOf(found, Representation)
      const { representation } = catalog.confirm(found, headers, { requested: 0, received: 0 }, "")
      const keyOf = (index: number) => ({ resource: resource.id, representation: representation.id, index })
      const payload = new Uint8Array(CHUNK)
      // Its file's header has no room for such an index.
      writer.offer(representation, keyOf(2 ** 40), payload)
      writer.offer(representation, keyOf(1), payload)
      while (writer.backlog().bytes > 0) {
        yield* TestClock.adjust("10 millis")
        yield* Effect.promise(() => new Promise(setImmediate))
      }
      assert.isFalse(index.has(keyOf(2 ** 40)))
      assert.isTrue(index.has(keyOf(1)))
    }).pipe(Effect.provide(stack("faulty"))))
})
