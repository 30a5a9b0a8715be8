import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import type { ChunkKey } from "../../../../src/domain/Chunk.ts"
import { ReusedBuffers } from "../../../../src/effects/ReusedBuffers.ts"
import { ChunkMemory } from "../../../../src/services/cache/ChunkMemory.ts"
import { MemoryTier, together } from "../../../../src/services/cache/MemoryTier.ts"
import { CacheConfig, defaults } from "../../../../src/services/config/CacheConfig.ts"

const keyAt = (index: number, resource = "film"): ChunkKey => ({ resource, representation: "r", index })
const payload = (bytes: number) => new Uint8Array(bytes)

const withTier = (memory: number, run: (tier: MemoryTier["Service"]) => void) =>
  Effect.map(MemoryTier, run).pipe(
    Effect.provide(Layer.provide(MemoryTier.layer, Layer.succeed(CacheConfig, { ...defaults, memory })))
  )

describe("MemoryTier", () => {
  it.effect("leaves the memory of chunks to others that have gone", () => {
    const memory = new ReusedBuffers(1)
    const inTier = (index: number) => {
      const bytes = memory.take(1000)
      return { key: keyAt(index), bytes }
    }
    const isFree = ({ bytes }: { readonly bytes: Uint8Array }) => {
      const found = memory.take(1000)
      memory.forget(found)
      return found.buffer === bytes.buffer
    }
    return withTier(2000, (tier) => {
      const [evicted, removed, again] = [inTier(0), inTier(1), inTier(2)]
      for (const { bytes, key } of [evicted, removed, again, again]) tier.put(key, bytes)
      for (const { bytes } of [evicted, removed, again]) memory.release(bytes)
      assert.isTrue(isFree(evicted))
      assert.isFalse(isFree(again))
      tier.remove(removed.key)
      assert.isTrue(isFree(removed))
      tier.removeResource("film")
      assert.isTrue(isFree(again))
    }).pipe(Effect.provideService(ChunkMemory, memory))
  })

  it.effect("returns the chunks that were put", () =>
    withTier(10_000, (tier) => {
      const bytes = payload(1000)
      tier.put(keyAt(0), bytes)
      assert.strictEqual(tier.get(keyAt(0)), bytes)
      assert.deepStrictEqual([tier.has(keyAt(0)), tier.has(keyAt(1))], [true, false])
      assert.isUndefined(tier.get(keyAt(1)))
      assert.deepStrictEqual(tier.usage(), { bytes: 1000, chunks: 1, hits: 1 })
    }))

  it.effect("replaces a chunk that is put again", () =>
    withTier(10_000, (tier) => {
      tier.put(keyAt(0), payload(1000))
      const bytes = payload(2000)
      tier.put(keyAt(0), bytes)
      assert.strictEqual(tier.get(keyAt(0)), bytes)
      assert.deepStrictEqual(tier.usage(), { bytes: 2000, chunks: 1, hits: 1 })
    }))

  it.effect("stays within its capacity, and evicts chunks that were not used first", () =>
    withTier(3000, (tier) => {
      for (const i of [0, 1, 2]) tier.put(keyAt(i), payload(1000))
      tier.get(keyAt(0))
      assert.deepStrictEqual(tier.next()?.key, keyAt(1))
      tier.put(keyAt(3), payload(1000))
      assert.deepStrictEqual([0, 1, 2, 3].map((i) => tier.has(keyAt(i))), [true, false, true, true])
      assert.strictEqual(tier.usage().bytes, 3000)
    }))

  it.effect("doesn't keep a chunk larger than its capacity, and evicts nothing for it", () =>
    withTier(3000, (tier) => {
      tier.put(keyAt(0), payload(1000))
      tier.put(keyAt(1), payload(3001))
      assert.deepStrictEqual([tier.has(keyAt(0)), tier.has(keyAt(1))], [true, false])
    }))

  it.effect("keeps nothing without a capacity", () =>
    withTier(0, (tier) => {
      tier.put(keyAt(0), payload(1))
      assert.deepStrictEqual(tier.usage(), { bytes: 0, chunks: 0, hits: 0 })
      assert.isFalse(tier.hasRoom(1))
      assert.isUndefined(tier.next())
    }))

  it.effect("counts a short chunk as 512 bytes", () =>
    withTier(1024, (tier) => {
      for (const i of [0, 1, 2]) tier.put(keyAt(i), payload(1))
      assert.deepStrictEqual(tier.usage(), { bytes: 1024, chunks: 2, hits: 0 })
    }))

  it.effect("says whether there is room without an eviction", () =>
    withTier(3000, (tier) => {
      tier.put(keyAt(0), payload(1000))
      assert.deepStrictEqual([tier.hasRoom(2000), tier.hasRoom(2001)], [true, false])
      tier.put(keyAt(1), payload(1600))
      // Counted as 512.
      assert.isFalse(tier.hasRoom(1))
    }))

  it.effect("finds the end of a stretch of chunks", () =>
    withTier(10_000, (tier) => {
      for (const i of [0, 1, 3]) tier.put(keyAt(i), payload(1000))
      assert.deepStrictEqual([0, 1, 2, 3].map((i) => tier.firstMissing(keyAt(i))), [2, 2, 2, 4])
      tier.remove(keyAt(1))
      tier.remove(keyAt(1))
      assert.strictEqual(tier.firstMissing(keyAt(0)), 1)
      assert.strictEqual(tier.usage().bytes, 2000)
    }))

  it.effect("keeps parts of chunks alone, and evicts each alone", () =>
    withTier(3000, (tier) => {
      for (const part of [0, 1, 2]) tier.putPart(keyAt(0), part, payload(1000))
      assert.deepStrictEqual([tier.has(keyAt(0)), tier.hasPart(keyAt(0), 1), tier.hasPart(keyAt(1), 1)], [
        false,
        true,
        false
      ])
      assert.strictEqual(tier.getPart(keyAt(0), 0)?.length, 1000)
      assert.deepStrictEqual([tier.next()?.key, tier.next()?.part], [keyAt(0), 1])
      tier.putPart(keyAt(1), 7, payload(1000))
      assert.deepStrictEqual([0, 1, 2].map((part) => tier.hasPart(keyAt(0), part)), [true, false, true])
      tier.remove(keyAt(0))
      assert.deepStrictEqual(tier.usage(), { bytes: 1000, chunks: 1, hits: 1 })
    }))

  it.effect("replaces the parts of a chunk by the whole chunk", () =>
    withTier(3000, (tier) => {
      tier.putPart(keyAt(0), 0, payload(1000))
      tier.put(keyAt(0), payload(2000))
      assert.deepStrictEqual([tier.has(keyAt(0)), tier.hasPart(keyAt(0), 0)], [true, false])
      assert.strictEqual(tier.usage().bytes, 2000)
    }))

  it.effect("doesn't protect a chunk by a look that is no use", () =>
    withTier(2000, (tier) => {
      for (const i of [0, 1]) tier.put(keyAt(i), payload(1000))
      tier.peek(keyAt(0))
      assert.deepStrictEqual(tier.next()?.key, keyAt(0))
    }))

  it.effect("drops all chunks of a resource, and of no other", () =>
    withTier(10_000, (tier) => {
      tier.putPart(keyAt(5), 3, payload(1000))
      for (const i of [0, 1]) tier.put(keyAt(i), payload(1000))
      tier.put(keyAt(0, "other"), payload(1000))
      tier.removeResource("film")
      assert.deepStrictEqual([tier.has(keyAt(0)), tier.has(keyAt(1)), tier.has(keyAt(0, "other"))], [
        false,
        false,
        true
      ])
      assert.strictEqual(tier.usage().bytes, 1000)
    }))

  it("adds up the usage of two tiers", () => {
    assert.deepStrictEqual(together({ bytes: 1, chunks: 2, hits: 3 }, { bytes: 10, chunks: 20, hits: 30 }), {
      bytes: 11,
      chunks: 22,
      hits: 33
    })
  })
})
