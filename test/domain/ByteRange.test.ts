import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"
import {
  formatContentRange,
  formatRange,
  formatUnsatisfied,
  parseContentRange,
  parseRange,
  type RangeSpec,
  resolve
} from "../../src/domain/ByteRange.ts"

const MAX = Number.MAX_SAFE_INTEGER
const intBetween = (minimum: number, maximum: number) => Schema.Int.check(Schema.isBetween({ minimum, maximum }))
const from = (start: number, last?: number): RangeSpec => ({ _tag: "From", start, last })
const suffix = (length: number): RangeSpec => ({ _tag: "Suffix", length })

const understood: ReadonlyArray<readonly [string, RangeSpec]> = [
  ["bytes=0-", from(0)],
  ["bytes=0-0", from(0, 0)],
  ["bytes=5-9", from(5, 9)],
  ["bytes=7-7", from(7, 7)],
  ["bytes=007-010", from(7, 10)],
  ["bytes=-1", suffix(1)],
  ["bytes=-0", suffix(0)],
  ["bytes=-500", suffix(500)],
  ["Bytes=1-2", from(1, 2)],
  ["BYTES=1-", from(1)],
  ["bytes= 1-2", from(1, 2)],
  ["bytes=\t1-2 \t", from(1, 2)],
  [`bytes=0-${MAX}`, from(0, MAX)],
  ["bytes=0-9007199254740993", from(0, MAX)],
  [`bytes=${"9".repeat(400)}-`, from(MAX)],
  [`bytes=-${"9".repeat(400)}`, suffix(MAX)],
  [`bytes=1-${"9".repeat(25)}`, from(1, MAX)]
]

const ignored: ReadonlyArray<string> = [
  "",
  " ",
  "bytes",
  "bytes=",
  "bytes=-",
  "bytes=--1",
  "bytes=a-b",
  "bytes=1-b",
  "bytes=0x1-2",
  "bytes=1e3-",
  "bytes=1.5-2",
  "bytes=+1-2",
  "bytes=-1-2",
  "bytes=1-2-3",
  "bytes=9-5",
  "bytes 1-2",
  "bytes:1-2",
  "bytes =1-2",
  "bytes=1 -2",
  "bytes=1- 2",
  "bytes=1",
  "bytes=0-0,2-3",
  "bytes=0-0, -1",
  "bytes=,0-1",
  "bytes=0-1,",
  "items=0-5",
  "seconds=1-2",
  "=0-1",
  "0-1",
  "bytes=0-1;q=1",
  "bytes=\u0661-\u0662",
  "bytes=0-1\n",
  "bytes=0-1\0"
]

describe("parseRange", () => {
  it.each(understood)("reads %j", (field, expected) => {
    assert.deepStrictEqual(parseRange(field), expected)
  })

  it.each(ignored)("ignores %j", (field) => {
    assert.isUndefined(parseRange(field))
  })

  it("ignores a field that is absent", () => {
    assert.isUndefined(parseRange(undefined))
  })

  it.prop("reads what formatRange writes", { start: intBetween(0, MAX - 1), length: intBetween(1, 2 ** 40) }, (_) => {
    const end = Math.min(_.start + _.length, MAX)
    assert.deepStrictEqual(parseRange(formatRange(_.start, end)), from(_.start, end - 1))
    assert.deepStrictEqual(parseRange(formatRange(_.start)), from(_.start))
  })

  it.prop(
    "throws for no field at all",
    { field: Schema.String, unit: Schema.Literals(["", "bytes=", "bytes=1-"]) },
    (_) => {
      const spec = parseRange(_.unit + _.field)
      if (spec === undefined) return
      const numbers = spec._tag === "Suffix" ? [spec.length] : [spec.start, spec.last ?? spec.start]
      assert.isTrue(numbers.every((n) => Number.isSafeInteger(n) && n >= 0))
    }
  )
})

describe("resolve", () => {
  const cases: ReadonlyArray<readonly [string, number, { start: number; end: number } | undefined]> = [
    ["bytes=0-", 10, { start: 0, end: 10 }],
    ["bytes=0-0", 10, { start: 0, end: 1 }],
    ["bytes=9-9", 10, { start: 9, end: 10 }],
    ["bytes=9-10", 10, { start: 9, end: 10 }],
    ["bytes=3-999", 10, { start: 3, end: 10 }],
    [`bytes=3-${"9".repeat(30)}`, 10, { start: 3, end: 10 }],
    ["bytes=10-", 10, undefined],
    ["bytes=10-10", 10, undefined],
    [`bytes=${"9".repeat(30)}-`, 10, undefined],
    ["bytes=-1", 10, { start: 9, end: 10 }],
    ["bytes=-10", 10, { start: 0, end: 10 }],
    ["bytes=-11", 10, { start: 0, end: 10 }],
    [`bytes=-${"9".repeat(30)}`, 10, { start: 0, end: 10 }],
    ["bytes=-0", 10, undefined],
    ["bytes=0-", 0, undefined],
    ["bytes=0-0", 0, undefined],
    ["bytes=-5", 0, undefined],
    ["bytes=0-0", 1, { start: 0, end: 1 }]
  ]

  it.each(cases)("%s of %i bytes", (field, size, expected) => {
    assert.deepStrictEqual(resolve(parseRange(field)!, size), expected)
  })

  it.prop("stays within the representation, and selects what was asked for", {
    size: intBetween(0, 300),
    start: intBetween(0, 400),
    length: intBetween(0, 400),
    kind: Schema.Literals(["open", "closed", "suffix"])
  }, ({ kind, length, size, start }) => {
    const spec = kind === "suffix" ? suffix(length) : from(start, kind === "open" ? undefined : start + length)
    const all = Array.from({ length: size }, (_, i) => i)
    const wanted = kind === "suffix"
      ? all.filter((i) => i >= size - length)
      : all.filter((i) => i >= start && (kind === "open" || i <= start + length))
    const range = resolve(spec, size)
    assert.deepStrictEqual(range === undefined ? [] : all.slice(range.start, range.end), wanted)
    if (range !== undefined) assert.isTrue(0 <= range.start && range.start < range.end && range.end <= size)
  }, { arbitrary: { runs: 500 } })
})

describe("Content-Range", () => {
  it("is written as on the wire, with the last byte inclusive", () => {
    assert.strictEqual(formatContentRange({ start: 0, end: 1 }, 10), "bytes 0-0/10")
    assert.strictEqual(formatContentRange({ start: 5, end: 10 }, 10), "bytes 5-9/10")
    assert.strictEqual(formatUnsatisfied(10), "bytes */10")
    assert.strictEqual(formatRange(5, 10), "bytes=5-9")
    assert.strictEqual(formatRange(5), "bytes=5-")
  })

  it("is read with or without the size, in any case", () => {
    assert.deepStrictEqual(parseContentRange("bytes 0-0/1"), { range: { start: 0, end: 1 }, size: 1 })
    assert.deepStrictEqual(parseContentRange("bytes 2-4/*"), { range: { start: 2, end: 5 }, size: undefined })
    assert.deepStrictEqual(parseContentRange(" Bytes 2-4/10 "), { range: { start: 2, end: 5 }, size: 10 })
  })

  it.each([
    undefined,
    "",
    "bytes",
    "bytes */10",
    "bytes */*",
    "bytes 5-4/10",
    "bytes 0-10/10",
    "bytes 10-10/10",
    "bytes 0-0/0",
    "bytes 0-/10",
    "bytes -5/10",
    "bytes=0-4/10",
    "bytes 0-4",
    "bytes 0-4/",
    "bytes 0 - 4/10",
    "items 0-4/10",
    "bytes 0-4/10, bytes 5-9/10"
  ])("is not understood as %j", (field) => {
    assert.isUndefined(parseContentRange(field))
  })

  it.prop("survives the round trip", {
    start: intBetween(0, 2 ** 50),
    length: intBetween(1, 2 ** 40),
    rest: intBetween(0, 2 ** 40)
  }, ({ length, rest, start }) => {
    const range = { start, end: start + length }
    const size = range.end + rest
    assert.deepStrictEqual(parseContentRange(formatContentRange(range, size)), { range, size })
  })
})
