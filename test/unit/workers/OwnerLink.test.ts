import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { TestClock } from "effect/testing"
import { Socket } from "node:net"
import * as OwnerLink from "../../../src/workers/OwnerLink.ts"

describe("the link to the owner", () => {
  it.effect("cuts what waits for an owner that says nothing for ten seconds", () =>
    Effect.gen(function*() {
      const { hear, link } = yield* OwnerLink.make
      const socket = link.hold(new Socket())
      for (let i = 0; i < 60; i++) {
        yield* TestClock.adjust("1 second")
        hear()
      }
      assert.isFalse(link.isSilent() || socket.destroyed)
      yield* TestClock.adjust("9 seconds")
      assert.isFalse(link.isSilent() || socket.destroyed)
      yield* TestClock.adjust("2 seconds")
      assert.isTrue(link.isSilent())
      assert.isTrue(socket.destroyed)
    }))

  it.effect("is used again at the first word, and cut again at the next silence", () =>
    Effect.gen(function*() {
      const { hear, link } = yield* OwnerLink.make
      yield* TestClock.adjust("1 minute")
      assert.isTrue(link.isSilent())
      hear()
      assert.isFalse(link.isSilent())
      const socket = link.hold(new Socket())
      yield* TestClock.adjust("8 seconds")
      assert.isFalse(socket.destroyed)
      yield* TestClock.adjust("12 seconds")
      assert.isTrue(link.isSilent())
      assert.isTrue(socket.destroyed)
    }))

  it.effect("cuts what was connected during the silence too", () =>
    Effect.gen(function*() {
      const { link } = yield* OwnerLink.make
      yield* TestClock.adjust("11 seconds")
      const socket = link.hold(new Socket())
      yield* TestClock.adjust("11 seconds")
      assert.isTrue(socket.destroyed)
    }))
})
