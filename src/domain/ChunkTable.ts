import { Column } from "../effects/Column.ts"
import { hashOfPair, RowIndex } from "../effects/RowIndex.ts"
import { RowLists } from "../effects/RowLists.ts"
import { RowNumbers } from "../effects/RowNumbers.ts"
import type { ChunkKey } from "./Chunk.ts"
import { ownCopy, type ResourceTable } from "./ResourceTable.ts"

/** The chunks that share a word of a bitmap: one for each bit. */
const WORD_BITS = 32
const FULL = 0xffffffff

const wordAt = (index: number): number => Math.floor(index / WORD_BITS)

const bitAt = (index: number): number => 1 << (index % WORD_BITS)

/** The number of the word that has a bit for each 32 words, behind the numbers of all words with a bit for each chunk. */
const FIRST_SUMMARY = 2 ** 27
const summaryAt = (word: number): number => FIRST_SUMMARY + Math.floor(word / WORD_BITS)

/**
 * Numbers chunks, from 1 on, so that what is known of each is in columns. Finds them by their key, and the stretches that they form. A
 * chunk takes four bytes for each column, and representations take bitmaps with a word for each 32 chunks, as far as there are any. Further
 * words tell which of those have all bits, so that long stretches are passed over quickly.
 */
export class ChunkTable {
  readonly #resources: ResourceTable

  readonly #representations = new RowNumbers()
  readonly #ids: Array<string> = [""]
  /** The resource of a representation, and the next representation of that. */
  readonly #resourceOf = new Column()
  readonly #next = new Column()
  /** The first representation of a resource. */
  readonly #first = new Column()

  readonly #chunks = new RowNumbers()
  readonly #representationOf = new Column()
  readonly #indexOf = new Column()
  readonly #byKey = new RowIndex((chunk) => hashOfPair(this.#representationOf.get(chunk), this.#indexOf.get(chunk)))

  readonly #words = new RowNumbers()
  readonly #wordLists = new RowLists()
  readonly #wordOwner = new Column()
  readonly #wordNumber = new Column()
  /** A bit for each chunk, and for each that isn't hidden. */
  readonly #all = new Column()
  readonly #visible = new Column()
  readonly #byNumber = new RowIndex((word) => hashOfPair(this.#wordOwner.get(word), this.#wordNumber.get(word)))

  constructor(resources: ResourceTable) {
    this.#resources = resources
  }

  get count(): number {
    return this.#chunks.count
  }

  /** The number behind those of all chunks. */
  get end(): number {
    return this.#chunks.end
  }

  /** The number of a chunk, or 0. */
  find({ index, representation, resource }: ChunkKey): number {
    return this.#findIn(this.#findRepresentation(resource, representation), index)
  }

  /** The number of a chunk that wasn't there. */
  add({ index, representation: id, resource }: ChunkKey): number {
    const representation = this.#findRepresentation(resource, id) || this.#addRepresentation(resource, id)
    const chunk = this.#chunks.add()
    this.#representationOf.set(chunk, representation)
    this.#indexOf.set(chunk, index)
    this.#byKey.add(chunk)
    const word = this.#findWord(representation, wordAt(index)) || this.#addWord(representation, wordAt(index))
    if (this.#all.get(word) === 0) this.#wordLists.push(representation, word)
    this.#all.set(word, this.#all.get(word) | bitAt(index))
    this.#visible.set(word, this.#visible.get(word) | bitAt(index))
    if (this.#visible.get(word) === FULL) this.#noteFull(representation, wordAt(index))
    return chunk
  }

  remove(chunk: number): void {
    const representation = this.#representationOf.get(chunk)
    const index = this.#indexOf.get(chunk)
    this.#byKey.remove(chunk)
    this.#chunks.remove(chunk)
    this.#representationOf.set(chunk, 0)
    const word = this.#hideIn(representation, index)
    this.#all.set(word, this.#all.get(word) & ~bitAt(index))
    if (this.#all.get(word) === 0) {
      this.#wordLists.remove(representation, word)
      this.#removeWord(word)
    }
    if (this.#wordLists.first(representation) === 0) this.#removeRepresentation(representation)
  }

  /** The key of a chunk; `undefined` if no chunk has that number. */
  keyOf(chunk: number): ChunkKey | undefined {
    const representation = this.#representationOf.get(chunk)
    if (representation === 0) return undefined
    return {
      resource: this.#resources.idOf(this.#resourceOf.get(representation)),
      representation: this.#ids[representation]!,
      index: this.#indexOf.get(chunk)
    }
  }

  /** The number of the resource of a chunk. */
  resourceOf(chunk: number): number {
    return this.#resourceOf.get(this.#representationOf.get(chunk))
  }

  /** Has `firstMissing` and `stretches` pass over a chunk. */
  hide(chunk: number): void {
    this.#hideIn(this.#representationOf.get(chunk), this.#indexOf.get(chunk))
  }

  /**
   * The first index from the one of `key` on whose chunk is missing or hidden, or `end` if that is before it. Takes a step for each thousand
   * chunks.
   */
  firstMissing({ index, representation: id, resource }: ChunkKey, end: number): number {
    const representation = this.#findRepresentation(resource, id)
    if (representation === 0) return index
    let missing = index
    while (missing < end) {
      const word = wordAt(missing)
      missing = this.#firstAbsent(representation, word, missing)
      if (wordAt(missing) === word) return Math.min(end, missing)
      // Passes over the words behind it that have all bits.
      let full = word + 1
      let isWhole = true
      while (isWhole && full * WORD_BITS < end) {
        const next = this.#firstAbsent(representation, summaryAt(full), full)
        isWhole = wordAt(next) > wordAt(full)
        full = next
      }
      missing = full * WORD_BITS
    }
    return end
  }

  /** The first number from `from` on, in the word of this number, whose bit isn't visible; the first of the next word if all are. */
  #firstAbsent(representation: number, number: number, from: number): number {
    const word = this.#findWord(representation, number)
    const absent = ~this.#visible.get(word) & (FULL << (from % WORD_BITS))
    return Math.floor(from / WORD_BITS) * WORD_BITS + (absent === 0 ? WORD_BITS : lowestBit(absent))
  }

  /** The chunks of a representation that aren't hidden, as ordered stretches of indices; `end` is exclusive. */
  stretches(resource: string, id: string): ReadonlyArray<readonly [start: number, end: number]> {
    const representation = this.#findRepresentation(resource, id)
    if (representation === 0) return []
    const words = [...this.#wordLists.of(representation)].toSorted((a, b) =>
      this.#wordNumber.get(a) - this.#wordNumber.get(b)
    )
    const all: Array<[start: number, end: number]> = []
    for (const word of words) appendStretches(all, this.#wordNumber.get(word) * WORD_BITS, this.#visible.get(word))
    return all
  }

  /** Whether a resource has chunks, and a representation of it if that is given. */
  has(resource: string, representation?: string): boolean {
    return representation === undefined
      ? this.#first.get(this.#resources.find(resource)) !== 0
      : this.#findRepresentation(resource, representation) !== 0
  }

  /** The numbers of the resources that have chunks. */
  *resources(): Generator<number> {
    for (let row = 1; row < this.#resources.end; row++) if (this.hasAny(row)) yield row
  }

  /** Whether the resource of this number has chunks. */
  hasAny(resource: number): boolean {
    return this.#first.get(resource) !== 0
  }

  /** The chunks of a resource, in no order; those that `matches` accepts the representation of. The current one may be removed. */
  *of(resource: string, matches: (representation: string) => boolean = () => true): Generator<number> {
    let representation = this.#first.get(this.#resources.find(resource))
    while (representation !== 0) {
      const next = this.#next.get(representation)
      if (matches(this.#ids[representation]!)) yield* this.#ofRepresentation(representation)
      representation = next
    }
  }

  *#ofRepresentation(representation: number): Generator<number> {
    for (const word of this.#wordLists.of(representation)) {
      const start = this.#wordNumber.get(word) * WORD_BITS
      for (let bits = this.#all.get(word); bits !== 0; bits &= bits - 1) {
        yield this.#findIn(representation, start + lowestBit(bits))
      }
    }
  }

  #findIn(representation: number, index: number): number {
    if (representation === 0) return 0
    return this.#byKey.find(
      hashOfPair(representation, index),
      (chunk) => this.#indexOf.get(chunk) === index && this.#representationOf.get(chunk) === representation
    )
  }

  #findRepresentation(resource: string, id: string): number {
    let representation = this.#first.get(this.#resources.find(resource))
    while (representation !== 0 && this.#ids[representation] !== id) representation = this.#next.get(representation)
    return representation
  }

  #addRepresentation(resource: string, id: string): number {
    const owner = this.#resources.acquire(resource)
    const representation = this.#representations.add()
    this.#ids[representation] = ownCopy(id)
    this.#resourceOf.set(representation, owner)
    this.#next.set(representation, this.#first.get(owner))
    this.#first.set(owner, representation)
    return representation
  }

  #removeRepresentation(representation: number): void {
    const owner = this.#resourceOf.get(representation)
    const next = this.#next.get(representation)
    let before = this.#first.get(owner)
    if (before === representation) this.#first.set(owner, next)
    else {
      while (this.#next.get(before) !== representation) before = this.#next.get(before)
      this.#next.set(before, next)
    }
    this.#ids[representation] = ""
    this.#representations.remove(representation)
    this.#resources.release(owner)
  }

  #findWord(representation: number, number: number): number {
    return this.#byNumber.find(
      hashOfPair(representation, number),
      (word) => this.#wordNumber.get(word) === number && this.#wordOwner.get(word) === representation
    )
  }

  #addWord(representation: number, number: number): number {
    const word = this.#words.add()
    this.#wordOwner.set(word, representation)
    this.#wordNumber.set(word, number)
    this.#all.set(word, 0)
    this.#visible.set(word, 0)
    this.#byNumber.add(word)
    return word
  }

  /** Hides a chunk. Returns its word. */
  #hideIn(representation: number, index: number): number {
    const number = wordAt(index)
    const word = this.#findWord(representation, number)
    const before = this.#visible.get(word)
    this.#visible.set(word, before & ~bitAt(index))
    if (before === FULL) this.#noteNotFull(representation, number)
    return word
  }

  #noteFull(representation: number, number: number): void {
    const summary = this.#findWord(representation, summaryAt(number)) ||
      this.#addWord(representation, summaryAt(number))
    this.#visible.set(summary, this.#visible.get(summary) | bitAt(number))
  }

  #noteNotFull(representation: number, number: number): void {
    const summary = this.#findWord(representation, summaryAt(number))
    this.#visible.set(summary, this.#visible.get(summary) & ~bitAt(number))
    if (this.#visible.get(summary) === 0) this.#removeWord(summary)
  }

  #removeWord(word: number): void {
    this.#byNumber.remove(word)
    this.#words.remove(word)
  }
}

/** The number of the lowest bit that is set. */
const lowestBit = (bits: number): number => 31 - Math.clz32(bits & -bits)

/** Appends the stretches of bits in `bits`, whose first has the index `start`, to `all`, whose last one may touch the first of them. */
const appendStretches = (all: Array<[start: number, end: number]>, start: number, bits: number): void => {
  let rest = bits
  while (rest !== 0) {
    const first = lowestBit(rest)
    const absent = ~rest & (FULL << first)
    const behind = absent === 0 ? WORD_BITS : lowestBit(absent)
    const last = all.at(-1)
    if (last !== undefined && last[1] === start + first) last[1] = start + behind
    else all.push([start + first, start + behind])
    rest = behind === WORD_BITS ? 0 : rest & (FULL << behind)
  }
}
