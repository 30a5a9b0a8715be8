import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"
import { initialAge, lifetime, parseCacheControl } from "../../src/domain/Freshness.ts"
import type { HeaderFields } from "../../src/domain/Headers.ts"

const NOW = Date.UTC(2030, 0, 1, 12, 0, 0)
const date = (milliseconds: number) => new Date(NOW + milliseconds).toUTCString()

describe("parseCacheControl", () => {
  const cases: ReadonlyArray<readonly [string, ReadonlyArray<readonly [string, string]>]> = [
    ["", []],
    ["no-store", [["no-store", ""]]],
    ["No-Store", [["no-store", ""]]],
    ["max-age=60", [["max-age", "60"]]],
    ["public, max-age=60", [["public", ""], ["max-age", "60"]]],
    ["public,max-age=60,immutable", [["public", ""], ["max-age", "60"], ["immutable", ""]]],
    ["  public ,\tmax-age=60  ", [["public", ""], ["max-age", "60"]]],
    ["max-age=\"60\"", [["max-age", "60"]]],
    ["max-age = 60", [["max-age", "60"]]],
    [",,max-age=60,,", [["max-age", "60"]]],
    ["private=\"set-cookie, x-no-store\"", [["private", "set-cookie, x-no-store"]]],
    ["no-cache=\"a\\\"b\", max-age=1", [["no-cache", "a\\\"b"], ["max-age", "1"]]],
    ["max-age=", [["max-age", ""]]]
  ]

  it.each(cases)("%j", (field, expected) => {
    assert.deepStrictEqual([...parseCacheControl(field)], expected)
  })

  it("has no directives without a field", () => {
    assert.strictEqual(parseCacheControl(undefined).size, 0)
  })

  it.prop("reads any text without throwing", { field: Schema.String }, ({ field }) => {
    for (const name of parseCacheControl(field).keys()) assert.strictEqual(name, name.toLowerCase())
  })
})

describe("lifetime", () => {
  const cases: ReadonlyArray<readonly [string, HeaderFields, number]> = [
    ["nothing said", {}, 0],
    ["max-age", { "cache-control": "max-age=60" }, 60_000],
    ["max-age=0", { "cache-control": "max-age=0" }, 0],
    ["s-maxage before max-age", { "cache-control": "max-age=60, s-maxage=10" }, 10_000],
    ["s-maxage=0 before max-age", { "cache-control": "s-maxage=0, max-age=60" }, 0],
    ["max-age before Expires", { "cache-control": "max-age=5", expires: date(60_000), date: date(0) }, 5000],
    ["max-age=0 before Expires", { "cache-control": "max-age=0", expires: date(60_000) }, 0],
    ["Expires less Date", { expires: date(60_000), date: date(-60_000) }, 120_000],
    ["Expires without Date", { expires: date(60_000) }, 60_000],
    ["Expires with a Date that is none", { expires: date(60_000), date: "yesterday" }, 60_000],
    ["Expires in the past", { expires: date(-1000), date: date(0) }, 0],
    ["Expires: 0", { expires: "0", date: date(0) }, 0],
    ["Expires: -1", { expires: "-1", date: date(0) }, 0],
    ["Expires that is no date", { expires: "never", date: date(0) }, 0],
    ["max-age less Age", { "cache-control": "max-age=60", age: "20" }, 40_000],
    ["max-age used up by Age", { "cache-control": "max-age=60", age: "61" }, 0],
    ["Expires less Age", { expires: date(60_000), date: date(0), age: "20" }, 40_000],
    ["an Age that is no number", { "cache-control": "max-age=60", age: "-5" }, 60_000],
    ["no-cache", { "cache-control": "no-cache, max-age=60" }, 0],
    ["no-cache with Expires", { "cache-control": "no-cache", expires: date(60_000) }, 0],
    ["quoted max-age", { "cache-control": "max-age=\"60\"" }, 60_000],
    ["odd spacing", { "cache-control": " public ,  max-age = 60 " }, 60_000],
    ["upper case", { "cache-control": "MAX-AGE=60" }, 60_000],
    ["a negative max-age", { "cache-control": "max-age=-1" }, 0],
    ["a fractional max-age", { "cache-control": "max-age=1.5" }, 0],
    ["a max-age that is no number", { "cache-control": "max-age=soon" }, 0],
    ["a huge max-age", { "cache-control": "max-age=99999999999999999999" }, 2 ** 31 * 1000]
  ]

  it.each(cases)("%s", (_, headers, expected) => {
    assert.strictEqual(lifetime(headers, NOW), expected)
  })

  it.prop("is never negative, and never more than was given", {
    maxAge: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 1e6 })),
    age: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 1e6 }))
  }, ({ age, maxAge }) => {
    const headers = { "cache-control": `max-age=${maxAge}`, age: String(age) }
    assert.strictEqual(lifetime(headers, NOW), Math.max(0, maxAge - age) * 1000)
  })

  it("takes the Age on arrival from its field alone", () => {
    assert.strictEqual(initialAge({}), 0)
    assert.strictEqual(initialAge({ age: "7" }), 7000)
    assert.strictEqual(initialAge({ age: "seven" }), 0)
  })
})
