import type { HeaderFields } from "../domain/Headers.ts"
import { type Resource, variant } from "../domain/Resource.ts"
import { MAX_VARY_NAMES, variesTooMuch, varyNames } from "../domain/Storable.ts"

/** How many resources are known to vary. */
const CAPACITY = 20_000

/** How many variants of one resource an invalidation reaches. */
const MAX_VARIANTS = 64

/** On what the answers for a resource depend. */
interface Variation {
  readonly names: ReadonlyArray<string>
  /** Requests with a cookie are answered otherwise than those without. */
  readonly byCookie: boolean
  /** The variants that were seen last. */
  readonly ids: Set<string>
}

/** On what request fields the answers for resources depend, as far as their origins have told or shown it. */
export class Variants {
  readonly #known = new Map<string, Variation>()

  has(resource: Resource): boolean {
    return this.#known.has(resource.id)
  }

  /** The variant that a request with `fields` selects, as far as is known. */
  select(resource: Resource, fields: HeaderFields): Resource {
    const known = this.#known.get(resource.id)
    return known === undefined
      ? resource
      : variant(resource, known.names, fields, known.byCookie && fields["cookie"] !== undefined)
  }

  /** Takes note of the fields that an answer varies on, besides those that earlier ones did, and returns the variant of `fields`. */
  vary(resource: Resource, answer: HeaderFields, fields: HeaderFields): Resource {
    const known = this.#known.get(resource.id)
    // S3 says `Vary: Origin` only where the request has `Origin`: an answer without `Vary` is one variant of several all the same.
    const named = variesTooMuch(answer) ? [] : varyNames(answer)
    const all = [...new Set([...known?.names ?? [], ...named])].toSorted()
    const names = all.length > MAX_VARY_NAMES ? named : all
    if (names.length === 0 && known?.byCookie !== true) return resource
    this.#put(resource, { names, byCookie: known?.byCookie ?? false, ids: known?.ids ?? new Set() })
    const selected = this.select(resource, fields)
    const { ids } = this.#known.get(resource.id)!
    ids.delete(selected.id)
    ids.add(selected.id)
    if (ids.size > MAX_VARIANTS) ids.delete(ids.values().next().value!)
    return selected
  }

  /** Takes note that requests with a cookie are answered otherwise than those without. */
  separateCookies(resource: Resource): void {
    const { ids = new Set<string>(), names = [] } = this.#known.get(resource.id) ?? {}
    this.#put(resource, { names, byCookie: true, ids })
  }

  areCookiesSeparate(resource: Resource): boolean {
    return this.#known.get(resource.id)?.byCookie === true
  }

  /** The variants that were seen last. */
  ids(resource: Resource): Iterable<string> {
    return this.#known.get(resource.id)?.ids ?? []
  }

  #put(resource: Resource, variation: Variation): void {
    this.#known.delete(resource.id)
    this.#known.set(resource.id, variation)
    if (this.#known.size > CAPACITY) this.#known.delete(this.#known.keys().next().value!)
  }
}
