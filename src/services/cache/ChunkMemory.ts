import { Context } from "effect"
import { SHORT_BYTES } from "../../effects/pieces.ts"
import { ReusedBuffers } from "../../effects/ReusedBuffers.ts"

/**
 * The memory of chunks that arrive from an origin. It is used again when the chunk has left `MemoryTier` and the queue of `ChunkWriter`, and
 * all viewers have been sent what they were handed of it.
 */
export class ChunkMemory extends Context.Reference<ReusedBuffers>("spillway/services/cache/ChunkMemory", {
  defaultValue: () => new ReusedBuffers(SHORT_BYTES)
}) {}

/** What a viewer may still be sent of a chunk. */
interface Handed {
  readonly piece: Uint8Array
  /** The offset behind the last byte of it that was handed out. */
  end: number
}

/**
 * Holds the chunks that one viewer has been handed pieces of, until these have been sent. A viewer who `reuses` asks for the next piece when
 * less than `memory.least` bytes are still to be sent, and none if the last piece was at least that long. The chunks of other viewers are
 * not used again.
 */
export class HandedPieces {
  readonly #memory: ReusedBuffers
  readonly #end: number
  readonly #reuses: boolean
  readonly #handed: Array<Handed> = []
  #isLong = false

  /** For a viewer who gets bytes up to the offset `end`. */
  constructor(memory: ReusedBuffers, end: number, reuses: boolean) {
    this.#memory = memory
    this.#end = end
    this.#reuses = reuses
  }

  /** Notes that the viewer asks for a piece, and returns what to hand it: `piece`, which starts at `start`, or a copy. */
  next(piece: Uint8Array, start: number): Uint8Array {
    if (!this.#reuses) {
      this.#memory.forget(piece)
      return piece
    }
    const sentTo = this.#isLong ? start : start - this.#memory.least
    this.#isLong = piece.length >= this.#memory.least
    const handed = this.#hand(piece, start + piece.length)
    this.#releaseTo(sentTo)
    return handed
  }

  /** To be called when the viewer asks for a piece behind the last one. */
  finish(): void {
    this.#releaseTo(this.#end)
  }

  #hand(piece: Uint8Array, end: number): Uint8Array {
    if (!this.#memory.isReused(piece)) return piece
    // Nobody asks for another piece behind the last short ones, which would show that they were sent.
    if (!this.#isLong && end > this.#end - this.#memory.least) return new Uint8Array(piece)
    const last = this.#handed.at(-1)
    if (last?.piece.buffer === piece.buffer) last.end = end
    else {
      this.#memory.hold(piece)
      this.#handed.push({ piece, end })
    }
    return piece
  }

  #releaseTo(offset: number): void {
    while (this.#handed.length > 0 && this.#handed[0]!.end <= offset) this.#memory.release(this.#handed.shift()!.piece)
  }
}
