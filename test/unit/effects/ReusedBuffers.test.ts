import { assert, describe, it } from "@effect/vitest"
import { ReusedBuffers } from "../../../src/effects/ReusedBuffers.ts"

const MEBIBYTE = 1024 ** 2

/** Whether two pieces are in the same memory. */
const isSame = (a: Uint8Array, b: Uint8Array): boolean => a.buffer === b.buffer

describe("ReusedBuffers", () => {
  it("uses a buffer again when its last holder releases it", () => {
    const buffers = new ReusedBuffers(1000)
    const first = buffers.take(4000)
    assert.isTrue(buffers.isReused(first.subarray(10, 20)))
    buffers.hold(first.subarray(10, 20))
    buffers.release(first)
    assert.isFalse(isSame(buffers.take(4000), first))
    buffers.release(first.subarray(10, 20))
    assert.isTrue(isSame(buffers.take(4000), first))
    assert.isFalse(isSame(buffers.take(4000), first))
  })

  it("takes a buffer back once, however often it is released", () => {
    const buffers = new ReusedBuffers(1000)
    const first = buffers.take(4000)
    for (let count = 0; count < 3; count++) buffers.release(first)
    assert.isTrue(isSame(buffers.take(4000), first))
    assert.isFalse(isSame(buffers.take(4000), first))
  })

  it("doesn't use a buffer again that somebody may keep", () => {
    const buffers = new ReusedBuffers(1000)
    const first = buffers.take(4000)
    buffers.forget(first.subarray(5))
    assert.isFalse(buffers.isReused(first))
    buffers.hold(first)
    buffers.release(first)
    assert.isFalse(isSame(buffers.take(4000), first))
  })

  it("leaves short buffers, and those of others, alone", () => {
    const buffers = new ReusedBuffers(1000)
    for (const bytes of [buffers.take(999), new Uint8Array(4000)]) {
      assert.isFalse(buffers.isReused(bytes))
      buffers.hold(bytes)
      buffers.release(bytes)
      assert.isFalse(isSame(buffers.take(bytes.length), bytes))
    }
  })

  it("gives as many bytes as are asked for, in memory that fits similar lengths", () => {
    const buffers = new ReusedBuffers(1)
    for (const bytes of [1, 2, 7, 8, 9, 1000, 65_537, 300_000, MEBIBYTE - 1, MEBIBYTE, MEBIBYTE + 1]) {
      const buffer = buffers.take(bytes)
      assert.strictEqual(buffer.length, bytes)
      assert.isAtMost(buffer.buffer.byteLength, Math.ceil(bytes * 9 / 8))
      buffers.release(buffer)
    }
    const long = buffers.take(300_000)
    buffers.release(long)
    assert.isTrue(isSame(buffers.take(299_000), long))
  })

  it("keeps a bounded amount of free memory, and lets go of the size that was used longest ago", () => {
    const freed: Array<number> = []
    const buffers = new ReusedBuffers(1, ({ length }) => freed.push(length))
    const small = buffers.take(2 * MEBIBYTE)
    const large = Array.from({ length: 10 }, () => buffers.take(4 * MEBIBYTE))
    const largest = buffers.take(64 * MEBIBYTE)
    for (const buffer of [small, ...large, largest]) buffers.release(buffer)
    assert.deepStrictEqual(freed, [2 * MEBIBYTE, ...large.map(() => 4 * MEBIBYTE), 64 * MEBIBYTE])
    assert.isFalse(isSame(buffers.take(64 * MEBIBYTE), largest))
    assert.isFalse(isSame(buffers.take(2 * MEBIBYTE), small))
    const again = Array.from({ length: 10 }, () => buffers.take(4 * MEBIBYTE))
    const reused = again.filter((buffer) => large.some((known) => isSame(known, buffer)))
    assert.strictEqual(reused.length, 8)
  })
})
