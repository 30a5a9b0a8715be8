import type { ChunkKey } from "../../domain/Chunk.ts"
import { FrequencySketch } from "../../effects/FrequencySketch.ts"

/** How many parts of a chunk are checked to estimate how often its bytes are used. */
const MAX_CHECKED = 16

const hashOf = (seed: number, part: number): number => seed + Math.imul(part, 0x85ebca77)

/** How often the parts of chunks were used lately. */
export class PartUses {
  readonly #uses = new FrequencySketch()
  /** The last representation, of which most uses are. */
  #representation = ""
  #seed = 0

  /** Counts a use of the parts from `first` to `last`. */
  count(key: ChunkKey, first: number, last: number): void {
    const seed = this.#seedOf(key)
    for (let part = first; part <= last; part++) this.#uses.add(hashOf(seed, part))
  }

  /** About how often one part was used. */
  ofPart(key: ChunkKey, part: number): number {
    return this.#uses.estimate(hashOf(this.#seedOf(key), part))
  }

  /** About how often the parts from 0 to `last` were used, on average. */
  ofChunk(key: ChunkKey, last: number): number {
    const seed = this.#seedOf(key)
    const step = Math.ceil((last + 1) / MAX_CHECKED)
    let sum = 0
    let checked = 0
    for (let part = 0; part <= last; part += step) {
      sum += this.#uses.estimate(hashOf(seed, part))
      checked += 1
    }
    return sum / checked
  }

  /** The identifier of a representation is a hash of all that makes it what it is. */
  #seedOf({ index, representation }: ChunkKey): number {
    if (representation !== this.#representation) {
      this.#representation = representation
      this.#seed = Number.parseInt(representation.slice(0, 8), 16)
    }
    return this.#seed ^ Math.imul(index, 0x9e3779b1)
  }
}
