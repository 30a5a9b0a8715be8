import { assert, describe, it } from "@effect/vitest"
import { PieceSize } from "../../../../src/services/media/PieceSize.ts"

const KiB = 1024

/** The sizes of the next pieces, in KiB, for a viewer who takes so many bytes a second. */
const make = () => {
  let now = 0
  const size = new PieceSize(() => now)
  return (count: number, bytesPerSecond: number) =>
    Array.from({ length: count }, () => {
      const bytes = size.next()
      size.handed(bytes)
      now += bytes / bytesPerSecond * 1000
      return bytes / KiB
    })
}

describe("PieceSize", () => {
  it("grows with what a fast viewer has taken, up to 1 MiB", () => {
    const sizes = make()(128, 1e9)
    assert.deepStrictEqual(sizes.slice(0, 33), [...Array.from({ length: 32 }, () => 64), 128])
    assert.deepStrictEqual(sizes, sizes.toSorted((a, b) => a - b))
    assert.strictEqual(sizes.at(-1), 1024)
  })

  it("is 64 KiB for a slow viewer as soon as that is seen, and grows again when it isn't slow any more", () => {
    const next = make()
    assert.strictEqual(next(128, 1e9).at(-1), 1024)
    assert.deepStrictEqual(next(3, 20_000), [1024, 64, 64])
    assert.deepStrictEqual(next(3, 1e9), [64, 1024, 1024])
  })

  it("is what the viewer takes in a quarter of a second, between the two", () => {
    const next = make()
    next(128, 1e9)
    assert.deepStrictEqual(next(3, 2_000_000).slice(1), [256, 256])
  })
})
