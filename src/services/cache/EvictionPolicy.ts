import { Context } from "effect"
import { Column } from "../../effects/Column.ts"

/**
 * The chunks among which a policy chooses, one behind the other, in the order in which they came. Chunks have numbers from 1 on. The number of
 * a chunk that has left may be that of another one later.
 *
 * @since 0.1.0
 * @category models
 */
export interface EvictionLine {
  /** The first chunk, or 0 if the line is empty. */
  readonly first: () => number
  /** The chunk behind another one, or 0. */
  readonly behind: (chunk: number) => number
  /** Moves a chunk of the line to its end. */
  readonly moveToEnd: (chunk: number) => void
}

/**
 * What a policy does with the chunks of one line. Its functions must neither wait nor throw.
 *
 * @since 0.1.0
 * @category models
 */
export interface EvictionChoice {
  /** Takes note that a chunk of the line is used. It is called for each hit, also for those in memory, so its cost is that of each hit. */
  readonly used: (chunk: number) => void
  /** Returns the chunk to evict next. It is called only if there is one. If it isn't in the line, the first chunk is evicted instead. */
  readonly next: () => number
  /** Takes note that a chunk is about to leave the line: it is evicted, removed, pinned or out of date. */
  readonly leaves?: (chunk: number) => void
}

/** How many chunks `sieve` passes by for one eviction, each of which was used: each takes a step of the event loop's turn. */
const MAX_PASSED = 10_000

const leastRecentlyUsed = ({ first, moveToEnd }: EvictionLine): EvictionChoice => ({ used: moveToEnd, next: first })

const sieve = ({ behind, first }: EvictionLine): EvictionChoice => {
  /** A bit for each chunk: whether it was used since the hand was there. */
  const marks = new Column()
  let hand = 0
  const isMarked = (chunk: number): boolean => (marks.get(chunk >>> 5) >>> (chunk & 31) & 1) === 1
  const unmark = (chunk: number): void => marks.set(chunk >>> 5, marks.get(chunk >>> 5) & ~(1 << (chunk & 31)))
  return {
    used: (chunk) => marks.set(chunk >>> 5, marks.get(chunk >>> 5) | 1 << (chunk & 31)),
    next: () => {
      if (hand === 0) hand = first()
      for (let passed = 0; passed < MAX_PASSED && isMarked(hand); passed++) {
        unmark(hand)
        hand = behind(hand) || first()
      }
      return hand
    },
    leaves: (chunk) => {
      unmark(chunk)
      if (hand === chunk) hand = behind(chunk)
    }
  }
}

/**
 * Which of the chunks in use is evicted from the disk next. Before them go those that are no longer used, those of older versions of a file, and
 * those that were found at the start and not used since. Spillway keeps the line and its limits, and never asks about chunks of pinned files:
 * a policy only chooses. By default the least recently used chunk goes.
 *
 * @example
 * ```ts
 * import { Layer } from "effect"
 * import { EvictionPolicy, Spillway } from "spillway"
 *
 * const live = Layer.provide(Spillway.layer(), Layer.succeed(EvictionPolicy, EvictionPolicy.sieve))
 * ```
 *
 * @since 0.1.0
 * @category services
 */
export class EvictionPolicy extends Context.Reference<(line: EvictionLine) => EvictionChoice>(
  "spillway/services/cache/EvictionPolicy",
  { defaultValue: () => leastRecentlyUsed }
) {
  /**
   * A use moves a chunk to the end of the line, and the first goes. Files that are watched once, one after the other, evict all others.
   *
   * @since 0.1.0
   * @category constructors
   */
  static readonly leastRecentlyUsed: (line: EvictionLine) => EvictionChoice = leastRecentlyUsed

  /**
   * SIEVE (Zhang et al., NSDI 2024): a hand goes along the line, passes by what was used since it was last there, and the first that was not
   * goes. What is used once goes before what is used again and again.
   *
   * @since 0.1.0
   * @category constructors
   */
  static readonly sieve: (line: EvictionLine) => EvictionChoice = sieve
}
