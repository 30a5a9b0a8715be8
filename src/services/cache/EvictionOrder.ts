import { LinkedList, type Member } from "../../effects/LinkedList.ts"

/** What can be evicted: a member of one line at a time. */
export interface Evictable<A extends Member<A>> extends Member<A> {
  line: LinkedList<A>
}

/** How many members that cannot be removed are set aside; when there are more, the disk is at fault. */
const MAX_UNREMOVABLE = 64

/** Lines of what can be evicted, each in the order of use. Those of `inTurn` go in that order. */
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

  /** The one to evict next. */
  first(): A | undefined {
    for (const line of this.#inTurn) if (line.first !== undefined) return line.first
    return undefined
  }

  move(member: A, line: LinkedList<A>): void {
    member.line.remove(member)
    line.push(member)
    member.line = line
  }

  /** Whether a member is of use, so that a use changes its place. */
  isInUse({ line }: A): boolean {
    return line === this.warm || line === this.cold || line === this.pinned
  }

  condemn(member: A): void {
    if (member.line !== this.#aside) this.move(member, this.condemned)
  }

  /** Passes a member over until `retryRemovals`. `false` when too many are passed over already. */
  setAside(member: A): boolean {
    if ([...this.#aside].length >= MAX_UNREMOVABLE) return false
    this.move(member, this.#aside)
    return true
  }

  retryRemovals(): void {
    for (let next = this.#aside.first; next !== undefined; next = this.#aside.first) this.move(next, this.condemned)
  }

  /** All that nothing can be evicted of. */
  unevictable(): ReadonlyArray<A> {
    return [...this.pinned, ...this.#aside]
  }

  *[Symbol.iterator](): Generator<A> {
    for (const line of [...this.#inTurn, this.pinned, this.#aside]) yield* line
  }
}
