/** The smallest piece, and the first one, in bytes. The server asks for the next piece before a shorter one has left, so shorter ones save no memory. */
const LEAST_BYTES = 64 * 1024

/** The largest piece, in bytes. */
const MOST_BYTES = 1024 ** 2

/** The part of what a viewer has taken that the next piece may be: a connection takes much at once, also for a slow viewer. */
const GROWTH = 1 / 16

/** How long a viewer may take to take a piece, in milliseconds. */
const HELD_MILLIS = 250

const powerOfTwo = (bytes: number): number => 2 ** Math.floor(Math.log2(bytes))

/**
 * How much of a chunk is read from disk at a time for one viewer: much for those who are fast, because each read costs some turns of the event
 * loop, and little for those who are slow, because they hold it for long. Sizes are powers of two, so that buffers can be reused.
 */
export class PieceSize {
  readonly #now: () => number
  #taken = 0
  #last = 0
  #handedAt = 0

  /** `now` returns milliseconds. */
  constructor(now: () => number) {
    this.#now = now
  }

  /** The size of the next piece, in bytes. Call it when the viewer wants it. */
  next(): number {
    const grown = Math.min(MOST_BYTES, Math.max(LEAST_BYTES, this.#taken * GROWTH))
    if (this.#last === 0) return powerOfTwo(grown)
    const millis = Math.max(1, this.#now() - this.#handedAt)
    return powerOfTwo(Math.max(LEAST_BYTES, Math.min(grown, this.#last / millis * HELD_MILLIS)))
  }

  /** A piece of so many bytes was handed to the viewer. */
  handed(bytes: number): void {
    this.#taken += bytes
    this.#last = bytes
    this.#handedAt = this.#now()
  }
}
