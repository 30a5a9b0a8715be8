import { assert, describe, it } from "@effect/vitest"
import { otherRange, rangeField } from "../../../src/domain/FirstRange.ts"
import type { OriginHead } from "../../../src/domain/Representation.ts"
import type { RangeSpec } from "../../../src/domain/rfc/ByteRange.ts"

const chunkSize = 1000
const from = (start: number, last?: number): RangeSpec => ({ _tag: "From", start, last })
const suffix = (length: number): RangeSpec => ({ _tag: "Suffix", length })

describe("rangeField", () => {
  const cases: ReadonlyArray<readonly [RangeSpec, number | undefined, string]> = [
    [from(0, 0), undefined, "bytes=0-999"],
    [from(999, 1000), undefined, "bytes=999-1999"],
    [from(5), undefined, "bytes=5-"],
    [suffix(10), undefined, "bytes=-10"],
    [from(0, 0), 300, "bytes=0-299"],
    [from(0, 0), 3000, "bytes=0-999"],
    [from(2500, 9999), 2800, "bytes=2500-2799"],
    [from(5), 2800, "bytes=5-"],
    [suffix(10), 2800, "bytes=2790-2799"],
    [suffix(5000), 2800, "bytes=0-2799"],
    [from(2800, 2900), 2800, "bytes=2800-2900"],
    [suffix(10), 0, "bytes=-10"]
  ]

  it.each(cases)("%j of %s bytes is asked for by %s", (spec, size, expected) => {
    assert.strictEqual(rangeField({ spec, chunkSize, size }), expected)
  })
})

describe("otherRange", () => {
  const head = (status: number, contentRange?: string, length?: string): OriginHead => ({
    status,
    headers: {
      ...(contentRange !== undefined && { "content-range": contentRange }),
      ...(length !== undefined && { "content-length": length })
    }
  })

  const cases: ReadonlyArray<readonly [string, RangeSpec, number | undefined, OriginHead, string | undefined]> = [
    ["a good answer", from(0, 0), undefined, head(206, "bytes 0-299/300"), undefined],
    ["the whole", from(0, 0), undefined, head(200), undefined],
    ["missing", from(0, 0), undefined, head(404), undefined],
    ["overloaded", from(0, 0), undefined, head(503), undefined],
    ["refused without a size", from(0, 0), undefined, head(400), "bytes=0-0"],
    ["refused with the size", from(0, 0), undefined, head(416, "bytes */300"), "bytes=0-299"],
    ["refused, outside of the size", from(300, 310), undefined, head(416, "bytes */300"), undefined],
    ["an error", from(0, 0), undefined, head(500), "bytes=0-0"],
    ["an error of a known file", from(0, 0), 300, head(500), undefined],
    ["longer than the file", from(0, 0), undefined, head(206, "bytes 0-999/300"), "bytes=0-299"],
    ["without a range", from(0, 0), undefined, head(206), "bytes=0-0"],
    ["a length that contradicts the range", from(0, 0), undefined, head(206, "bytes 0-999/1000", "300"), undefined],
    ["another start", from(5, 9), undefined, head(206, "bytes 0-999/1500"), undefined],
    ["a suffix that is read as a start", suffix(10), undefined, head(206, "bytes 0-10/300"), "bytes=290-299"],
    ["a suffix that is refused", suffix(10), undefined, head(416, "bytes */300"), "bytes=290-299"],
    ["a suffix of a file that has grown", suffix(10), 300, head(206, "bytes 290-299/400"), "bytes=390-399"],
    ["an open range that is refused", from(0), undefined, head(400), undefined]
  ]

  it.each(cases)("%s", (_, spec, size, answer, expected) => {
    const wanted = { spec, chunkSize, size }
    assert.strictEqual(otherRange(rangeField(wanted), wanted, answer), expected)
  })
})
