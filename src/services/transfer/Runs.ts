import { indexAt } from "../../domain/Chunk.ts"
import { JOIN_BYTES, type Run } from "./Run.ts"

/** The runs of one representation, found by their place without a look at the others. */
export class Runs {
  readonly #chunkSize: number
  readonly #sequential = new Set<Run>()
  /** By the chunk that they are at. */
  readonly #at = new Map<number, Set<Run>>()
  #size = 0

  constructor(chunkSize: number) {
    this.#chunkSize = chunkSize
  }

  get size(): number {
    return this.#size
  }

  add(run: Run): void {
    this.#size += 1
    if (run.sequential) this.#sequential.add(run)
    else this.#put(run, indexAt(run.position, this.#chunkSize))
  }

  remove(run: Run): void {
    this.#size -= 1
    if (!this.#sequential.delete(run)) this.#take(run, indexAt(run.position, this.#chunkSize))
  }

  /** Sets the place of a run, and whether it is sequential from now on. */
  move(run: Run, position: number, sequential = run.sequential): void {
    const before = indexAt(run.position, this.#chunkSize)
    const after = indexAt(position, this.#chunkSize)
    if (!run.sequential && (sequential || before !== after)) {
      this.#take(run, before)
      if (sequential) this.#sequential.add(run)
      else this.#put(run, after)
    }
    run.position = position
    run.sequential = sequential
  }

  /** Those that come to the byte at `offset`, and are at most `reach` bytes away unless they are sequential. */
  coming(offset: number, reach = JOIN_BYTES): ReadonlyArray<Run> {
    const found: Array<Run> = []
    const look = (run: Run) => {
      if (run.position <= offset && offset < run.end) found.push(run)
    }
    for (
      let index = indexAt(Math.max(0, offset - reach), this.#chunkSize);
      index * this.#chunkSize <= offset;
      index++
    ) {
      for (const run of this.#at.get(index) ?? []) if (offset - run.position <= reach) look(run)
    }
    for (const run of this.#sequential) look(run)
    return found
  }

  #put(run: Run, index: number): void {
    const there = this.#at.get(index)
    if (there === undefined) this.#at.set(index, new Set([run]))
    else there.add(run)
  }

  #take(run: Run, index: number): void {
    const there = this.#at.get(index)
    there?.delete(run)
    if (there?.size === 0) this.#at.delete(index)
  }
}
