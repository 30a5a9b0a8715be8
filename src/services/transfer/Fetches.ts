import { indexAt } from "../../domain/Chunk.ts"
import { type Fetch, JOIN_BYTES } from "./Fetch.ts"

/** The fetches of one representation, indexed by position. */
export class Fetches {
  readonly #chunkSize: number
  readonly #sequential = new Set<Fetch>()
  /** By the chunk at their position. */
  readonly #at = new Map<number, Set<Fetch>>()
  #size = 0

  constructor(chunkSize: number) {
    this.#chunkSize = chunkSize
  }

  get size(): number {
    return this.#size
  }

  add(fetch: Fetch): void {
    this.#size += 1
    if (fetch.sequential) this.#sequential.add(fetch)
    else this.#put(fetch, indexAt(fetch.position, this.#chunkSize))
  }

  remove(fetch: Fetch): void {
    this.#size -= 1
    if (!this.#sequential.delete(fetch)) this.#take(fetch, indexAt(fetch.position, this.#chunkSize))
  }

  /** Sets the position of a fetch, and whether it is sequential. */
  move(fetch: Fetch, position: number, sequential = fetch.sequential): void {
    const before = indexAt(fetch.position, this.#chunkSize)
    const after = indexAt(position, this.#chunkSize)
    if (!fetch.sequential && (sequential || before !== after)) {
      this.#take(fetch, before)
      if (sequential) this.#sequential.add(fetch)
      else this.#put(fetch, after)
    }
    fetch.position = position
    fetch.sequential = sequential
  }

  /** A sequential fetch that is active, if there is one. */
  get activeSequential(): Fetch | undefined {
    for (const fetch of this.#sequential) if (fetch.isActive) return fetch
    return undefined
  }

  /** The fetches that will deliver the byte at `offset`, and are at most `reach` bytes before it unless they are sequential. */
  approaching(offset: number, reach = JOIN_BYTES): ReadonlyArray<Fetch> {
    const found: Array<Fetch> = []
    const look = (fetch: Fetch) => {
      if (fetch.position <= offset && offset < fetch.end) found.push(fetch)
    }
    for (
      let index = indexAt(Math.max(0, offset - reach), this.#chunkSize);
      index * this.#chunkSize <= offset;
      index++
    ) {
      for (const fetch of this.#at.get(index) ?? []) if (offset - fetch.position <= reach) look(fetch)
    }
    for (const fetch of this.#sequential) look(fetch)
    return found
  }

  /** An active fetch that brings the chunk with the byte at `offset`, or comes to it next. */
  bringing(offset: number): Fetch | undefined {
    const there = [
      ...this.#at.get(indexAt(offset, this.#chunkSize)) ?? [],
      ...this.approaching(offset, this.#chunkSize)
    ]
      .filter((fetch) => fetch.isActive)
    return there.find((fetch) => !fetch.isFill) ?? there[0]
  }

  #put(fetch: Fetch, index: number): void {
    const there = this.#at.get(index)
    if (there === undefined) this.#at.set(index, new Set([fetch]))
    else there.add(fetch)
  }

  #take(fetch: Fetch, index: number): void {
    const there = this.#at.get(index)
    there?.delete(fetch)
    if (there?.size === 0) this.#at.delete(index)
  }
}
