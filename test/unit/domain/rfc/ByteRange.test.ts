import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"
import {
  COALESCE_GAP_BYTES,
  formatContentRange,
  formatRange,
  formatUnsatisfied,
  MAX_RANGES,
  parseContentRange,
  parseRange,
  parseRanges,
  type RangeSpec,
  resolve,
  resolveAll
} from "../../../../src/domain/rfc/ByteRange.ts"

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

/** What `parseRange` leaves alone for being a list. */
const lists: ReadonlyArray<readonly [string, ReadonlyArray<RangeSpec>]> = [
  ["bytes=0-0,2-3", [from(0, 0), from(2, 3)]],
  ["bytes=0-0, -1", [from(0, 0), suffix(1)]],
  ["Bytes=5-,-0,1-1", [from(5), suffix(0), from(1, 1)]],
  ["bytes=900-999, 0-99 ,\t400-", [from(900, 999), from(0, 99), from(400)]],
  ["bytes=,0-1", [from(0, 1)]],
  ["bytes=0-1,", [from(0, 1)]],
  ["bytes= , ,\t,0-1,,  ,2-3,, ", [from(0, 1), from(2, 3)]],
  ["bytes=7-9,7-9", [from(7, 9), from(7, 9)]],
  [`bytes=0-${"9".repeat(400)},-${"9".repeat(30)}`, [from(0, MAX), suffix(MAX)]]
]

describe("parseRanges", () => {
  it.each([...understood.map(([field, spec]) => [field, [spec]] as const), ...lists])("reads %j", (field, expected) => {
    assert.deepStrictEqual(parseRanges(field), expected)
  })

  it.each([
    ...ignored.filter((field) => lists.every(([list]) => list !== field)),
    "bytes=,",
    "bytes= , ,",
    "bytes=0-1,x",
    "bytes=0-1,5-4",
    "bytes=0-1,-",
    "bytes=0-1 2-3",
    "bytes=0-1;2-3",
    "bytes=0-1,bytes=2-3",
    "bytes=0-1, 2 -3",
    "bytes=0-1,\u00a02-3",
    "bytes=0-1,\n2-3",
    "items=0-1,2-3"
  ])("ignores %j", (field) => {
    assert.isUndefined(parseRanges(field))
  })

  it("ignores a field that is absent", () => {
    assert.isUndefined(parseRanges(undefined))
  })

  it("takes so many ranges and no more, whether they are valid first or last", () => {
    const list = (count: number) => `bytes=${Array.from({ length: count }, (_, i) => `${i}-${i}`).join(",")}`
    assert.lengthOf(parseRanges(list(MAX_RANGES)) as ReadonlyArray<RangeSpec>, MAX_RANGES)
    assert.lengthOf(parseRanges(`${list(MAX_RANGES)},,, ,`) as ReadonlyArray<RangeSpec>, MAX_RANGES)
    assert.strictEqual(parseRanges(list(MAX_RANGES + 1)), "TooMany")
    assert.isUndefined(parseRanges(`${list(MAX_RANGES + 1)},x`))
  })

  it.prop("reads any list that is written, however it is spaced", {
    elements: Schema.Array(Schema.Struct({
      start: intBetween(0, 1000),
      length: intBetween(0, 1000),
      kind: Schema.Literals(["open", "closed", "suffix"]),
      before: Schema.Literals(["", " ", "\t ", ", ,"]),
      after: Schema.Literals(["", " ", " \t", ",", " ,, "])
    })).check(Schema.isBetweenLength(1, MAX_RANGES))
  }, ({ elements }) => {
    const texts = elements.map(({ after, before, kind, length, start }) => {
      const text = kind === "suffix" ? `-${length}` : `${start}-${kind === "open" ? "" : start + length}`
      return before + text + after
    })
    const specs = elements.map(({ kind, length, start }) =>
      kind === "suffix" ? suffix(length) : from(start, kind === "open" ? undefined : start + length)
    )
    assert.deepStrictEqual(parseRanges(`bytes=${texts.join(",")}`), specs)
  })

  it.prop("agrees with parseRange, and throws for no field at all", {
    field: Schema.String,
    unit: Schema.Literals(["", "bytes=", "bytes=1-", "bytes=1-2,"])
  }, ({ field, unit }) => {
    const single = parseRange(unit + field)
    if (single !== undefined) assert.deepStrictEqual(parseRanges(unit + field), [single])
  })

  // Far longer than a header can be: in quadratic time these would take minutes.
  const length = 2 ** 19
  it.each(
    [
      ["spaces", `${" ".repeat(length)}x`],
      ["spaces inside", `1-2${" ".repeat(length)}x`],
      ["commas", `${",".repeat(length)}x`],
      ["commas and spaces", `${" ,".repeat(length / 2)}x`],
      ["digits", `${"1".repeat(length)}x`],
      ["digits on both sides", `${"1".repeat(length / 2)}-${"1".repeat(length / 2)}x`],
      ["hyphens", "-".repeat(length)],
      ["ranges", `${"1-,".repeat(length / 3)}x`]
    ] as const
  )("takes linear time: %s", (_, set) => {
    assert.isUndefined(parseRanges(`bytes=${set}`))
    assert.isUndefined(parseRange(`bytes=${set}`))
  }, 5000)
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

describe("resolveAll", () => {
  const G = COALESCE_GAP_BYTES
  const cases: ReadonlyArray<
    readonly [string, string, number, ReadonlyArray<readonly [start: number, end: number]>]
  > = [
    ["one", "bytes=5-9", 1000, [[5, 10]]],
    ["two far apart", "bytes=0-9,500-509", 1000, [[0, 10], [500, 510]]],
    ["in the order asked for", "bytes=900-,500-509,0-9", 1000, [[900, 1000], [500, 510], [0, 10]]],
    ["overlapping", "bytes=0-9,5-19", 1000, [[0, 20]]],
    ["touching", "bytes=10-19,0-9", 1000, [[0, 20]]],
    ["the same twice", "bytes=0-9,0-9", 1000, [[0, 10]]],
    ["one within the other", "bytes=0-99,10-19", 1000, [[0, 100]]],
    ["a gap that is cheaper to send", `bytes=0-9,${10 + G - 1}-499`, 1000, [[0, 500]]],
    ["a gap that is not", `bytes=0-9,${10 + G}-499`, 1000, [[0, 10], [10 + G, 500]]],
    ["joined by a third", "bytes=0-99,300-399,900-909,100-299", 1000, [[0, 400], [900, 910]]],
    ["in the place of the first", "bytes=900-909,0-9,500-509,5-19,905-919", 1000, [[900, 920], [0, 20], [500, 510]]],
    ["without those that select nothing", "bytes=2000-,0-9,-0", 1000, [[0, 10]]],
    ["cut at the end", "bytes=0-9,990-2000", 1000, [[0, 10], [990, 1000]]],
    ["a suffix", "bytes=0-0,-1", 1000, [[0, 1], [999, 1000]]],
    ["a suffix of everything", "bytes=500-509,-5000", 1000, [[0, 1000]]],
    ["none that can be satisfied", "bytes=1000-,-0", 1000, []],
    ["of nothing", "bytes=0-,-1", 0, []]
  ]

  it.each(cases)("%s", (_, field, size, expected) => {
    const specs = parseRanges(field) as ReadonlyArray<RangeSpec>
    assert.deepStrictEqual(resolveAll(specs, size), expected.map(([start, end]) => ({ start, end })))
  })

  it.prop("covers what was asked for and gaps not worth a part, once, in the order asked for", {
    size: intBetween(0, 3000),
    asked: Schema.Array(Schema.Struct({
      start: intBetween(0, 3500),
      length: intBetween(0, 200),
      kind: Schema.Literals(["closed", "closed", "closed", "open", "suffix"])
    })).check(Schema.isMaxLength(12))
  }, ({ asked, size }) => {
    const specs = asked.map(({ kind, length, start }) =>
      kind === "suffix" ? suffix(length) : from(start, kind === "open" ? undefined : start + length)
    )
    const wanted = new Set<number>()
    for (const range of specs.map((spec) => resolve(spec, size))) {
      for (let i = range?.start ?? 0; i < (range?.end ?? 0); i++) wanted.add(i)
    }
    const ranges = resolveAll(specs, size)

    const sent = new Set<number>()
    let bytes = 0
    let longestGap = 0
    for (const { end, start } of ranges) {
      assert.isTrue(0 <= start && start < end && end <= size)
      assert.isTrue(wanted.has(start) && wanted.has(end - 1))
      let gap = 0
      for (let i = start; i < end; i++) {
        sent.add(i)
        gap = wanted.has(i) ? 0 : gap + 1
        longestGap = Math.max(longestGap, gap)
      }
      bytes += end - start
    }
    assert.isBelow(longestGap, COALESCE_GAP_BYTES)
    assert.isTrue([...wanted].every((i) => sent.has(i)))
    assert.strictEqual(sent.size, bytes)
    assert.isAtMost(bytes, size)

    const sorted = ranges.toSorted((a, b) => a.start - b.start)
    for (let i = 1; i < sorted.length; i++) {
      assert.isAtLeast(sorted[i]!.start - sorted[i - 1]!.end, COALESCE_GAP_BYTES)
    }

    const places = ranges.map(({ end, start }) =>
      specs.findIndex((spec) => {
        const range = resolve(spec, size)
        return range !== undefined && start <= range.start && range.end <= end
      })
    )
    assert.deepStrictEqual(places, places.toSorted((a, b) => a - b))
  }, { arbitrary: { runs: 300 } })
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
