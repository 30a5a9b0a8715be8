/** Something that is kept. Setting `visited` says that it was used, which is all that a hit costs. */
export interface Kept<A> {
  readonly value: A
  /** In the unit of the capacity. */
  readonly weight: number
  visited: boolean
  /** Its neighbours in the line, in the order in which they came. */
  older: Kept<A> | undefined
  newer: Kept<A> | undefined
}

/**
 * What is kept within a capacity, and what goes when there is no more room: SIEVE (Zhang et al., NSDI 2024). A hand goes from the
 * oldest to the newest, passes by what was used since it last came there, and takes the first that was not. What is used once,
 * such as the chunks of a long file that one viewer watches, goes before what is used again and again.
 */
export class Sieve<A> {
  readonly #capacity: number
  #weight = 0
  #count = 0
  #oldest: Kept<A> | undefined
  #newest: Kept<A> | undefined
  #hand: Kept<A> | undefined

  constructor(capacity: number) {
    this.#capacity = capacity
  }

  get weight(): number {
    return this.#weight
  }

  get count(): number {
    return this.#count
  }

  /** Keeps `value`, which must not be heavier than the capacity, and hands each value that goes for it to `onGone`. */
  add(value: A, weight: number, onGone: (value: A) => void): Kept<A> {
    while (this.#weight + weight > this.#capacity) {
      const victim = this.next()
      if (victim === undefined) break
      this.remove(victim)
      onGone(victim.value)
    }
    const kept: Kept<A> = { value, weight, visited: false, older: this.#newest, newer: undefined }
    if (this.#newest === undefined) this.#oldest = kept
    else this.#newest.newer = kept
    this.#newest = kept
    this.#weight += weight
    this.#count += 1
    return kept
  }

  /** Keeps it no longer; must be called once for each that was added and did not go by itself. */
  remove(kept: Kept<A>): void {
    const { newer, older } = kept
    if (this.#hand === kept) this.#hand = newer
    if (older === undefined) this.#oldest = newer
    else older.newer = newer
    if (newer === undefined) this.#newest = older
    else newer.older = older
    this.#weight -= kept.weight
    this.#count -= 1
  }

  /** What goes next. The hand gets there in two rounds at most: the first takes every mark away. */
  next(): Kept<A> | undefined {
    let hand = this.#hand ?? this.#oldest
    while (hand?.visited === true) {
      hand.visited = false
      hand = hand.newer ?? this.#oldest
    }
    this.#hand = hand
    return hand
  }
}
