/** Numbers that are kept together. More would make a change in the middle slow, and fewer a look at a long stretch. */
const BLOCK = 1024

/** Some of the numbers of one block, kept as stretches of neighbours. */
class Block {
  /** In order and apart from each other. Stretch `i` has the numbers from `#starts[i]` up to and without `#ends[i]`. */
  readonly #starts: Array<number> = []
  readonly #ends: Array<number> = []

  get isEmpty(): boolean {
    return this.#starts.length === 0
  }

  /** The first stretch that ends behind `n`. */
  #at(n: number): number {
    let low = 0
    let high = this.#ends.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.#ends[middle]! > n) high = middle
      else low = middle + 1
    }
    return low
  }

  add(n: number): void {
    const i = this.#at(n)
    const start = this.#starts[i] ?? Infinity
    if (start <= n) return
    const followsBefore = i > 0 && this.#ends[i - 1] === n
    if (followsBefore && start === n + 1) {
      this.#ends.splice(i - 1, 1)
      this.#starts.splice(i, 1)
    } else if (followsBefore) this.#ends[i - 1] = n + 1
    else if (start === n + 1) this.#starts[i] = n
    else {
      this.#starts.splice(i, 0, n)
      this.#ends.splice(i, 0, n + 1)
    }
  }

  delete(n: number): void {
    const i = this.#at(n)
    const start = this.#starts[i] ?? Infinity
    const end = this.#ends[i]!
    if (start > n) return
    if (start === n && end === n + 1) {
      this.#starts.splice(i, 1)
      this.#ends.splice(i, 1)
    } else if (start === n) this.#starts[i] = n + 1
    else if (end === n + 1) this.#ends[i] = n
    else {
      this.#ends.splice(i, 0, n)
      this.#starts.splice(i + 1, 0, n + 1)
    }
  }

  firstMissing(n: number): number {
    const i = this.#at(n)
    return (this.#starts[i] ?? Infinity) <= n ? this.#ends[i]! : n
  }
}

/**
 * A set of whole numbers that knows the stretches of neighbours it consists of. A change costs the same for every size of the set, and
 * `firstMissing` a step for each 1024 neighbours.
 */
export class Intervals {
  readonly #blocks = new Map<number, Block>()

  add(n: number): void {
    const index = Math.floor(n / BLOCK)
    let block = this.#blocks.get(index)
    if (block === undefined) this.#blocks.set(index, block = new Block())
    block.add(n)
  }

  /** Takes `n` out; one that is not there is no error. */
  delete(n: number): void {
    const index = Math.floor(n / BLOCK)
    const block = this.#blocks.get(index)
    block?.delete(n)
    if (block?.isEmpty) this.#blocks.delete(index)
  }

  /** The first number from `n` on that is not in the set. */
  firstMissing(n: number): number {
    let missing = n
    while (true) {
      const index = Math.floor(missing / BLOCK)
      missing = this.#blocks.get(index)?.firstMissing(missing) ?? missing
      if (missing < (index + 1) * BLOCK) return missing
    }
  }
}
