import type { ByteRange } from "../../domain/rfc/ByteRange.ts"
import type { ReusedBuffers } from "../../effects/ReusedBuffers.ts"
import { ChunkAssembly } from "./ChunkAssembly.ts"

/** The chunks that a fetch or reader needs: those from `first` to `last`; none if `last` is less. */
export interface Hold {
  first: number
  last: number
}

/** A hold of no chunks. */
export const noHold = (): Hold => ({ first: 0, last: -1 })

/**
 * The chunks of one representation whose bytes are arriving, or have arrived recently. A chunk stays while it is held. Moving a hold costs
 * as much as the distance, independent of the number of chunks and holds.
 */
export class Assemblies {
  readonly #memory: ReusedBuffers
  readonly #chunks = new Map<number, ChunkAssembly>()
  /** The number of holds of each chunk, even before its first byte arrives. */
  readonly #holds = new Map<number, number>()

  constructor(memory: ReusedBuffers) {
    this.#memory = memory
  }

  get(index: number): ChunkAssembly | undefined {
    return this.#chunks.get(index)
  }

  /** Begins a chunk that is held. */
  begin(index: number, span: ByteRange): ChunkAssembly {
    const assembly = new ChunkAssembly(index, span, this.#memory)
    this.#chunks.set(index, assembly)
    return assembly
  }

  /** Drops a chunk although it is held, because the cache has it. */
  drop(index: number): void {
    this.#chunks.get(index)?.release()
    this.#chunks.delete(index)
  }

  /** Moves `hold` to the chunks from `first` to `last`. */
  move(hold: Hold, first: number, last: number): void {
    const before = { ...hold }
    hold.first = first
    hold.last = last
    for (let index = first; index <= last; index++) {
      if (index < before.first || index > before.last) this.#holds.set(index, (this.#holds.get(index) ?? 0) + 1)
    }
    for (let index = before.first; index <= before.last; index++) {
      if (index < first || index > last) this.#release(index)
    }
  }

  #release(index: number): void {
    const left = this.#holds.get(index)! - 1
    if (left > 0) return void this.#holds.set(index, left)
    this.#holds.delete(index)
    this.drop(index)
  }
}
