import { assert, describe, it } from "@effect/vitest"
import { ReadLatency } from "../../../../src/services/disk/ReadLatency.ts"

const PATIENCE = 250

/** A mean that many equal reads have made. */
const learned = (millis: number, at = 0) => {
  const latency = new ReadLatency()
  for (let read = 0; read < 40; read++) latency.ended(millis, at)
  return latency
}

describe("ReadLatency", () => {
  it("expects nothing to be late before the first read", () => {
    assert.isFalse(new ReadLatency().isTooLong(1000, PATIENCE, 0))
  })

  it("expects reads to take as long as the recent ones, one after the other", () => {
    const latency = learned(100)
    assert.isFalse(latency.isTooLong(1, PATIENCE, 0))
    assert.isFalse(latency.isTooLong(2, PATIENCE, 0))
    assert.isTrue(latency.isTooLong(3, PATIENCE, 0))
  })

  it("leaves a tenth of the patience unused", () => {
    assert.isFalse(learned(224).isTooLong(1, PATIENCE, 0))
    assert.isTrue(learned(226).isTooLong(1, PATIENCE, 0))
  })

  it("follows a change by a quarter with each read", () => {
    const latency = learned(0)
    latency.ended(400, 0)
    assert.isFalse(latency.isTooLong(1, 112, 0))
    assert.isTrue(latency.isTooLong(1, 111, 0))
    latency.ended(400, 0)
    assert.isTrue(latency.isTooLong(1, 194, 0))
    assert.isFalse(latency.isTooLong(1, 195, 0))
  })

  it("takes a late read as the mean at once", () => {
    const latency = learned(1)
    latency.late(PATIENCE, 0)
    assert.isTrue(latency.isTooLong(1, PATIENCE, 0))
  })

  it("forgets how long a disk hung", () => {
    const latency = learned(PATIENCE)
    latency.recovered(0)
    assert.isFalse(latency.isTooLong(1, 1, 0))
  })

  it("is trusted for five seconds after the last read", () => {
    const latency = learned(PATIENCE, 1000)
    assert.isTrue(latency.isTooLong(1, PATIENCE, 5999))
    assert.isFalse(latency.isTooLong(1, PATIENCE, 6000))
    latency.ended(PATIENCE, 9000)
    assert.isTrue(latency.isTooLong(1, PATIENCE, 13_999))
  })
})
