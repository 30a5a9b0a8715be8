/** A map that is bounded by the weight of what it has, in bytes, say: what was put in first goes first. */
export class BoundedMap<K, V> {
  readonly #capacity: number
  readonly #entries = new Map<K, { readonly value: V; readonly weight: number }>()
  #weight = 0

  constructor(capacity: number) {
    this.#capacity = capacity
  }

  get weight(): number {
    return this.#weight
  }

  get size(): number {
    return this.#entries.size
  }

  get(key: K): V | undefined {
    return this.#entries.get(key)?.value
  }

  has(key: K): boolean {
    return this.#entries.has(key)
  }

  keys(): IterableIterator<K> {
    return this.#entries.keys()
  }

  /** Puts it in as the last one; something heavier than the capacity is not kept. */
  set(key: K, value: V, weight: number): void {
    this.delete(key)
    if (weight > this.#capacity) return
    this.#entries.set(key, { value, weight })
    this.#weight += weight
    for (const oldest of this.#entries.keys()) {
      if (this.#weight <= this.#capacity) break
      this.delete(oldest)
    }
  }

  /** Makes it the last one to go. */
  renew(key: K): void {
    const entry = this.#entries.get(key)
    if (entry === undefined) return
    this.#entries.delete(key)
    this.#entries.set(key, entry)
  }

  delete(key: K): void {
    this.#weight -= this.#entries.get(key)?.weight ?? 0
    this.#entries.delete(key)
  }

  clear(): void {
    this.#entries.clear()
    this.#weight = 0
  }
}
