import { assert, describe, it } from "@effect/vitest"
import { FrequencySketch } from "../../../src/effects/FrequencySketch.ts"

const uses = (count: number, use: (i: number) => void) => {
  for (let i = 0; i < count; i++) use(i)
}

describe("FrequencySketch", () => {
  it("counts uses", () => {
    const sketch = new FrequencySketch()
    uses(5, () => sketch.add(1))
    sketch.add(2)
    assert.deepStrictEqual([1, 2, 3].map((hash) => sketch.estimate(hash)), [5, 1, 0])
  })

  it("distinguishes what is used often among many things", () => {
    const sketch = new FrequencySketch()
    uses(40_000, (i) => sketch.add(i))
    uses(20, () => sketch.add(7))
    assert.isAtLeast(sketch.estimate(7), 21)
    let wrong = 0
    uses(40_000, (i) => wrong += i !== 7 && sketch.estimate(i) > 4 ? 1 : 0)
    assert.isBelow(wrong, 40)
  })

  it("halves the counts after many uses", () => {
    const sketch = new FrequencySketch()
    uses(100, () => sketch.add(1))
    uses(1_000_000, (i) => sketch.add(1000 + i))
    assert.isBelow(sketch.estimate(1), 80)
  })

  it("counts no further than it can", () => {
    const sketch = new FrequencySketch()
    uses(1000, () => sketch.add(1))
    assert.strictEqual(sketch.estimate(1), 255)
  })
})
