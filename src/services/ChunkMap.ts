import type { ChunkKey } from "../domain/Chunk.ts"

/** A map of chunks. It is asked for each hit, so it puts together no text to look for. */
export class ChunkMap<A> {
  readonly #resources = new Map<string, Map<string, Map<number, A>>>()

  get({ index, representation, resource }: ChunkKey): A | undefined {
    return this.#resources.get(resource)?.get(representation)?.get(index)
  }

  set({ index, representation, resource }: ChunkKey, value: A): void {
    let representations = this.#resources.get(resource)
    if (representations === undefined) this.#resources.set(resource, representations = new Map())
    let chunks = representations.get(representation)
    if (chunks === undefined) representations.set(representation, chunks = new Map())
    chunks.set(index, value)
  }

  delete({ index, representation, resource }: ChunkKey): void {
    const representations = this.#resources.get(resource)
    const chunks = representations?.get(representation)
    if (representations === undefined || chunks === undefined || !chunks.delete(index)) return
    if (chunks.size === 0) representations.delete(representation)
    if (representations.size === 0) this.#resources.delete(resource)
  }

  hasResource(resource: string): boolean {
    return this.#resources.has(resource)
  }

  resources(): ReadonlyArray<string> {
    return [...this.#resources.keys()]
  }

  /** All of one resource, in no order. */
  *of(resource: string): Generator<A> {
    for (const chunks of this.#resources.get(resource)?.values() ?? []) yield* chunks.values()
  }
}
