import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"
import { classify, type DiskStatus } from "../../../src/domain/DiskStatus.ts"

const MIB = 1024 ** 2
const GB = 1e9
const TB = 1e12
const order: ReadonlyArray<DiskStatus> = ["Healthy", "Info", "Warning", "Critical"]

const status = (free: number, total: number, minFree = 0) =>
  classify({ free, total, freeNodes: 1000, totalNodes: 1000 }, minFree)

describe("classify", () => {
  const small = 16 * MIB
  const cases: ReadonlyArray<readonly [string, number, number, DiskStatus]> = [
    ["an empty disk of 16 MiB", small, small, "Healthy"],
    ["16 MiB, 20 % free", small * 0.2, small, "Healthy"],
    ["16 MiB, just below 20 %", small * 0.2 - 1, small, "Info"],
    ["16 MiB, 15 %", small * 0.15, small, "Info"],
    ["16 MiB, just below 15 %", small * 0.15 - 1, small, "Warning"],
    ["16 MiB, 7.5 %", small * 0.075, small, "Warning"],
    ["16 MiB, just below 7.5 %", small * 0.075 - 1, small, "Critical"],
    ["16 MiB, full", 0, small, "Critical"],
    ["20 GB, 4 GB free", 4 * GB, 20 * GB, "Healthy"],
    ["20 GB, just below 4 GB", 4 * GB - 1, 20 * GB, "Info"],
    ["20 GB, 3 GB (15 %)", 3 * GB, 20 * GB, "Info"],
    ["20 GB, just below 3 GB", 3 * GB - 1, 20 * GB, "Warning"],
    ["20 GB, 1 GB", GB, 20 * GB, "Warning"],
    ["20 GB, just below 1 GB", GB - 1, 20 * GB, "Critical"],
    ["40 GB, just below 8 GB", 8 * GB - 1, 40 * GB, "Info"],
    ["40 GB, just below 5 GB", 5 * GB - 1, 40 * GB, "Warning"],
    ["40 GB, just below 2 GB", 2 * GB - 1, 40 * GB, "Critical"],
    ["10 TB, 2 TB free", 2 * TB, 10 * TB, "Healthy"],
    ["10 TB, just below 2 TB", 2 * TB - 1, 10 * TB, "Info"],
    ["10 TB, 1 TB", TB, 10 * TB, "Info"],
    ["10 TB, just below 1 TB", TB - 1, 10 * TB, "Warning"],
    ["10 TB, 500 GB", 500 * GB, 10 * TB, "Warning"],
    ["10 TB, just below 500 GB", 500 * GB - 1, 10 * TB, "Critical"]
  ]

  it.each(cases)("%s", (_, free, total, expected) => {
    assert.strictEqual(status(free, total), expected)
  })

  const nodes: ReadonlyArray<readonly [string, number, number, DiskStatus]> = [
    ["3 of 512", 3, 512, "Critical"],
    ["26 of 512", 26, 512, "Warning"],
    ["52 of 512", 52, 512, "Info"],
    ["103 of 512", 103, 512, "Healthy"],
    ["60 000 of 61 million", 60_000, 61e6, "Info"],
    ["20 000 of 61 million", 20_000, 61e6, "Warning"],
    ["9999 of 61 million", 9999, 61e6, "Critical"],
    ["none where the file system counts none", 0, 0, "Healthy"]
  ]

  it.each(nodes)("counts file nodes: %s", (_, freeNodes, totalNodes, expected) => {
    assert.strictEqual(classify({ free: TB, total: TB, freeNodes, totalNodes }, 0), expected)
    assert.strictEqual(classify({ free: 0, total: TB, freeNodes, totalNodes }, 0), "Critical")
  })

  it("is Critical below minFree, however large the disk", () => {
    assert.strictEqual(status(3 * TB, 10 * TB, 3 * TB), "Healthy")
    assert.strictEqual(status(3 * TB - 1, 10 * TB, 3 * TB), "Critical")
    assert.strictEqual(status(10 * MIB, 16 * MIB, 11 * MIB), "Critical")
  })

  it.prop("gets no better when space is taken, and never Healthy below a fifth", {
    total: Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 20 * TB })),
    a: Schema.Finite.check(Schema.isBetween({ minimum: 0, maximum: 1 })),
    b: Schema.Finite.check(Schema.isBetween({ minimum: 0, maximum: 1 })),
    minFree: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: TB }))
  }, ({ a, b, minFree, total }) => {
    const less = status(Math.min(a, b) * total, total, minFree)
    const more = status(Math.max(a, b) * total, total, minFree)
    assert.isAtLeast(order.indexOf(less), order.indexOf(more))
    if (a < 0.2) assert.notStrictEqual(status(a * total, total, minFree), "Healthy")
    if (a * total < minFree) assert.strictEqual(status(a * total, total, minFree), "Critical")
  })
})
