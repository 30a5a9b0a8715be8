import { Intervals } from "../effects/Intervals.ts"
import type { ChunkKey } from "./Chunk.ts"

/** The chunks of one representation. */
interface Chunks<A> {
  readonly values: Map<number, A>
  /** The indices that are there. */
  readonly there: Intervals
}

/** A map of chunks. It is requested each hit, so it puts together no text to look for. */
export class ChunkMap<A> {
  readonly #resources = new Map<string, Map<string, Chunks<A>>>()

  get({ index, representation, resource }: ChunkKey): A | undefined {
    return this.#resources.get(resource)?.get(representation)?.values.get(index)
  }

  /** Whether any chunk of a representation is there. */
  hasAny(resource: string, representation: string): boolean {
    return this.#resources.get(resource)?.has(representation) ?? false
  }

  set({ index, representation, resource }: ChunkKey, value: A): void {
    let representations = this.#resources.get(resource)
    if (representations === undefined) this.#resources.set(resource, representations = new Map())
    let chunks = representations.get(representation)
    if (chunks === undefined) {
      chunks = { values: new Map(), there: new Intervals() }
      representations.set(representation, chunks)
    }
    chunks.values.set(index, value)
    chunks.there.add(index)
  }

  /** The first index from the one of `key` on whose chunk is not there. The cost does not grow with the chunks. */
  firstMissing({ index, representation, resource }: ChunkKey): number {
    return this.#resources.get(resource)?.get(representation)?.there.firstMissing(index) ?? index
  }

  delete({ index, representation, resource }: ChunkKey): void {
    const representations = this.#resources.get(resource)
    const chunks = representations?.get(representation)
    if (representations === undefined || chunks === undefined || !chunks.values.delete(index)) return
    chunks.there.delete(index)
    if (chunks.values.size === 0) representations.delete(representation)
    if (representations.size === 0) this.#resources.delete(resource)
  }

  resources(): ReadonlyArray<string> {
    return [...this.#resources.keys()]
  }

  /** All of one resource, in no order. */
  *of(resource: string): Generator<A> {
    for (const chunks of this.#resources.get(resource)?.values() ?? []) yield* chunks.values.values()
  }
}
