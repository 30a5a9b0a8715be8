import { assert, describe, it } from "@effect/vitest"
import { fromErrno } from "../../../../src/domain/CacheError.ts"
import { LateReads } from "../../../../src/services/disk/LateReads.ts"

const errorOf = (file: string) => fromErrno("EIO", "read", file)

describe("LateReads", () => {
  it("knows a late read until it ends", () => {
    const reads = new LateReads()
    assert.isFalse(reads.isRunning("a"))
    reads.add("a")
    assert.isTrue(reads.isRunning("a"))
    assert.isFalse(reads.isRunning("b"))
    assert.isUndefined(reads.takeError("a"))
    assert.isTrue(reads.isRunning("a"))
    reads.ended("a", undefined)
    assert.isFalse(reads.isRunning("a"))
    assert.isUndefined(reads.takeError("a"))
  })

  it("gives the error of a late read to the next viewer only", () => {
    const reads = new LateReads()
    reads.add("a")
    reads.ended("a", errorOf("a"))
    assert.isFalse(reads.isRunning("a"))
    assert.deepStrictEqual(reads.takeError("a"), errorOf("a"))
    assert.isUndefined(reads.takeError("a"))
  })

  it("keeps the last 64 errors, and all reads that run", () => {
    const reads = new LateReads()
    reads.add("runs")
    for (let file = 0; file < 65; file++) reads.ended(`${file}`, errorOf(`${file}`))
    assert.isUndefined(reads.takeError("0"))
    assert.isDefined(reads.takeError("1"))
    assert.isDefined(reads.takeError("64"))
    assert.isTrue(reads.isRunning("runs"))
  })
})
