import { assert, describe, it } from "@effect/vitest"
import { Option } from "effect"
import {
  ACCESS_LOG,
  CACHE_KEY,
  DURATION,
  HOST_AND_PORT,
  LEVEL,
  ROUTE,
  type SettingType,
  SIZE,
  TTL
} from "../../../../src/services/config/settingTypes.ts"

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

describe("a value that is printed", () => {
  const prints = <A>(type: SettingType<A>, ...texts: ReadonlyArray<readonly [text: string, printed?: string]>) =>
    texts.map(([text, printed = text]) => [text, printed, type as SettingType<unknown>] as const)

  it.each([
    ...prints(SIZE, ["10GiB"], ["10G", "10GiB"], ["500MB", "500000000"], ["1025"], ["0", "0B"], ["1.5MiB"]),
    ...prints(DURATION, ["250ms"], ["1500ms"], ["90s"], ["120s", "2m"], ["1hour", "1h"], ["48h", "2d"]),
    ...prints(TTL, ["1h"], ["/live/*=2s"]),
    ...prints(CACHE_KEY, ["/films/* ignore=token,utm_*"], ["/covers/* keep=v,id sort"], ["/api/* sort"]),
    ...prints(
      ROUTE,
      ["https://media.example.org/"],
      ["/films=https://films.example.org/video"],
      ["films.example.org=file:///mnt/films"]
    ),
    ...prints(ACCESS_LOG, ["off"], ["stderr"], ["/var/log/access"]),
    ...prints(HOST_AND_PORT, ["10.0.0.1:8471"], ["[fd00::1]:8471"]),
    ...prints(LEVEL, ["WARN", "warn"])
  ])("%s is %s, which is the same value", (text, printed, { parse, print = String }) => {
    const value = parse(text)
    assert.deepStrictEqual(Option.map(value, print), Option.some(printed))
    assert.deepEqual(parse(printed), value)
  })
})
