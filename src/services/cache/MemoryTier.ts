import { Context, Effect, Layer } from "effect"
import type { ChunkKey } from "../../domain/Chunk.ts"
import { type Kept, Sieve } from "../../effects/Sieve.ts"
import { CacheConfig } from "../config/CacheConfig.ts"
import { ChunkMap } from "./ChunkMap.ts"

/**
 * Whole chunks in memory, at most `memory` bytes of them. Chunks that were used once are evicted before those that are used again and
 * again. Never fails, and never waits. The bytes are shared: don't write to them.
 */
export class MemoryTier extends Context.Service<MemoryTier, {
  /** The chunk, or `undefined`. Counts as a use. */
  readonly get: (key: ChunkKey) => Uint8Array | undefined
  /** Whether a chunk is there. Doesn't count as a use. */
  readonly has: (key: ChunkKey) => boolean
  /** The first index, starting at that of `key`, whose chunk is missing. */
  readonly firstMissing: (key: ChunkKey) => number
  /** Keeps a chunk, and evicts others if there is no room. A chunk larger than the tier isn't kept. Don't write to `payload` afterwards. */
  readonly put: (key: ChunkKey, payload: Uint8Array) => void
  /** Whether this many bytes can be put without an eviction. */
  readonly hasRoom: (bytes: number) => boolean
  /** The chunk to evict next. */
  readonly next: () => ChunkKey | undefined
  /** Removes a chunk. Does nothing for a missing one. */
  readonly remove: (key: ChunkKey) => void
  /** Drops all chunks of a resource. */
  readonly removeResource: (resource: string) => void
  /** The bytes and the number of chunks that it holds, and how often one was found. */
  readonly usage: () => { readonly bytes: number; readonly chunks: number; readonly hits: number }
}>()("spillway/services/cache/MemoryTier") {
  static readonly layer: Layer.Layer<MemoryTier, never, CacheConfig> = Layer.effect(
    MemoryTier,
    Effect.map(CacheConfig, ({ memory }) => make(memory))
  )
}

/** What a tier holds. */
type Held = ReturnType<MemoryTier["Service"]["usage"]>

/** What two tiers hold. */
export const together = (a: Held, b: Held): Held => ({
  bytes: a.bytes + b.bytes,
  chunks: a.chunks + b.chunks,
  hits: a.hits + b.hits
})

interface Chunk {
  readonly key: ChunkKey
  readonly payload: Uint8Array
}

/** What even the shortest chunk counts for, in bytes: about what it takes besides its own. */
const LEAST_BYTES = 512

const make = (capacity: number) => {
  const sieve = new Sieve<Chunk>(capacity)
  const chunks = new ChunkMap<Kept<Chunk>>()
  let hits = 0
  const forget = ({ key }: Chunk): void => chunks.delete(key)

  const remove = (key: ChunkKey): void => {
    const kept = chunks.get(key)
    if (kept === undefined) return
    sieve.remove(kept)
    chunks.delete(key)
  }

  return MemoryTier.of({
    get: (key) => {
      const kept = chunks.get(key)
      if (kept === undefined) return undefined
      hits += 1
      kept.visited = true
      return kept.value.payload
    },
    has: (key) => chunks.get(key) !== undefined,
    firstMissing: (key) => chunks.firstMissing(key),
    put: (key, payload) => {
      const weight = Math.max(payload.length, LEAST_BYTES)
      if (weight > capacity) return
      remove(key)
      chunks.set(key, sieve.add({ key, payload }, weight, forget))
    },
    hasRoom: (bytes) => sieve.weight + Math.max(bytes, LEAST_BYTES) <= capacity,
    next: () => sieve.next()?.value.key,
    remove,
    removeResource: (resource) => {
      for (const { value } of chunks.of(resource)) remove(value.key)
    },
    usage: () => ({ bytes: sieve.weight, chunks: sieve.count, hits })
  })
}
