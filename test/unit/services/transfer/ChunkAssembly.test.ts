import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import { ReusedBuffers } from "../../../../src/effects/ReusedBuffers.ts"
import { ChunkAssembly } from "../../../../src/services/transfer/ChunkAssembly.ts"
import { randomBytes } from "../../../support/TestOrigin.ts"

const START = 3000
const SIZE = 1000
const bytes = new Uint8Array(randomBytes(SIZE))
const newAssembly = () => new ChunkAssembly(3, { start: START, end: START + SIZE }, new ReusedBuffers(1))

const intBetween = (minimum: number, maximum: number) => Schema.Int.check(Schema.isBetween({ minimum, maximum }))

describe("ChunkAssembly", () => {
  it("holds hardly more memory than its bytes, also if they come as parts of larger buffers", () => {
    const assembly = newAssembly()
    const packets = Buffer.concat([new Uint8Array(60_000), bytes])
    assembly.write(START, packets.subarray(60_000, 60_400))
    assembly.write(START + 400, packets.subarray(60_400))
    assert.isAtMost(assembly.whole!.buffer.byteLength, SIZE * 9 / 8)
  })

  it.effect.prop("has the bytes whatever the order of the writes", {
    cuts: Schema.Array(intBetween(1, SIZE - 1)),
    seed: intBetween(0, 1e6)
  }, ({ cuts, seed }) =>
    Effect.sync(() => {
      const bounds = [...new Set([0, ...cuts, SIZE])].toSorted((a, b) => a - b)
      const order = randomBytes(bounds.length, seed)
      const pieces = bounds.slice(1)
        .map((end, i) => ({ start: bounds[i]!, end, order: order[i]! }))
        .toSorted((a, b) => a.order - b.order)
      const assembly = newAssembly()
      const present = new Set<number>()
      for (const { end, start } of pieces) {
        assert.isUndefined(assembly.whole)
        assembly.write(START + start, bytes.subarray(start, end))
        for (let at = start; at < end; at++) present.add(at)
        for (const at of [start, end - 1, Math.max(0, start - 1), Math.min(end, SIZE - 1)]) {
          let filled = at
          while (present.has(filled)) filled++
          assert.strictEqual(assembly.filledTo(START + at), START + filled)
          let missing = filled
          while (missing < SIZE && !present.has(missing)) missing++
          assert.strictEqual(assembly.missingTo(START + filled), START + missing)
          assert.deepEqual(new Uint8Array(assembly.read(START + at, START + filled)), bytes.slice(at, filled))
        }
      }
      assert.deepEqual(new Uint8Array(assembly.whole!), bytes)
    }), { arbitrary: { runs: 200 } })

  it("does not copy what it gives", () => {
    const assembly = newAssembly()
    assembly.write(START, bytes)
    assert.strictEqual(assembly.read(START + 1, START + 2).buffer, assembly.whole!.buffer)
  })
})
