import { CLOCK_MILLIS } from "./FleetSignature.ts"

/** How many signatures are remembered. */
const MAX_SIGNATURES = 65_536

/**
 * Tells requests that were sent once from those that a stranger sends again. Signatures are remembered for as long as they are valid. If there
 * are too many, the oldest are forgotten, and everything that is not younger than they are is refused.
 */
export class ReplayWindow {
  /** The times of signatures by their nonces, in the order of arrival. */
  readonly #times = new Map<string, number>()
  /** Signatures up to this time may have been forgotten. */
  #floor = Number.NEGATIVE_INFINITY

  get size(): number {
    return this.#times.size
  }

  /** Whether a valid signature, seen at `now`, is new. Times are in milliseconds. */
  isFirst(nonce: string, time: number, now: number): boolean {
    for (const [old, at] of this.#times) {
      if (at >= now - CLOCK_MILLIS) break
      this.#times.delete(old)
    }
    if (time <= this.#floor || this.#times.has(nonce)) return false
    this.#times.set(nonce, time)
    if (this.#times.size > MAX_SIGNATURES) {
      const [oldest, at] = this.#times.entries().next().value!
      this.#times.delete(oldest)
      this.#floor = Math.max(this.#floor, at)
    }
    return true
  }
}
