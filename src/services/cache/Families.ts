import { familyOf } from "../../domain/Resource.ts"

/** How many digits of an identifier choose the set that it is in. */
const DIGITS = 3

/** Identifiers of resources. Finds the variants of a resource without looking at all identifiers. */
export class Families {
  readonly #sets = new Map<string, Set<string>>()

  add(id: string): void {
    const digits = id.slice(0, DIGITS)
    const set = this.#sets.get(digits)
    if (set === undefined) this.#sets.set(digits, new Set([id]))
    else set.add(id)
  }

  delete(id: string): void {
    const digits = id.slice(0, DIGITS)
    const set = this.#sets.get(digits)
    set?.delete(id)
    if (set?.size === 0) this.#sets.delete(digits)
  }

  /** The identifiers that were added of a resource and its variants. */
  of(id: string): ReadonlyArray<string> {
    const family = familyOf(id)
    const found: Array<string> = []
    for (const other of this.#sets.get(id.slice(0, DIGITS)) ?? []) if (other.startsWith(family)) found.push(other)
    return found
  }
}
