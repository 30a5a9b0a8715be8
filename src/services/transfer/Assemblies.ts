import type { ByteRange } from "../../domain/rfc/ByteRange.ts"
import { ChunkAssembly } from "./ChunkAssembly.ts"

/** Chunks that somebody needs: those from `first` to `last`, none when `last` is less. */
export interface Hold {
  first: number
  last: number
}

/** A hold of nothing. */
export const noHold = (): Hold => ({ first: 0, last: -1 })

/**
 * The chunks of one representation whose bytes arrive, or have arrived not long ago. Each stays for as long as somebody holds it. A
 * hold that moves costs as much as it moves, however many chunks and holds there are.
 */
export class Assemblies {
  readonly #chunks = new Map<number, ChunkAssembly>()
  /** How many hold each chunk, be it there or not. */
  readonly #holds = new Map<number, number>()

  get(index: number): ChunkAssembly | undefined {
    return this.#chunks.get(index)
  }

  /** Begins a chunk, which somebody holds. */
  begin(index: number, span: ByteRange): ChunkAssembly {
    const assembly = new ChunkAssembly(index, span)
    this.#chunks.set(index, assembly)
    return assembly
  }

  /** Lets go of a chunk though somebody holds it: it can be had elsewhere. */
  drop(index: number): void {
    this.#chunks.delete(index)
  }

  /** Has `hold` be of the chunks from `first` to `last` from now on. */
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
    this.#chunks.delete(index)
  }
}
