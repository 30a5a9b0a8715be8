import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import { ago, bar, counted, duration, fit, map, percent, table } from "../../../src/cli/text.ts"

describe("what the command line writes", () => {
  it("durations in their two largest units", () => {
    assert.deepStrictEqual([0, 0.4, 59, 60, 3599, 3600, 90_061, -3].map(duration), [
      "0 s",
      "0 s",
      "59 s",
      "1 min",
      "59 min 59 s",
      "1 h",
      "1 d 1 h",
      "0 s"
    ])
  })

  it("shares that are never rounded up to all", () => {
    assert.deepStrictEqual([percent(999, 1000), percent(1000, 1000), percent(0, 0), percent(1, 3)], [
      "99 %",
      "100 %",
      "100 %",
      "33 %"
    ])
  })

  it("times as they are from now", () => {
    assert.strictEqual(ago("2030-01-02T03:04:05.678Z", Date.parse("2030-01-02T03:06:05.678Z")), "2 min ago")
    // The server's clock may be ahead.
    assert.strictEqual(ago("2030-01-02T03:04:05.678Z", Date.parse("2030-01-02T03:04:04.678Z")), "0 s ago")
  })

  it("lines that fit into a terminal, whose last column stays free", () => {
    assert.deepStrictEqual([fit("abc", 4), fit("abc", 3), fit("abc", 1), fit("abc", 0)], ["abc", "ab", "", "abc"])
  })

  it("counts, bars and tables", () => {
    assert.deepStrictEqual([counted(1, "file"), counted(0, "file")], ["1 file", "0 files"])
    assert.deepStrictEqual([bar(0, 4, 4), bar(3, 4, 4), bar(9, 4, 4), bar(0, 0, 4)], [
      "[....]",
      "[###.]",
      "[####]",
      "[####]"
    ])
    assert.strictEqual(table([["a", "bb"], ["ccc", "d"]], new Set([0])), "  a  bb\nccc  d")
  })

  it("a map with shades for what is partly there", () => {
    assert.strictEqual(map([{ start: 0, end: 25 }, { start: 75, end: 100 }], 100, 4), "█··█")
    assert.strictEqual(map([{ start: 0, end: 1 }, { start: 50, end: 74 }], 100, 4), "░·▓·")
    assert.strictEqual(map([], 3, 80), "···")
    assert.strictEqual(map([], 0, 80), "")
  })

  it.effect.prop("a map that says █ of what is all there and · of what is not there at all", {
    ranges: Schema.Array(Schema.Struct({
      gap: Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 50 })),
      length: Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 50 }))
    })),
    width: Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 60 })),
    rest: Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 50 }))
  }, ({ ranges, rest, width }) =>
    Effect.sync(() => {
      let at = 0
      const there: Array<boolean> = []
      const cached = ranges.map(({ gap, length }) => {
        const start = at + gap
        at = start + length
        for (let i = there.length; i < at; i++) there.push(i >= start)
        return { start, end: at }
      })
      const size = at + rest
      for (let i = there.length; i < size; i++) there.push(false)
      const drawn = [...map(cached, size, width)]
      assert.strictEqual(drawn.length, Math.min(width, size))
      drawn.forEach((character, column) => {
        const part = there.slice(
          Math.floor(size * column / drawn.length),
          Math.floor(size * (column + 1) / drawn.length)
        )
        assert.strictEqual(character === "█", part.every(Boolean))
        assert.strictEqual(character === "·", !part.some(Boolean))
      })
    }), { arbitrary: { runs: 200 } })
})
