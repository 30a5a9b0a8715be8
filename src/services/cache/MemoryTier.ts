import { Context, Effect, Layer } from "effect"
import type { ChunkKey } from "../../domain/Chunk.ts"
import { ChunkMap } from "../../domain/ChunkMap.ts"
import type { ReusedBuffers } from "../../effects/ReusedBuffers.ts"
import { type Kept, Sieve } from "../../effects/Sieve.ts"
import { CacheConfig } from "../config/CacheConfig.ts"
import { ChunkMemory } from "./ChunkMemory.ts"

/** What is in memory: a chunk, or one part of a chunk (`PART_BYTES`). */
export interface Held {
  readonly key: ChunkKey
  /** `undefined` for the whole chunk. */
  readonly part: number | undefined
  readonly bytes: Uint8Array
}

/**
 * Chunks and parts of chunks in memory, at most `memory` bytes of them. Downloaded chunks are kept whole. Of what is read from disk in short
 * ranges, only the parts are. What was used once is evicted before what is used again and again. Never fails, and never waits. The bytes
 * are shared: don't write to them.
 */
export class MemoryTier extends Context.Service<MemoryTier, {
  /** The whole chunk, or `undefined`. Counts as a use. */
  readonly get: (key: ChunkKey) => Uint8Array | undefined
  /** The same, but the use doesn't protect the chunk from eviction. */
  readonly peek: (key: ChunkKey) => Uint8Array | undefined
  /** A part that is kept alone, or `undefined`. Counts as a use. */
  readonly getPart: (key: ChunkKey, part: number) => Uint8Array | undefined
  /** Whether a whole chunk is there. Doesn't count as a use. */
  readonly has: (key: ChunkKey) => boolean
  /** Whether a part is kept alone. Doesn't count as a use. */
  readonly hasPart: (key: ChunkKey, part: number) => boolean
  /** The first index, starting at that of `key`, whose chunk is missing. */
  readonly firstMissing: (key: ChunkKey) => number
  /** Keeps a chunk, and evicts others if there is no room. A chunk larger than the tier isn't kept. Don't write to `payload` afterwards. */
  readonly put: (key: ChunkKey, payload: Uint8Array) => void
  /** The same for a part of a chunk that isn't there. */
  readonly putPart: (key: ChunkKey, part: number, bytes: Uint8Array) => void
  /** Whether this many bytes can be put without an eviction. */
  readonly hasRoom: (bytes: number) => boolean
  /** What to evict next. */
  readonly next: () => Held | undefined
  /** Removes a chunk and its parts. Does nothing for a missing one. */
  readonly remove: (key: ChunkKey) => void
  /** Drops all chunks of a resource. */
  readonly removeResource: (resource: string) => void
  /** The bytes and the number of chunks and parts that it holds, and how often one was found. */
  readonly usage: () => Usage
}>()("spillway/services/cache/MemoryTier") {
  static readonly layer: Layer.Layer<MemoryTier, never, CacheConfig> = Layer.effect(
    MemoryTier,
    Effect.gen(function*() {
      return make((yield* CacheConfig).memory, yield* ChunkMemory)
    })
  )
}

/** What a tier holds. */
interface Usage {
  readonly bytes: number
  readonly chunks: number
  readonly hits: number
}

/** What two tiers hold. */
export const together = (a: Usage, b: Usage): Usage => ({
  bytes: a.bytes + b.bytes,
  chunks: a.chunks + b.chunks,
  hits: a.hits + b.hits
})

/** What even the shortest chunk or part counts for, in bytes: about what it takes besides its own. */
const LEAST_BYTES = 512

const make = (capacity: number, chunkMemory: ReusedBuffers) => {
  const sieve = new Sieve<Held>(capacity)
  const chunks = new ChunkMap<Kept<Held>>()
  const parts = new ChunkMap<Map<number, Kept<Held>>>()
  let hits = 0

  const forget = ({ bytes, key, part }: Held): void => {
    if (part === undefined) {
      chunkMemory.release(bytes)
      return chunks.delete(key)
    }
    const others = parts.get(key)
    others?.delete(part)
    if (others?.size === 0) parts.delete(key)
  }

  const add = (held: Held): Kept<Held> | undefined => {
    const weight = Math.max(held.bytes.length, LEAST_BYTES)
    return weight > capacity ? undefined : sieve.add(held, weight, forget)
  }

  const remove = (key: ChunkKey): void => {
    for (const kept of [chunks.get(key), ...parts.get(key)?.values() ?? []]) {
      if (kept === undefined) continue
      sieve.remove(kept)
      forget(kept.value)
    }
  }

  const hit = (kept: Kept<Held> | undefined, isProtected: boolean): Uint8Array | undefined => {
    if (kept === undefined) return undefined
    hits += 1
    if (isProtected) kept.visited = true
    return kept.value.bytes
  }

  return MemoryTier.of({
    get: (key) => hit(chunks.get(key), true),
    peek: (key) => hit(chunks.get(key), false),
    getPart: (key, part) => hit(parts.get(key)?.get(part), true),
    has: (key) => chunks.get(key) !== undefined,
    hasPart: (key, part) => parts.get(key)?.has(part) === true,
    firstMissing: (key) => chunks.firstMissing(key),
    put: (key, payload) => {
      if (Math.max(payload.length, LEAST_BYTES) > capacity) return
      // Before the same chunk is removed.
      chunkMemory.hold(payload)
      remove(key)
      const kept = add({ key, part: undefined, bytes: payload })
      if (kept !== undefined) chunks.set(key, kept)
    },
    putPart: (key, part, bytes) => {
      const kept = add({ key, part, bytes })
      if (kept === undefined) return
      const others = parts.get(key)
      if (others === undefined) parts.set(key, new Map([[part, kept]]))
      else others.set(part, kept)
    },
    hasRoom: (bytes) => sieve.weight + Math.max(bytes, LEAST_BYTES) <= capacity,
    next: () => sieve.next()?.value,
    remove,
    removeResource: (resource) => {
      for (const { value } of chunks.of(resource)) remove(value.key)
      for (const others of parts.of(resource)) {
        for (const { value } of others.values()) remove(value.key)
      }
    },
    usage: () => ({ bytes: sieve.weight, chunks: sieve.count, hits })
  })
}
