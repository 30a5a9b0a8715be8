/** How many counters each row has. A power of two. */
const COUNTERS = 1 << 16

/** How many rows there are. Things that share a counter in one row hardly share those in all others. */
const ROWS = 4

/** How many uses are counted until all counts are halved, so that old uses weigh less. */
const ERA_USES = 10 * COUNTERS

/** The largest count. */
const MOST = 255

/** A 32 bit number from another, with every bit depending on all of them (the finalizer of MurmurHash3). */
const mix = (n: number): number => {
  n = Math.imul(n ^ (n >>> 16), 0x85ebca6b)
  n = Math.imul(n ^ (n >>> 13), 0xc2b2ae35)
  return n ^ (n >>> 16)
}

/**
 * Estimates how often things were used lately, in constant memory: a count-min sketch whose counts are halved from time to time (as in
 * TinyLFU, Einziger et al., 2017). An estimate may be too high, and is hardly ever too low.
 */
export class FrequencySketch {
  readonly #counts = new Uint8Array(ROWS * COUNTERS)
  #uses = 0

  /** Counts a use of what has this 32 bit hash. */
  add(hash: number): void {
    for (let row = 0; row < ROWS; row++) {
      const at = this.#slot(hash, row)
      if (this.#counts[at]! < MOST) this.#counts[at]! += 1
    }
    this.#uses += 1
    if (this.#uses < ERA_USES) return
    this.#uses /= 2
    for (let at = 0; at < this.#counts.length; at++) this.#counts[at]! >>= 1
  }

  /** About how often it was used. */
  estimate(hash: number): number {
    let least = MOST
    for (let row = 0; row < ROWS; row++) least = Math.min(least, this.#counts[this.#slot(hash, row)]!)
    return least
  }

  #slot(hash: number, row: number): number {
    return row * COUNTERS + (mix(hash + Math.imul(row + 1, 0x9e3779b9)) & (COUNTERS - 1))
  }
}
