import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"
import { count, indexAt, keyText, roundUp, span } from "../../../src/domain/Chunk.ts"

const intBetween = (minimum: number, maximum: number) => Schema.Int.check(Schema.isBetween({ minimum, maximum }))

describe("chunks", () => {
  it.prop("tile the representation: no gap, no overlap, only the last one shorter", {
    chunkSize: intBetween(1, 64),
    size: intBetween(0, 2000)
  }, ({ chunkSize, size }) => {
    const chunks = count(size, chunkSize)
    let next = 0
    for (let index = 0; index < chunks; index++) {
      const { end, start } = span(index, chunkSize, size)
      assert.strictEqual(start, next)
      assert.isAbove(end, start)
      if (index < chunks - 1) assert.strictEqual(end - start, chunkSize)
      else assert.isAtMost(end - start, chunkSize)
      next = end
    }
    assert.strictEqual(next, size)
  })

  it.prop("hold the byte that their index was asked for", {
    chunkSize: intBetween(1, 64 * 1024 ** 2),
    size: intBetween(1, 2 ** 45),
    part: Schema.Finite.check(Schema.isBetween({ minimum: 0, maximum: 1 }))
  }, ({ chunkSize, part, size }) => {
    const offset = Math.min(Math.floor(size * part), size - 1)
    const index = indexAt(offset, chunkSize)
    const { end, start } = span(index, chunkSize, size)
    assert.isTrue(start <= offset && offset < end)
    assert.isTrue(index < count(size, chunkSize))
  })

  it.prop("end where roundUp says", {
    chunkSize: intBetween(1, 64 * 1024 ** 2),
    size: intBetween(1, 2 ** 45),
    part: Schema.Finite.check(Schema.isBetween({ minimum: 0, maximum: 1 }))
  }, ({ chunkSize, part, size }) => {
    const offset = Math.min(Math.floor(size * part), size - 1) + 1
    assert.strictEqual(roundUp(offset, chunkSize, size), span(indexAt(offset - 1, chunkSize), chunkSize, size).end)
  })

  it("has none of an empty file, and a short last one", () => {
    assert.strictEqual(count(0, 100), 0)
    assert.strictEqual(count(1, 100), 1)
    assert.strictEqual(count(100, 100), 1)
    assert.strictEqual(count(101, 100), 2)
    assert.deepStrictEqual(span(1, 100, 101), { start: 100, end: 101 })
    assert.deepStrictEqual(span(0, 100, 100), { start: 0, end: 100 })
  })

  it("rounds up to the end of the chunk, at most to the end of the file", () => {
    assert.strictEqual(roundUp(0, 100, 250), 0)
    assert.strictEqual(roundUp(1, 100, 250), 100)
    assert.strictEqual(roundUp(100, 100, 250), 100)
    assert.strictEqual(roundUp(101, 100, 250), 200)
    assert.strictEqual(roundUp(201, 100, 250), 250)
    assert.strictEqual(roundUp(250, 100, 250), 250)
  })

  it("is exact at the largest sizes", () => {
    const size = Number.MAX_SAFE_INTEGER
    assert.isTrue(Number.isSafeInteger(roundUp(size - 1, 1024 ** 2, size)))
    assert.strictEqual(span(indexAt(size - 1, 65_536), 65_536, size).end, size)
  })

  it("has a key text that no other chunk has", () => {
    const resource = "a".repeat(32)
    const texts = [
      keyText({ resource, representation: "b".repeat(32), index: 1 }),
      keyText({ resource, representation: "b".repeat(32), index: 11 }),
      keyText({ resource, representation: "c".repeat(32), index: 1 }),
      keyText({ resource: "d".repeat(32), representation: "b".repeat(32), index: 1 })
    ]
    assert.strictEqual(new Set(texts).size, texts.length)
  })
})
