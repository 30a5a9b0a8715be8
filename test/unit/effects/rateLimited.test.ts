import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { TestClock } from "effect/testing"
import { makeRateLimited } from "../../../src/effects/rateLimited.ts"

describe("makeSparingly", () => {
  it.effect("says each thing once a minute, also after the clock was set back", () =>
    Effect.gen(function*() {
      yield* TestClock.setTime(1e12)
      const said: Array<string> = []
      const once = makeRateLimited()
      const say = (thing: string) => once(thing, Effect.sync(() => void said.push(thing)))
      for (const thing of ["a", "b", "a", "b"]) yield* say(thing)
      yield* TestClock.adjust("59 seconds")
      yield* say("a")
      assert.deepStrictEqual(said, ["a", "b"])
      yield* TestClock.adjust("1 second")
      yield* say("a")
      yield* say("a")
      assert.deepStrictEqual(said, ["a", "b", "a"])
      yield* TestClock.setTime(1e11)
      yield* say("a")
      assert.deepStrictEqual(said, ["a", "b", "a", "a"])
    }))

  it.effect("takes all things beyond the 64th for one", () =>
    Effect.gen(function*() {
      let said = 0
      const once = makeRateLimited()
      for (let i = 0; i < 1000; i++) yield* once(`thing ${i}`, Effect.sync(() => void (said += 1)))
      assert.strictEqual(said, 65)
      yield* TestClock.adjust("1 minute")
      yield* once("thing 999", Effect.sync(() => void (said += 1)))
      assert.strictEqual(said, 66)
    }))
})
