import { Effect, type Exit } from "effect"
import type { CacheError } from "../../domain/CacheError.ts"
import type { ChunkKey } from "../../domain/Chunk.ts"
import type { ByteRange } from "../../domain/rfc/ByteRange.ts"
import { BufferPool } from "../../effects/BufferPool.ts"
import { ReaderThread, SLOT_BYTES } from "./ReaderThread.ts"

/**
 * Bytes in memory that is used for other bytes after `release`.
 *
 * @since 0.1.0
 * @category models
 */
export interface LentBytes {
  readonly bytes: Uint8Array
  /** Gives the memory back. Call it once, and don't read the bytes any more. */
  readonly release: () => void
}

/**
 * The `readShort` of a `ChunkStore` that lends no memory: its `read`, in a fiber of its own. The bytes stay as they are after `release`.
 *
 * @since 0.1.0
 * @category constructors
 */
export const readShortBy =
  (read: (key: ChunkKey, length: number, range: ByteRange) => Effect.Effect<Uint8Array, CacheError>) =>
  (key: ChunkKey, length: number, range: ByteRange, onEnd: (exit: Exit.Exit<LentBytes, CacheError>) => void): void =>
    void Effect.runFork(Effect.map(read(key, length, range), (bytes) => ({ bytes, release: nothing })))
      .addObserver(onEnd)

/** Releases nothing. */
export const nothing = (): void => {}

/** How many buffers are kept for reuse, besides those that are shared with `ReaderThread`. */
const POOLED = 64

/** Memory for short reads, which is used again. */
export interface LentMemory {
  /** The longest read that it has room for, in bytes. */
  readonly maxBytes: number
  readonly take: () => Buffer
  /** Takes a buffer back, which nobody reads or writes any more. */
  readonly give: (buffer: Buffer) => void
}

/** Memory that is shared with `ReaderThread` while there is any, then memory of this process. */
export const make = Effect.map(ReaderThread, (reader): LentMemory => {
  const pool = new BufferPool(SLOT_BYTES, POOLED)
  return {
    maxBytes: SLOT_BYTES,
    take: () => reader?.take() ?? pool.take(),
    give: (buffer) => {
      if (reader?.give(buffer) !== true) pool.give(buffer)
    }
  }
})
