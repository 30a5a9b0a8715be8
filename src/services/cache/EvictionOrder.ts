import { LinkedList, type Member } from "../../effects/LinkedList.ts"

/** A member of one of the lists at a time. */
export interface Evictable<A extends Member<A>> extends Member<A> {
  line: LinkedList<A>
}

/** How many members that cannot be removed are set aside. If there are more, the disk is at fault. */
const MAX_UNREMOVABLE = 64

/** Lists of members, each in the order of use. The lists of `#inTurn` are evicted one after the other. */
export class EvictionOrder<A extends Evictable<A>> {
  /** No longer used. */
  readonly condemned = new LinkedList<A>()
  /** Of representations that are no longer current. */
  readonly superseded = new LinkedList<A>()
  /** Found at the start, and not used since. */
  readonly cold = new LinkedList<A>()
  readonly warm = new LinkedList<A>()
  /** Never evicted. */
  readonly pinned = new LinkedList<A>()
  /** Could not be removed. */
  readonly #aside = new LinkedList<A>()
  readonly #inTurn = [this.condemned, this.superseded, this.cold, this.warm]

  /** The member to evict next. */
  first(): A | undefined {
    for (const line of this.#inTurn) if (line.first !== undefined) return line.first
    return undefined
  }

  move(member: A, line: LinkedList<A>): void {
    member.line.remove(member)
    line.push(member)
    member.line = line
  }

  /** Whether a member is in use: a use then changes its place. */
  isInUse({ line }: A): boolean {
    return line === this.warm || line === this.cold || line === this.pinned
  }

  condemn(member: A): void {
    if (member.line !== this.#aside) this.move(member, this.condemned)
  }

  /** Skips a member until `retryRemovals`. Returns `false` if too many are skipped already. */
  setAside(member: A): boolean {
    if ([...this.#aside].length >= MAX_UNREMOVABLE) return false
    this.move(member, this.#aside)
    return true
  }

  retryRemovals(): void {
    for (let next = this.#aside.first; next !== undefined; next = this.#aside.first) this.move(next, this.condemned)
  }

  /** The members that cannot be evicted. */
  unevictable(): ReadonlyArray<A> {
    return [...this.pinned, ...this.#aside]
  }

  *[Symbol.iterator](): Generator<A> {
    for (const line of [...this.#inTurn, this.pinned, this.#aside]) yield* line
  }
}
