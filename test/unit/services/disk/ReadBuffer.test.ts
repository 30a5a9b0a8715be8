import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber } from "effect"
import { ReadBuffer, ReadBuffers } from "../../../../src/services/disk/ReadBuffer.ts"

const KiB = 1024

/** Reads `bytes` bytes, and returns the buffer that they were read into. */
const into = (buffer: ReadBuffer, bytes: number): Effect.Effect<Uint8Array> =>
  buffer.read(bytes, (into) => Effect.succeed(into))

describe("ReadBuffer", () => {
  it.effect("is used for every piece of one size", () =>
    Effect.gen(function*() {
      const buffer = new ReadBuffer(new ReadBuffers())
      const first = yield* into(buffer, 64 * KiB)
      assert.strictEqual(first.length, 64 * KiB)
      assert.strictEqual(yield* into(buffer, 64 * KiB), first)
    }))

  it.effect("is another viewer's after the last piece, and after a piece of another size", () =>
    Effect.gen(function*() {
      const buffers = new ReadBuffers()
      const [one, other] = [new ReadBuffer(buffers), new ReadBuffer(buffers)]
      const short = yield* into(one, 64 * KiB)
      assert.notStrictEqual(yield* into(other, 64 * KiB), short)
      const long = yield* into(one, 256 * KiB)
      assert.strictEqual(long.length, 256 * KiB)
      assert.strictEqual(yield* into(new ReadBuffer(buffers), 64 * KiB), short)
      one.release()
      assert.strictEqual(yield* into(other, 256 * KiB), long)
    }))

  it.effect("is released once", () =>
    Effect.gen(function*() {
      const buffers = new ReadBuffers()
      const buffer = new ReadBuffer(buffers)
      yield* into(buffer, 64 * KiB)
      buffer.release()
      buffer.release()
      const [one, other] = [new ReadBuffer(buffers), new ReadBuffer(buffers)]
      assert.notStrictEqual(yield* into(one, 64 * KiB), yield* into(other, 64 * KiB))
    }))

  it.effect("is nobody's after a read that failed or was interrupted: it may still be written to", () =>
    Effect.gen(function*() {
      const buffers = new ReadBuffers()
      const lost: Array<Buffer> = []
      const failing = new ReadBuffer(buffers)
      yield* Effect.flip(failing.read(64 * KiB, (into) => {
        lost.push(into)
        return Effect.fail("damaged")
      }))
      failing.release()
      const leaving = new ReadBuffer(buffers)
      const reads = yield* Deferred.make<void>()
      const fiber = yield* Effect.forkChild(leaving.read(64 * KiB, (into) => {
        lost.push(into)
        return Effect.andThen(Deferred.succeed(reads, undefined), Effect.never)
      }))
      yield* Deferred.await(reads)
      yield* Fiber.interrupt(fiber)
      leaving.release()
      assert.lengthOf(lost, 2)
      for (let i = 0; i < 3; i++) {
        assert.notInclude(lost as Array<Uint8Array>, yield* into(new ReadBuffer(buffers), 64 * KiB))
      }
    }))

  it("keeps a bounded amount of free memory for each size", () => {
    const pool = new ReadBuffers().of(1024 * KiB)
    const all = Array.from({ length: 10 }, () => pool.take())
    for (const buffer of all) pool.give(buffer)
    const again = Array.from({ length: 10 }, () => pool.take())
    assert.lengthOf(again.filter((buffer) => all.includes(buffer)), 4)
  })
})
