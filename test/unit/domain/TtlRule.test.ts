import { assert, describe, it } from "@effect/vitest"
import { parse, parseDuration, ttlOf, type TtlRule } from "../../../src/domain/TtlRule.ts"

const rules = (...texts: ReadonlyArray<string>): ReadonlyArray<TtlRule> =>
  texts.map((text) => {
    const rule = parse(text)
    assert.isDefined(rule, text)
    return rule!
  })

describe("ttl rules", () => {
  it.each([["90s", 90_000], ["15m", 900_000], ["1h", 3_600_000], ["7d", 604_800_000], ["0s", 0]] as const)(
    "read %s",
    (text, millis) => assert.strictEqual(parseDuration(text), millis)
  )

  it.each(["", "1", "h", "1w", "-1s", "1.5h", "1 h", "films=1h", "=1h", "/films="])("refuse %s", (text) => {
    assert.isUndefined(parse(text))
  })

  const ttl = (texts: ReadonlyArray<string>, path: string) => ttlOf(rules(...texts), `http://origin${path}`)

  it("hold for all paths without a pattern, where the origin says nothing", () => {
    assert.deepStrictEqual(ttl(["1h"], "/a"), { lifetime: 3_600_000, override: false })
    assert.isUndefined(ttl([], "/a"))
  })

  it("hold for the paths of their pattern, whatever the origin says; the first that matches", () => {
    const texts = ["1h", "/live/*=2s", "/live/*.mp4=1d", "/*.m3u8=5s", "/a=0s"]
    assert.deepStrictEqual(ttl(texts, "/live/x.mp4"), { lifetime: 2000, override: true })
    assert.deepStrictEqual(ttl(texts, "/x/y.m3u8?live"), { lifetime: 5000, override: true })
    assert.deepStrictEqual(ttl(texts, "/a"), { lifetime: 0, override: true })
    assert.deepStrictEqual(ttl(texts, "/ab"), { lifetime: 3_600_000, override: false })
  })

  it.each([
    ["/a*b*c", "/abc", true],
    ["/a*b*c", "/a--b--c", true],
    ["/a*b*c", "/a--c--b", false],
    ["/a*", "/a", true],
    ["/a*a", "/a", false],
    ["/*aba*aba", "/aba", false],
    ["/*aba*aba", "/abaaba", true],
    ["/*.mp4", "/x.mp4", true],
    ["/*.mp4", "/x.mp4/y", false]
  ])("match %s against %s", (pattern, path, expected) => {
    assert.strictEqual(ttl([`${pattern}=1s`], path) !== undefined, expected)
  })
})
