import { Column } from "../../effects/Column.ts"
import { RowLists } from "../../effects/RowLists.ts"
import { sortInTurns } from "../../effects/sortInTurns.ts"
import type { EvictionChoice, EvictionLine } from "./EvictionPolicy.ts"

/** How many chunks that cannot be removed are set aside. If there are more, the disk is at fault. */
const MAX_UNREMOVABLE = 64

/** The lines, in the order in which they are evicted; the last two never are. Their numbers begin with 1. */
const LINES = ["condemned", "superseded", "cold", "warm", "pinned", "aside"] as const

/**
 * What a chunk is: no longer used; of a representation that is no longer current; found at the start and not used since; used; pinned; or
 * impossible to remove.
 */
export type Line = typeof LINES[number]

const EVICTED = LINES.slice(0, -2)

const numberOf = (line: Line): number => LINES.indexOf(line) + 1

/** How many chunks `arrange` looks at, or moves, between two turns. */
const ARRANGED_AT_ONCE = 10_000

/**
 * Chunks, by their numbers in `ChunkTable`, in lines that are evicted one after the other, each from its first chunk on. Only among the warm
 * chunks an `EvictionPolicy` chooses.
 */
export class EvictionOrder {
  readonly #lists = new RowLists()
  readonly #lineOf = new Column()
  readonly #bytesOf = new Column()
  readonly #bytes = [0, ...LINES.map(() => 0)]
  readonly #choice: EvictionChoice
  #aside = 0

  constructor(policy: (line: EvictionLine) => EvictionChoice) {
    const warm = numberOf("warm")
    this.#choice = policy({
      first: () => this.#lists.first(warm),
      behind: (chunk) => this.#lists.behind(chunk),
      moveToEnd: (chunk) => {
        this.#lists.remove(warm, chunk)
        this.#lists.push(warm, chunk)
      }
    })
  }

  /** The bytes in chunks that cannot be evicted. */
  get unevictableBytes(): number {
    return this.#bytes[numberOf("pinned")]! + this.#bytes[numberOf("aside")]!
  }

  /** Adds a chunk of so many bytes at the end of a line. */
  add(chunk: number, bytes: number, line: Line): void {
    this.#bytesOf.set(chunk, bytes)
    this.#push(chunk, line)
  }

  /** Removes a chunk. Returns its bytes. */
  remove(chunk: number): number {
    const line = this.#lineOf.get(chunk)
    const bytes = this.#bytesOf.get(chunk)
    if (line === numberOf("warm")) this.#choice.leaves?.(chunk)
    this.#lists.remove(line, chunk)
    this.#bytes[line]! -= bytes
    this.#lineOf.set(chunk, 0)
    if (line === numberOf("aside")) this.#aside -= 1
    return bytes
  }

  /** The line of a chunk, or `undefined` if it isn't there. */
  lineOf(chunk: number): Line | undefined {
    return LINES[this.#lineOf.get(chunk) - 1]
  }

  bytesOf(chunk: number): number {
    return this.#bytesOf.get(chunk)
  }

  /** Corrects the bytes of a chunk. Returns how many more they are. */
  resize(chunk: number, bytes: number): number {
    const more = bytes - this.#bytesOf.get(chunk)
    this.#bytesOf.set(chunk, bytes)
    this.#bytes[this.#lineOf.get(chunk)]! += more
    return more
  }

  /** The chunk to evict next, or 0. */
  first(): number {
    for (const line of EVICTED) {
      const chunk = this.#lists.first(numberOf(line))
      if (chunk === 0) continue
      const chosen = line === "warm" ? this.#choice.next() : chunk
      return this.lineOf(chosen) === line ? chosen : chunk
    }
    return 0
  }

  /** Takes note that a chunk in use is used. */
  use(chunk: number): void {
    const line = this.lineOf(chunk)
    if (line === "cold") this.move(chunk, "warm")
    else if (line === "warm") this.#choice.used(chunk)
  }

  /** Moves a chunk to the end of a line. */
  move(chunk: number, line: Line): void {
    this.remove(chunk)
    this.#push(chunk, line)
  }

  /** Whether a chunk is in use: a use then changes its place. */
  isInUse(chunk: number): boolean {
    const line = this.lineOf(chunk)
    return line === "warm" || line === "cold" || line === "pinned"
  }

  condemn(chunk: number): void {
    if (this.lineOf(chunk) !== "aside") this.move(chunk, "condemned")
  }

  /** Skips a chunk until `retryRemovals`. Returns `false` if too many are skipped already. */
  setAside(chunk: number): boolean {
    if (this.#aside >= MAX_UNREMOVABLE) return false
    this.move(chunk, "aside")
    return true
  }

  retryRemovals(): void {
    for (const chunk of this.#lists.of(numberOf("aside"))) this.move(chunk, "condemned")
  }

  /** Puts the cold chunks before `end` into the order of `usedAt`. Yields now and then; those that leave the line meanwhile stay as they are. */
  *arrange(end: number, usedAt: (chunk: number) => number): Generator<void> {
    const cold = new Uint32Array(end)
    let count = 0
    for (let chunk = 1; chunk < end; chunk++) {
      if (this.lineOf(chunk) === "cold") cold[count++] = chunk
      if (chunk % ARRANGED_AT_ONCE === 0) yield
    }
    const sorted = yield* sortInTurns(cold.subarray(0, count), usedAt)
    for (const [i, chunk] of sorted.entries()) {
      if (this.lineOf(chunk) === "cold") this.move(chunk, "cold")
      if (i % ARRANGED_AT_ONCE === 0) yield
    }
  }

  #push(chunk: number, line: Line): void {
    const number = numberOf(line)
    this.#lists.push(number, chunk)
    this.#lineOf.set(chunk, number)
    this.#bytes[number]! += this.#bytesOf.get(chunk)
    if (line === "aside") this.#aside += 1
  }
}
