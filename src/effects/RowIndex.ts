/** An index is divided into this many hash tables, by the first bits of the hash. Each grows alone, so that no growth takes long. */
const TABLES = 256
const TABLE_SHIFT = 24

const LEAST_PLACES = 8

/** How full a table may be. */
const MAX_LOAD = 0.75

/** Mixes the bits of two numbers into a hash of 32 bits. */
export const hashOfPair = (a: number, b: number): number => {
  let hash = Math.imul(a, 0x9e3779b1) ^ Math.imul(b, 0x85ebca77)
  hash = Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d)
  hash = Math.imul(hash ^ (hash >>> 12), 0x297a2d39)
  return (hash ^ (hash >>> 15)) >>> 0
}

/**
 * Finds rows of a table by a hash of their contents, in five to eleven bytes for each row: hash tables with linear probing that hold
 * the numbers of rows alone. `hashOf` is the hash of a row, of 32 bits.
 */
export class RowIndex {
  readonly #hashOf: (row: number) => number
  readonly #tables = Array.from({ length: TABLES }, () => new Uint32Array(LEAST_PLACES))
  readonly #counts = new Uint32Array(TABLES)

  constructor(hashOf: (row: number) => number) {
    this.#hashOf = hashOf
  }

  /** The row with this hash that `matches` accepts, or 0. */
  find(hash: number, matches: (row: number) => boolean): number {
    const table = this.#tables[hash >>> TABLE_SHIFT]!
    const mask = table.length - 1
    for (let at = hash & mask; table[at] !== 0; at = (at + 1) & mask) {
      const row = table[at]!
      if (matches(row)) return row
    }
    return 0
  }

  /** Adds a row, whose number isn't 0, and which isn't there. */
  add(row: number): void {
    const hash = this.#hashOf(row)
    const number = hash >>> TABLE_SHIFT
    const count = this.#counts[number]! + 1
    this.#counts[number] = count
    if (count > this.#tables[number]!.length * MAX_LOAD) this.#grow(number)
    this.#place(this.#tables[number]!, hash, row)
  }

  /** Removes a row, which must be there, while its hash is still what it was. */
  remove(row: number): void {
    const hash = this.#hashOf(row)
    const table = this.#tables[hash >>> TABLE_SHIFT]!
    this.#counts[hash >>> TABLE_SHIFT]! -= 1
    const mask = table.length - 1
    let hole = hash & mask
    while (table[hole] !== row) hole = (hole + 1) & mask
    // Rows behind the hole move up, unless that would put them before the place of their hash.
    for (let at = (hole + 1) & mask; table[at] !== 0; at = (at + 1) & mask) {
      const distance = (at - this.#hashOf(table[at]!)) & mask
      if (distance < ((at - hole) & mask)) continue
      table[hole] = table[at]!
      hole = at
    }
    table[hole] = 0
  }

  #place(table: Uint32Array, hash: number, row: number): void {
    const mask = table.length - 1
    let at = hash & mask
    while (table[at] !== 0) at = (at + 1) & mask
    table[at] = row
  }

  #grow(number: number): void {
    const before = this.#tables[number]!
    const table = new Uint32Array(2 * before.length)
    for (const row of before) if (row !== 0) this.#place(table, this.#hashOf(row), row)
    this.#tables[number] = table
  }
}
