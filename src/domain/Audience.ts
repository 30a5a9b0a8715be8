import { ANONYMOUS } from "./Asker.ts"
import { type Freshness, isFresh } from "./rfc/Freshness.ts"

/** For how many cookies it is remembered that the origin has confirmed a stored response. */
const MAX_MEMBERS = 64

/**
 * How long a confirmation keeps others from replacing what is stored by what they are given instead, though it may have been stale
 * at once, in milliseconds.
 */
const PROTECTED_MILLIS = 60_000

/**
 * The viewers for which the origin has confirmed a stored response, and its freshness for each, by the hash of their cookies. It does
 * not change: `with` and the like make another one.
 */
export class Audience {
  /** Those who were confirmed last come last. */
  readonly #members: ReadonlyMap<string, Freshness>

  private constructor(members: ReadonlyMap<string, Freshness>) {
    this.#members = members
  }

  static readonly nobody = new Audience(new Map())

  /** How many it has been confirmed for. */
  get size(): number {
    return this.#members.size
  }

  /** How fresh it is for anyone who has `cookie`; `undefined` if the origin has not confirmed it for them. */
  get(cookie: string): Freshness | undefined {
    return this.#members.get(cookie)
  }

  /** The same with a confirmation for `cookie`. The one that was confirmed first goes if there are too many. */
  with(cookie: string, freshness: Freshness): Audience {
    const members = new Map(this.#members)
    members.delete(cookie)
    members.set(cookie, freshness)
    if (members.size > MAX_MEMBERS + (members.has(ANONYMOUS) ? 1 : 0)) {
      for (const member of members.keys()) {
        if (member === ANONYMOUS) continue
        members.delete(member)
        break
      }
    }
    return new Audience(members)
  }

  without(cookie: string): Audience {
    const members = new Map(this.#members)
    return members.delete(cookie) ? new Audience(members) : this
  }

  /** The same with each freshness changed. */
  map(change: (freshness: Freshness) => Freshness): Audience {
    return new Audience(new Map(Array.from(this.#members, ([cookie, freshness]) => [cookie, change(freshness)])))
  }

  /** Whether it has been confirmed for somebody else than `cookie`. */
  hasOthers(cookie: string): boolean {
    return this.#members.size > (this.#members.has(cookie) ? 1 : 0)
  }

  /**
   * Whether others may use it at `now`, so that the response to `cookie` must not replace it. A viewer for which it has never been
   * confirmed does not even replace what is stale, for a while: it is likelier that the origin answers by cookie than that the file
   * has changed.
   */
  isProtectedFrom(cookie: string, now: number): boolean {
    const isMember = this.#members.has(cookie)
    for (const [member, freshness] of this.#members) {
      if (member === cookie) continue
      if (isFresh(freshness, now) || (!isMember && now - freshness.generatedAt < PROTECTED_MILLIS)) return true
    }
    return false
  }
}
