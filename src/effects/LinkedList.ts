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
  }

  *[Symbol.iterator](): Generator<A> {
    for (let member = this.first; member !== undefined; member = member.behind) yield member
  }
}
