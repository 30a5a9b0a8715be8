import { assert, describe, it } from "@effect/vitest"
import { ReusedBuffers } from "../../../../src/effects/ReusedBuffers.ts"
import { HandedPieces } from "../../../../src/services/cache/ChunkMemory.ts"

const LEAST = 1000
const CHUNK = 4000
const END = 3 * CHUNK

/** Three chunks that nobody but a viewer holds once they were handed out, and which of them were freed. */
const world = (reuses: boolean) => {
  const freed = new Set<ArrayBufferLike>()
  const memory = new ReusedBuffers(LEAST, ({ buffer }) => freed.add(buffer))
  const chunks = [0, 1, 2].map((index) => memory.take(CHUNK).fill(index + 1))
  const handed = new HandedPieces(memory, END, reuses)
  let offset = 0
  /** Asks for a piece of so many bytes. */
  const next = (bytes: number): Uint8Array => {
    const start = offset % CHUNK
    const piece = handed.next(chunks[Math.floor(offset / CHUNK)]!.subarray(start, start + bytes), offset)
    offset += bytes
    assert.strictEqual(piece.length, bytes)
    return piece
  }
  /** The cache lets go of a chunk. */
  const leave = (index: number) => memory.release(chunks[index]!)
  const isFree = (index: number) => freed.has(chunks[index]!.buffer)
  return { chunks, handed, isFree, leave, next }
}

describe("HandedPieces", () => {
  it("hands out pieces without a copy, and holds a chunk until its long piece has left", () => {
    const { chunks, isFree, leave, next } = world(true)
    assert.strictEqual(next(CHUNK).buffer, chunks[0]!.buffer)
    leave(0)
    assert.isFalse(isFree(0))
    next(10)
    assert.isTrue(isFree(0))
  })

  it("holds a chunk while pieces of it may wait behind short ones", () => {
    const { isFree, leave, next } = world(true)
    next(CHUNK - 10)
    next(10)
    leave(0)
    next(LEAST - 1)
    assert.isFalse(isFree(0))
    next(1)
    assert.isFalse(isFree(0))
    next(1)
    assert.isTrue(isFree(0))
  })

  it("holds a chunk once for all of its pieces", () => {
    const { isFree, leave, next } = world(true)
    for (const bytes of [500, 500, 1500, 1500]) next(bytes)
    leave(0)
    assert.isFalse(isFree(0))
    next(CHUNK)
    assert.isTrue(isFree(0))
  })

  it("lets go of everything when the viewer asks for more behind the end", () => {
    const { handed, isFree, leave, next } = world(true)
    for (let index = 0; index < 3; index++) {
      next(CHUNK)
      leave(index)
    }
    assert.deepStrictEqual([0, 1, 2].map(isFree), [true, true, false])
    handed.finish()
    assert.isTrue(isFree(2))
  })

  it("copies the last short pieces, which may wait longer", () => {
    const { chunks, handed, isFree, leave, next } = world(true)
    for (let index = 0; index < 2; index++) next(CHUNK)
    next(CHUNK - LEAST)
    const last = [next(LEAST - 10), next(10)]
    for (let index = 0; index < 3; index++) leave(index)
    handed.finish()
    assert.isTrue(isFree(2))
    chunks[2]!.fill(9)
    for (const piece of last) assert.isTrue(piece.every((byte) => byte === 3))
  })

  it("hands out the last short pieces of other memory as they are", () => {
    const memory = new ReusedBuffers(LEAST)
    const piece = new Uint8Array(10)
    assert.strictEqual(new HandedPieces(memory, END, true).next(piece, END - 10), piece)
  })

  it("keeps what a viewer was handed who doesn't come back", () => {
    const { isFree, leave, next } = world(true)
    next(CHUNK)
    next(CHUNK)
    for (let index = 0; index < 3; index++) leave(index)
    assert.deepStrictEqual([0, 1, 2].map(isFree), [true, false, true])
  })

  it("has nothing used again of what others than such viewers get", () => {
    const { chunks, handed, isFree, leave, next } = world(false)
    assert.strictEqual(next(CHUNK).buffer, chunks[0]!.buffer)
    assert.strictEqual(next(10).buffer, chunks[1]!.buffer)
    for (let index = 0; index < 3; index++) leave(index)
    handed.finish()
    assert.deepStrictEqual([0, 1, 2].map(isFree), [false, false, true])
  })
})
