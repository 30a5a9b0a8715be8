import { assert, describe, it, vi } from "@effect/vitest"
import { span } from "../../../../src/domain/Chunk.ts"
import { ReusedBuffers } from "../../../../src/effects/ReusedBuffers.ts"
import { Assemblies, type Hold, noHold } from "../../../../src/services/transfer/Assemblies.ts"

const CHUNK = 16
const begin = (assemblies: Assemblies, index: number) => assemblies.begin(index, span(index, CHUNK, 1e9))

describe("Assemblies", () => {
  it("keeps a chunk until nobody holds it any more", () => {
    const assemblies = new Assemblies(new ReusedBuffers(1))
    const [fetch, viewer] = [noHold(), noHold()]
    assemblies.move(fetch, 5, 5)
    assemblies.move(viewer, 4, 6)
    const chunk = begin(assemblies, 5)
    assemblies.move(fetch, 6, 6)
    assert.strictEqual(assemblies.get(5), chunk)
    assemblies.move(viewer, 5, 7)
    assert.strictEqual(assemblies.get(5), chunk)
    assemblies.move(viewer, 6, 8)
    assert.isUndefined(assemblies.get(5))
    assert.deepStrictEqual(viewer, { first: 6, last: 8 })
  })

  it("leaves the memory of a chunk to others that it no longer keeps", () => {
    const memory = new ReusedBuffers(1)
    const assemblies = new Assemblies(memory)
    const hold = noHold()
    assemblies.move(hold, 4, 5)
    const [held, dropped] = [begin(assemblies, 4), begin(assemblies, 5)].map((chunk) => {
      chunk.write(chunk.span.start, new Uint8Array(CHUNK))
      return chunk.whole!
    })
    assemblies.drop(5)
    assert.strictEqual(memory.take(CHUNK).buffer, dropped!.buffer)
    assemblies.move(hold, 0, -1)
    assert.strictEqual(memory.take(CHUNK).buffer, held!.buffer)
  })

  it("lets go of all chunks with the last holds, whatever their way was", () => {
    const assemblies = new Assemblies(new ReusedBuffers(1))
    const holds: Array<Hold> = []
    for (let i = 0; i < 100; i++) {
      const hold = noHold()
      assemblies.move(hold, i * 3, i * 3 + 2)
      begin(assemblies, i * 3 + (i % 3))
      assemblies.move(hold, i * 3 + 1, i * 3 + 4)
      holds.push(hold)
    }
    for (const hold of holds) assemblies.move(hold, 0, -1)
    for (let index = 0; index < 400; index++) assert.isUndefined(assemblies.get(index))
  })

  it("takes as many steps for a viewer that moves on among a thousand as for one alone", () => {
    const steps = (others: number): number => {
      const assemblies = new Assemblies(new ReusedBuffers(1))
      for (let i = 0; i < others; i++) {
        assemblies.move(noHold(), i * 10, i * 10 + 2)
        begin(assemblies, i * 10)
      }
      const hold = noHold()
      const spies = (["get", "set", "delete"] as const).map((name) => vi.spyOn(Map.prototype, name))
      const iterators = vi.spyOn(Map.prototype, "values")
      for (let index = 0; index < 50; index++) {
        assemblies.move(hold, index, index + 1)
        begin(assemblies, index)
      }
      const count = spies.reduce((sum, spy) => sum + spy.mock.calls.length, 0)
      assert.strictEqual(iterators.mock.calls.length, 0)
      vi.restoreAllMocks()
      return count
    }
    // Besides those for chunks that others hold as well.
    assert.isAtMost(steps(1000) - steps(0), 50)
  })
})
