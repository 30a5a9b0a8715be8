import { type Resource, variant } from "../../domain/Resource.ts"
import { MAX_VARY_NAMES, variesTooMuch, varyNames } from "../../domain/rfc/Cacheability.ts"
import type { HeaderFields } from "../../domain/rfc/HeaderFields.ts"
import { LruMap } from "../../effects/LruMap.ts"

/** How much is kept of this in memory, in bytes. */
const CAPACITY_BYTES = 8 * 1024 ** 2

/** What is kept of a resource besides the names of fields, in bytes, roughly. */
const OVERHEAD_BYTES = 256

/** On what the answers for a resource depend. */
interface Variation {
  readonly names: ReadonlyArray<string>
  /** Requests with a cookie are answered otherwise than those without. */
  readonly byCookie: boolean
}

/** On what request fields the answers for resources depend, as far as their origins have told or shown it. */
export class Variants {
  readonly #known = new LruMap<string, Variation>(CAPACITY_BYTES)

  has(resource: Resource): boolean {
    return this.#known.has(resource.id)
  }

  /** The variant that a request with `fields` selects, as far as is known. */
  select(resource: Resource, fields: HeaderFields): Resource {
    const known = this.#known.peek(resource.id)
    return known === undefined
      ? resource
      : variant(resource, known.names, fields, known.byCookie && fields["cookie"] !== undefined)
  }

  /** Records the fields that an answer varies on, besides those that earlier ones did, and returns the variant of `fields`. */
  vary(resource: Resource, answer: HeaderFields, fields: HeaderFields): Resource {
    const known = this.#known.peek(resource.id)
    // S3 says `Vary: Origin` only where the request has `Origin`: an answer without `Vary` is one variant of several anyway.
    const named = variesTooMuch(answer) ? [] : varyNames(answer)
    const all = [...new Set([...known?.names ?? [], ...named])].toSorted()
    const names = all.length > MAX_VARY_NAMES ? named : all
    if (names.length === 0 && known?.byCookie !== true) return resource
    this.#put(resource, { names, byCookie: known?.byCookie ?? false })
    return this.select(resource, fields)
  }

  /** Takes note that requests with a cookie are answered otherwise than those without. */
  separateCookies(resource: Resource): void {
    const { names = [] } = this.#known.peek(resource.id) ?? {}
    this.#put(resource, { names, byCookie: true })
  }

  areCookiesSeparate(resource: Resource): boolean {
    return this.#known.peek(resource.id)?.byCookie === true
  }

  #put(resource: Resource, variation: Variation): void {
    const weight = variation.names.reduce((sum, name) => sum + name.length, OVERHEAD_BYTES)
    this.#known.set(resource.id, variation, weight)
  }
}
