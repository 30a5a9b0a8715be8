import { assert, describe, it } from "@effect/vitest"
import { CLOCK_MILLIS } from "../../../src/domain/FleetSignature.ts"
import { ReplayWindow } from "../../../src/domain/ReplayWindow.ts"

const NOW = 1_795_738_849_076
const CAPACITY = 65_536

describe("ReplayWindow", () => {
  it("accepts a signature once", () => {
    const window = new ReplayWindow()
    assert.isTrue(window.isFirst("a", NOW, NOW))
    assert.isFalse(window.isFirst("a", NOW, NOW + 1))
    assert.isTrue(window.isFirst("b", NOW, NOW + 1))
  })

  it("forgets signatures when they are not valid any more, and none before", () => {
    const window = new ReplayWindow()
    window.isFirst("a", NOW, NOW)
    window.isFirst("b", NOW + CLOCK_MILLIS, NOW + CLOCK_MILLIS)
    assert.strictEqual(window.size, 2)
    window.isFirst("c", NOW + CLOCK_MILLIS, NOW + CLOCK_MILLIS + 1)
    assert.strictEqual(window.size, 2)
  })

  it("holds a bounded number, and refuses what it may have forgotten", () => {
    const window = new ReplayWindow()
    for (let i = 0; i <= CAPACITY; i++) assert.isTrue(window.isFirst(`n${i}`, NOW + i / 1000, NOW))
    assert.strictEqual(window.size, CAPACITY)
    assert.isFalse(window.isFirst("n0", NOW, NOW))
    assert.isFalse(window.isFirst("n1", NOW + 1 / 1000, NOW))
    assert.isFalse(window.isFirst("new, but as old as the forgotten one", NOW, NOW))
    assert.isTrue(window.isFirst("new", NOW + 1000, NOW))
  })
})
