import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"
import { parseDictionary } from "../../../../src/domain/rfc/StructuredField.ts"

type Members = ReadonlyArray<readonly [string, string]>

describe("parseDictionary", () => {
  const wellFormed: ReadonlyArray<readonly [string, string, Members]> = [
    ["§4.2 nothing", "", []],
    ["§4.2 spaces alone", "   ", []],
    ["§3.2 a member without value is true", "no-store", [["no-store", "?1"]]],
    ["§3.2 several members", "a, b=1,c=x", [["a", "?1"], ["b", "1"], ["c", "x"]]],
    ["§4.2.2 tabs around the comma", "a=1\t,\t b", [["a", "1"], ["b", "?1"]]],
    ["§4.2 spaces around the field", "  a=1  ", [["a", "1"]]],
    ["§3.2 the last of a name counts", "a=1, b=2, a=3", [["a", "3"], ["b", "2"]]],
    ["§3.1.2 keys of all characters", "*a_b-c.d*9=1", [["*a_b-c.d*9", "1"]]],
    ["§3.3.1 a negative integer", "a=-5", [["a", "-5"]]],
    ["§3.3.1 leading zeros", "a=007", [["a", "007"]]],
    ["§3.3.1 fifteen digits", "a=999999999999999", [["a", "999999999999999"]]],
    ["§3.3.2 a decimal", "a=10.125", [["a", "10.125"]]],
    ["§3.3.3 a string", "a=\"x, b=1\", c", [["a", "\"x, b=1\""], ["c", "?1"]]],
    ["§3.3.3 a string with escapes", "a=\"\\\"\\\\\"", [["a", "\"\\\"\\\\\""]]],
    ["§3.3.4 a token", "a=*t/x:y!", [["a", "*t/x:y!"]]],
    ["§3.3.5 a byte sequence", "a=:aGk=:", [["a", ":aGk=:"]]],
    ["§3.3.6 booleans", "a=?0, b=?1", [["a", "?0"], ["b", "?1"]]],
    ["§3.1.1 an inner list", "a=(1 \"x\"  y), b", [["a", "(1 \"x\"  y)"], ["b", "?1"]]],
    ["§3.1.1 an inner list with parameters", "a=( 1;p \"x\";q=2 );r, b=()", [
      ["a", "( 1;p \"x\";q=2 )"],
      ["b", "()"]
    ]],
    ["§3.1.2 parameters", "a;p;q=\"x\"; r=?0, b=1;p=2", [["a", "?1"], ["b", "1"]]]
  ]

  it.each(wellFormed)("%s", (_, field, expected) => {
    assert.deepStrictEqual([...parseDictionary(field) ?? [["malformed", ""]]], expected)
  })

  const malformed: ReadonlyArray<readonly [string, string]> = [
    ["a comma at the end", "a, "],
    ["a comma at the beginning", ",a"],
    ["two commas", "a,,b"],
    ["no comma", "a b"],
    ["a space before =", "a =1"],
    ["a space after =", "a= 1"],
    ["no value after =", "a="],
    ["an upper-case key", "A=1"],
    ["a key that begins with a digit", "1a"],
    ["an unknown character", "a, &&&"],
    ["sixteen digits", "a=1000000000000000"],
    ["thirteen digits before the point", "a=1000000000000.1"],
    ["four digits behind the point", "a=1.0001"],
    ["no digits behind the point", "a=1."],
    ["a sign alone", "a=-"],
    ["an open string", "a=\"x"],
    ["a string that ends in its escape", "a=\"x\\\""],
    ["another escape", "a=\"\\x\""],
    ["a control character in a string", "a=\"\t\""],
    ["a character beyond ASCII in a string", "a=\"é\""],
    ["an open byte sequence", "a=:aGk="],
    ["a boolean that is none", "a=?2"],
    ["an open inner list", "a=(1 2"],
    ["an inner list with commas", "a=(1,2)"],
    ["an inner list without spaces", "a=(\"x\"\"y\")"],
    ["parameters without a key", "a;=1"],
    ["parameters without a value", "a;p="],
    ["a date of RFC 9651", "a=@1"]
  ]

  it.each(malformed)("RFC 8941 §4.2 fails on %s", (_, field) => {
    assert.isUndefined(parseDictionary(field))
  })

  it.prop("reads any text without throwing", { field: Schema.String }, ({ field }) => {
    parseDictionary(field)
  })
})
