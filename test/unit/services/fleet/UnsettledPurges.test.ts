import { assert, describe, it } from "@effect/vitest"
import { firstRound, type PurgeTarget } from "../../../../src/domain/FleetPurge.ts"
import { MAX_UNSETTLED, UNSETTLED_MILLIS, UnsettledPurges } from "../../../../src/services/fleet/UnsettledPurges.ts"

const purgeOf = (...targets: ReadonlyArray<PurgeTarget>) => firstRound("n2", 0, targets)

const begin = () => {
  const time = { now: 5 }
  return { time, unsettled: new UnsettledPurges(() => time.now) }
}

const concerned: ReadonlyArray<
  { readonly target: PurgeTarget; readonly yes: string; readonly no: string | undefined }
> = [
  { target: { _tag: "Url", url: "http://a/film" }, yes: "http://a/film", no: "http://a/film2" },
  { target: { _tag: "Prefix", prefix: "http://a/f" }, yes: "http://a/film", no: "http://a/other" },
  { target: { _tag: "Tag", tag: "news" }, yes: "http://a/anything", no: undefined },
  { target: { _tag: "OutdatedTree", url: "http://a/dir/" }, yes: "http://a/dir/film", no: "http://a/dirt" },
  { target: { _tag: "Outdated", url: "http://a/film" }, yes: "http://a/film", no: "http://a/film?x" }
]

describe("UnsettledPurges", () => {
  it.each(concerned)("knows what $target._tag concerns", ({ no, target, yes }) => {
    const { unsettled } = begin()
    unsettled.begin(purgeOf({ _tag: "Url", url: "http://b/" }, target))
    assert.isTrue(unsettled.concern(yes))
    if (no !== undefined) assert.isFalse(unsettled.concern(no))
  })

  it("forgets a purge when it ends, or when its time is over", () => {
    const { time, unsettled } = begin()
    const [one, two] = ["one", "two"].map((url) => purgeOf({ _tag: "Url", url })) as [never, never]
    unsettled.begin(one)
    time.now += 1000
    unsettled.begin(two)
    // Told again.
    unsettled.begin(one)
    time.now += UNSETTLED_MILLIS - 1000
    assert.deepStrictEqual(["one", "two"].map((url) => unsettled.concern(url)), [false, true])
    unsettled.end(two)
    assert.isFalse(unsettled.concern("two"))
  })

  it("is about everything if there are too many, until the time of the last one is over", () => {
    const { time, unsettled } = begin()
    const purges = Array.from({ length: MAX_UNSETTLED + 1 }, (_, i) => purgeOf({ _tag: "Url", url: `${i}` }))
    for (const purge of purges.slice(0, MAX_UNSETTLED)) unsettled.begin(purge)
    assert.isFalse(unsettled.concern("other"))
    unsettled.begin(purges[MAX_UNSETTLED]!)
    for (const purge of purges) unsettled.end(purge)
    assert.isTrue(unsettled.concern("other"))
    time.now += UNSETTLED_MILLIS
    assert.isFalse(unsettled.concern("other"))
  })
})
