import { assert, describe, it } from "@effect/vitest"
import { Option } from "effect"
import { DURATION, SIZE } from "../../../../src/services/config/settingTypes.ts"

describe("sizes", () => {
  it.each([
    ["65536", 65536],
    ["10GiB", 10 * 1024 ** 3],
    ["500MB", 500_000_000],
    ["10G", 10 * 1024 ** 3],
    ["512k", 512 * 1024],
    ["1 T", 1024 ** 4]
  ])("can be %s", (text, bytes) => {
    assert.deepStrictEqual(SIZE.parse(text), Option.some(bytes))
  })

  it.each(["", "G", "10X", "-1", "1e3", "1.5", "10GG"])("can't be %j", (text) => {
    assert.deepStrictEqual(SIZE.parse(text), Option.none())
  })
})

describe("durations", () => {
  it.each([
    ["250ms", 250],
    ["30s", 30_000],
    ["30sec", 30_000],
    ["5m", 300_000],
    ["5min", 300_000],
    ["1hour", 3_600_000],
    ["2days", 172_800_000]
  ])("can be %s", (text, millis) => {
    assert.deepStrictEqual(DURATION.parse(text), Option.some(millis))
  })

  // A number without a unit could be seconds or milliseconds.
  it.each(["5", "0s", "1month", "1 hour", "25d", "hour"])("can't be %j", (text) => {
    assert.deepStrictEqual(DURATION.parse(text), Option.none())
  })
})
