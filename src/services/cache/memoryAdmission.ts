import { Effect } from "effect"
import type { ChunkKey } from "../../domain/Chunk.ts"
import { PART_BYTES, partAt } from "../disk/ChunkStore.ts"
import { type Held, MemoryTier } from "./MemoryTier.ts"
import { PartUses } from "./PartUses.ts"

/**
 * How many times as often a part must be used as what is evicted for it. Parts that are used about equally often would replace one another all
 * the time, each by a copy.
 */
const COPY_GAIN = 2

/** Makes the functions that decide what of the bytes from disk is kept in memory: what was used more often than what it would replace. */
export const makeMemoryAdmission = Effect.map(MemoryTier, (memory) => {
  const uses = new PartUses()

  const usesOf = ({ bytes, key, part }: Held): number =>
    part === undefined ? uses.ofChunk(key, partAt(bytes.length - 1)) : uses.ofPart(key, part)

  /** Whether a part of so many bytes that was used so often should be in memory. */
  const isWorthCopy = (used: number, bytes: number): boolean => {
    if (memory.hasRoom(bytes)) return true
    const rival = memory.next()
    return rival !== undefined && used > COPY_GAIN * usesOf(rival)
  }

  return {
    /** Counts a use of the parts of a chunk from `first` to `last`. */
    countUse: (key: ChunkKey, first: number, last: number): void => uses.count(key, first, last),
    /** Whether a chunk of `length` bytes that is about to be used should be in memory. */
    isWorthMemory: (key: ChunkKey, length: number): boolean => {
      if (memory.hasRoom(length)) return true
      const rival = memory.next()
      // The use that this is about counts too.
      return rival !== undefined && uses.ofChunk(key, partAt(length - 1)) + 1 > usesOf(rival)
    },
    /** Keeps copies of `parts`, the bytes of a chunk from part `first` on, as far as they should be in memory. */
    keepParts: (key: ChunkKey, first: number, parts: Uint8Array): void => {
      for (let at = 0; at < parts.length; at += PART_BYTES) {
        const part = first + at / PART_BYTES
        const bytes = parts.subarray(at, at + PART_BYTES)
        if (memory.hasPart(key, part)) continue
        if (isWorthCopy(uses.ofPart(key, part), bytes.length)) memory.putPart(key, part, new Uint8Array(bytes))
      }
    }
  }
})
