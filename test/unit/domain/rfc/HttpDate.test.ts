import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"
import { format, parse, parseLeniently } from "../../../../src/domain/rfc/HttpDate.ts"

const NOW = Date.UTC(2030, 5, 15, 12)
const intBetween = (minimum: number, maximum: number) => Schema.Int.check(Schema.isBetween({ minimum, maximum }))

describe("parseLeniently", () => {
  const NEW_YEAR = Date.UTC(2030, 0, 1, 12, 34, 56)

  it.each([
    "Tue, 01 Jan 2030 12:34:56 GMT",
    "Tuesday, 01-Jan-30 12:34:56 GMT",
    "Tue Jan  1 12:34:56 2030",
    "Tue, 01 Jan 2030 12:34:56 UTC",
    "Tue, 01 Jan 2030 12:34:56 +0000",
    "Tue, 01 Jan 2030 14:04:56 +01:30",
    "tue, 1 jan 2030 07:34:56 -0500",
    "Tue, 1 Jan 2030 12:34:56 GMT",
    "Tue, 01 Jan 2030 12:34:56",
    "Tue, 01 Jan 2030 12:34:56Z",
    "1 January 2030 12:34:56",
    "Tue, 01-Jan-2030 12:34:56 GMT",
    "Tue Jan 1 12:34:56 UTC 2030",
    "Jan 1, 12:34:56 2030",
    "2030-01-01T12:34:56Z",
    "2030-01-01T12:34:56.789+00:00",
    "2030-01-01 12:34:56",
    " Tue, 01 Jan 2030 12:34:56 GMT "
  ])("reads %j", (text) => {
    assert.strictEqual(parseLeniently(text, NOW), NEW_YEAR)
  })

  it.each([
    undefined,
    "",
    "0",
    "-1",
    "2030",
    "1893501296",
    "yesterday",
    "Tue, 32 Jan 2030 12:34:56 UTC",
    "2030-13-01T12:34:56Z",
    "2030-00-01T12:34:56Z",
    "2030-01-01T25:00:00Z",
    "Tue, 01 Jan 2030 12:34:56 EST"
  ])("does not read %j", (text) => {
    assert.isUndefined(parseLeniently(text, NOW))
  })

  it("takes linear time", () => {
    for (const text of ["a".repeat(1e5), `a${" ".repeat(1e5)}`, `1 jan${"a".repeat(1e5)}`, "1".repeat(1e5)]) {
      const start = process.cpuUsage()
      assert.isUndefined(parseLeniently(text, NOW))
      assert.isBelow(process.cpuUsage(start).user, 1_000_000, "microseconds")
    }
  })
})

describe("parse", () => {
  const dates: ReadonlyArray<readonly [string, number]> = [
    ["Tue, 01 Jan 2030 12:34:56 GMT", Date.UTC(2030, 0, 1, 12, 34, 56)],
    ["Tuesday, 01-Jan-30 12:34:56 GMT", Date.UTC(2030, 0, 1, 12, 34, 56)],
    ["Tue Jan  1 12:34:56 2030", Date.UTC(2030, 0, 1, 12, 34, 56)],
    ["Tue Jan 01 12:34:56 2030", Date.UTC(2030, 0, 1, 12, 34, 56)],
    ["Mon Dec 31 23:59:59 2029", Date.UTC(2029, 11, 31, 23, 59, 59)],
    ["Thu, 01 Jan 1970 00:00:00 GMT", 0],
    ["Wed, 31 Dec 1969 23:59:59 GMT", -1000],
    ["Tue, 29 Feb 2028 00:00:00 GMT", Date.UTC(2028, 1, 29)],
    ["Tue, 29 Feb 2000 00:00:00 GMT", Date.UTC(2000, 1, 29)],
    ["Sat, 31 Dec 2016 23:59:60 GMT", Date.UTC(2017, 0, 1)],
    ["Fri, 31 Dec 9999 23:59:59 GMT", Date.UTC(9999, 11, 31, 23, 59, 59)],
    ["tue, 01 jan 2030 12:34:56 gmt", Date.UTC(2030, 0, 1, 12, 34, 56)],
    ["TUESDAY, 01-JAN-30 12:34:56 GMT", Date.UTC(2030, 0, 1, 12, 34, 56)],
    ["Sun, 01 Jan 2030 12:34:56 GMT", Date.UTC(2030, 0, 1, 12, 34, 56)]
  ]

  it.each(dates)("reads %j", (text, expected) => {
    assert.strictEqual(parse(text, NOW), expected)
  })

  it("reads years before 100 as they are", () => {
    assert.strictEqual(new Date(parse("Sat, 01 Jan 0030 00:00:00 GMT")!).getUTCFullYear(), 30)
    assert.strictEqual(new Date(parse("Sat Jan 01 00:00:00 0000")!).getUTCFullYear(), 0)
  })

  // RFC 9110 §5.6.7: more than 50 years ahead is of the century before.
  const shortYears: ReadonlyArray<readonly [string, number, number | undefined]> = [
    ["Saturday, 15-Jun-80 12:00:00 GMT", NOW, Date.UTC(2080, 5, 15, 12)],
    ["Sunday, 15-Jun-80 12:00:01 GMT", NOW, Date.UTC(1980, 5, 15, 12, 0, 1)],
    ["Monday, 01-Jan-81 00:00:00 GMT", NOW, Date.UTC(1981, 0, 1)],
    ["Friday, 31-Dec-99 23:59:59 GMT", NOW, Date.UTC(1999, 11, 31, 23, 59, 59)],
    ["Saturday, 01-Jan-00 00:00:00 GMT", NOW, Date.UTC(2000, 0, 1)],
    ["Saturday, 01-Jan-00 00:00:00 GMT", Date.UTC(2090, 0), Date.UTC(2100, 0, 1)],
    ["Saturday, 01-Jan-41 00:00:00 GMT", Date.UTC(2090, 0), Date.UTC(2041, 0, 1)],
    ["Tuesday, 29-Feb-00 00:00:00 GMT", NOW, Date.UTC(2000, 1, 29)],
    ["Tuesday, 29-Feb-00 00:00:00 GMT", Date.UTC(2090, 0), undefined]
  ]

  it.each(shortYears)("%s at %i", (text, now, expected) => {
    assert.strictEqual(parse(text, now), expected)
  })

  it("takes the present for the century where it is told no other", () => {
    const year = new Date().getUTCFullYear()
    const digits = (year: number) => String(year % 100).padStart(2, "0")
    assert.strictEqual(parse(`Monday, 01-Jan-${digits(year)} 00:00:00 GMT`), Date.UTC(year, 0))
    assert.strictEqual(parse(`Monday, 01-Jan-${digits(year + 52)} 00:00:00 GMT`), Date.UTC(year - 48, 0))
  })

  it.each([
    undefined,
    "",
    "1",
    "2030",
    "2030-01-01",
    "2030-01-01T12:34:56Z",
    "1893499200",
    "whenever",
    "01 Jan 2030 12:34:56 GMT",
    "Tue, 01 Jan 2030",
    "Tue, 01 Jan 2030 12:34 GMT",
    "Tue, 01 Jan 2030 12:34:56",
    "Tue, 01 Jan 2030 12:34:56 UTC",
    "Tue, 01 Jan 2030 12:34:56 +0000",
    "Tue, 01 Jan 2030 12:34:56 GMT+1",
    "Tue, 01 Jan 2030 12:34:56.5 GMT",
    "Tue, 1 Jan 2030 12:34:56 GMT",
    "Tue, 01 Jan 30 12:34:56 GMT",
    "Tue,01 Jan 2030 12:34:56 GMT",
    "Tue 01 Jan 2030 12:34:56 GMT",
    "Tue, 01  Jan 2030 12:34:56 GMT",
    "Tue, 01-Jan-2030 12:34:56 GMT",
    "Tue, 01 January 2030 12:34:56 GMT",
    "Day, 01 Jan 2030 12:34:56 GMT",
    "Tue, 00 Jan 2030 12:34:56 GMT",
    "Tue, 32 Jan 2030 12:34:56 GMT",
    "Fri, 29 Feb 2030 12:34:56 GMT",
    "Mon, 29 Feb 2100 12:34:56 GMT",
    "Tue, 01 Foo 2030 12:34:56 GMT",
    "Tue, 01 Jan 2030 24:00:00 GMT",
    "Tue, 01 Jan 2030 12:60:00 GMT",
    "Tue, 01 Jan 2030 12:34:61 GMT",
    "Tue, 01-Jan-30 12:34:56 GMT",
    "Tuesday, 01-Jan-2030 12:34:56 GMT",
    "Tuesday, 01 Jan 2030 12:34:56 GMT",
    "Tue Jan 1 12:34:56 2030",
    "Tue Jan  1 12:34:56 2030 GMT",
    "Tue Jan  1 12:34:56 30",
    "Tue, 01 Jan 2030 12:34:56 GMT, Tue, 01 Jan 2030 12:34:56 GMT",
    " Tue, 01 Jan 2030 12:34:56 GMT",
    "Tue, 01 Jan 2030 12:34:56 GMT\n"
  ])("does not read %j", (text) => {
    assert.isUndefined(parse(text, NOW))
  })

  it.prop("reads what format writes, to the second", {
    millis: intBetween(Date.UTC(1000, 0), Date.UTC(9999, 11, 31))
  }, ({ millis }) => {
    assert.strictEqual(parse(format(millis)), Math.floor(millis / 1000) * 1000)
  })

  it.prop("throws for no text at all", { text: Schema.String }, ({ text }) => {
    assert.isUndefined(parse(text))
  })
})

describe("format", () => {
  it("writes an IMF-fixdate", () => {
    assert.strictEqual(format(0), "Thu, 01 Jan 1970 00:00:00 GMT")
    assert.strictEqual(format(Date.UTC(2030, 0, 1, 2, 3, 4) + 999), "Tue, 01 Jan 2030 02:03:04 GMT")
  })
})
