import { Context, Effect, Layer } from "effect"
import { type ChunkKey, keyText } from "../domain/Chunk.ts"
import { CacheConfig } from "./CacheConfig.ts"

/**
 * Whole chunks in memory, at most `memory` bytes of them; the least recently used go first. Never fails and never waits.
 * The bytes are shared: nobody writes to them.
 */
export class MemoryTier extends Context.Service<MemoryTier, {
  /** The chunk, which counts as used by this, or `undefined`. */
  readonly get: (key: ChunkKey) => Uint8Array | undefined
  readonly has: (key: ChunkKey) => boolean
  readonly put: (key: ChunkKey, payload: Uint8Array) => void
  readonly remove: (key: ChunkKey) => void
  /** Drops all chunks of a resource. */
  readonly removeResource: (resource: string) => void
  /** What it holds: bytes of chunks, and how many these are; and how often one was found. */
  readonly usage: () => { readonly bytes: number; readonly chunks: number; readonly hits: number }
}>()("spillway/services/MemoryTier") {
  static readonly layer: Layer.Layer<MemoryTier, never, CacheConfig> = Layer.effect(
    MemoryTier,
    Effect.map(CacheConfig, ({ memory }) => make(memory))
  )
}

const make = (capacity: number) => {
  // A Map iterates in the order of insertion, so the first entry is the least recently used one.
  const chunks = new Map<string, Uint8Array>()
  let bytes = 0
  let hits = 0

  const remove = (text: string): void => {
    const chunk = chunks.get(text)
    if (chunk === undefined) return
    chunks.delete(text)
    bytes -= chunk.length
  }

  return MemoryTier.of({
    get: (key) => {
      const text = keyText(key)
      const chunk = chunks.get(text)
      if (chunk === undefined) return undefined
      hits += 1
      chunks.delete(text)
      chunks.set(text, chunk)
      return chunk
    },
    has: (key) => chunks.has(keyText(key)),
    put: (key, payload) => {
      if (payload.length > capacity) return
      const text = keyText(key)
      remove(text)
      chunks.set(text, payload)
      bytes += payload.length
      for (const oldest of chunks.keys()) {
        if (bytes <= capacity) break
        remove(oldest)
      }
    },
    remove: (key) => remove(keyText(key)),
    removeResource: (resource) => {
      for (const text of chunks.keys()) if (text.startsWith(`${resource}/`)) remove(text)
    },
    usage: () => ({ bytes, chunks: chunks.size, hits })
  })
}
