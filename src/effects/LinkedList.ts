/** What can stand in a line, in one at a time. */
export interface Member<A> {
  before: A | undefined
  behind: A | undefined
}

/** A line in which a member can be moved to the end at no cost, however long the line is. */
export class LinkedList<A extends Member<A>> {
  first: A | undefined
  #last: A | undefined

  push(member: A): void {
    member.before = this.#last
    member.behind = undefined
    if (this.#last === undefined) this.first = member
    else this.#last.behind = member
    this.#last = member
  }

  /** Takes a member out, which must be in this very line. */
  remove(member: A): void {
    const { before, behind } = member
    if (before === undefined) this.first = behind
    else before.behind = behind
    if (behind === undefined) this.#last = before
    else behind.before = before
    // What has left would keep its neighbours from the collection of young objects, and those theirs.
    member.before = undefined
    member.behind = undefined
  }

  /** The members in order. The one at hand may be taken out meanwhile. */
  *[Symbol.iterator](): Generator<A> {
    for (let member = this.first; member !== undefined;) {
      const { behind } = member
      yield member
      member = behind
    }
  }
}
