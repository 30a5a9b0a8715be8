import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"
import { createXXHash3 } from "hash-wasm"
import { INPUT_BYTES, sharedMemory, xxh3 } from "../../../../src/effects/xxh3/xxh3.ts"
import { randomBytes } from "../../../support/TestOrigin.ts"

const reference = await createXXHash3()

/** What another implementation says of the bytes, padded with zeros. */
const expected = (bytes: Uint8Array): number => {
  const padded = new Uint8Array(INPUT_BYTES)
  padded.set(bytes)
  return Number.parseInt(reference.init().update(padded).digest().slice(-8), 16)
}

const lengths = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: INPUT_BYTES }))

describe("XXH3 of a part", () => {
  it.prop("is what another implementation says, for all lengths", {
    length: lengths,
    seed: Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 1e6 }))
  }, ({ length, seed }) => {
    const bytes = randomBytes(length, seed)
    assert.strictEqual(xxh3(bytes), expected(bytes))
  })

  it("is the same in shared memory, for whole and for short inputs", () => {
    const memory = sharedMemory(3 * INPUT_BYTES)
    const bytes = randomBytes(memory.length, 4)
    memory.set(bytes)
    for (
      const [start, end] of [[0, 1], [1, 2], [2, 3], [1, 1.5], [0.25, 1.25]].map((at) => at.map((n) => n * INPUT_BYTES))
    ) {
      assert.strictEqual(xxh3(memory.subarray(start, end)), xxh3(bytes.subarray(start, end)), `${start} to ${end}`)
    }
    assert.deepStrictEqual(Buffer.from(memory), bytes)
  })

  it("doesn't depend on what was hashed before", () => {
    const short = randomBytes(100)
    const before = xxh3(short)
    xxh3(randomBytes(INPUT_BYTES, 2))
    assert.strictEqual(xxh3(short), before)
  })

  it("changes with each bit", () => {
    const bytes = randomBytes(INPUT_BYTES, 3)
    const intact = xxh3(bytes)
    for (let at = 0; at < INPUT_BYTES; at += 37) {
      const bit = 1 << at % 8
      bytes[at]! ^= bit
      assert.notStrictEqual(xxh3(bytes), intact, `byte ${at}`)
      bytes[at]! ^= bit
    }
    assert.strictEqual(xxh3(bytes), intact)
  })
})
