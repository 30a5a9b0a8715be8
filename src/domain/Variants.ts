import { LruMap } from "../effects/LruMap.ts"
import type { Representation } from "./Representation.ts"
import { type Resource, variant } from "./Resource.ts"
import { MAX_VARY_NAMES, variesTooMuch, varyNames } from "./rfc/Cacheability.ts"
import {
  acceptedBy,
  type AcceptedCodings,
  type Coding,
  codingOf,
  dependsOnAccepted,
  isSubset,
  UNCODED
} from "./rfc/ContentCoding.ts"
import type { HeaderFields } from "./rfc/HeaderFields.ts"

/** How much is kept of this in memory, in bytes. */
const CAPACITY_BYTES = 8 * 1024 ** 2

/** What is kept of a resource besides the names of fields, and for each choice of the origin, in bytes, roughly. */
const OVERHEAD_BYTES = 256
const CHOICE_BYTES = 32

/** Which coding the origin has chosen for requests that accept these. */
export type Choices = ReadonlyMap<AcceptedCodings, Coding>

/** What selects a stored response among those of a resource. */
type SelectedBy = Pick<Representation, "accepted" | "varyNames">

/** On what the responses for a resource depend. */
interface Variation {
  readonly names: ReadonlyArray<string>
  /** Requests with a cookie are answered otherwise than those without. */
  readonly byCookie: boolean
  /** Empty unless the responses depend on `Accept-Encoding`. */
  readonly choices: Choices
}

const unvaried: Variation = { names: [], byCookie: false, choices: new Map() }

/** What a request selects. */
export interface Selection {
  readonly variant: Resource
  /**
   * Whether the origin would choose this variant, as far as is known. If not, the origin has to be asked: for the codings that the
   * request accepts, it may choose another one.
   */
  readonly isChosen: boolean
}

/**
 * The coding that the origin chooses for `accepted`. What it has chosen from more codings, it also chooses from fewer. `undefined` if
 * that is not known.
 */
const chosen = (choices: Choices, accepted: AcceptedCodings): Coding | undefined => {
  if (choices.size === 0) return accepted.codings.has("identity") ? "identity" : undefined
  const same = choices.get(accepted)
  if (same !== undefined) return same
  for (const [others, coding] of choices) {
    if (accepted.codings.has(coding) && isSubset(accepted, others)) return coding
  }
  return undefined
}

/** A coding that may be known, and that a request for `accepted` can do with if the origin can't be asked. */
const acceptable = (choices: Choices, { codings }: AcceptedCodings): Coding => {
  for (const coding of choices.values()) if (codings.has(coding)) return coding
  return "identity"
}

/** On what request fields the responses for resources depend, as far as their origins have told or shown it. */
export class Variants {
  readonly #known = new LruMap<string, Variation>(CAPACITY_BYTES)

  has(resource: Resource): boolean {
    return this.#known.has(resource.id)
  }

  /** Which codings the origin has chosen for which requests, if the responses depend on nothing else. */
  choices(resource: Resource): Choices | undefined {
    const { byCookie, choices, names } = this.#known.peek(resource.id) ?? unvaried
    return names.length === 0 && !byCookie ? choices : undefined
  }

  /** Takes over the `choices` of another process, on which alone the responses for a resource depend. */
  adopt(resource: Resource, choices: Choices): void {
    this.#known.delete(resource.id)
    this.#put(resource, { ...unvaried, choices })
  }

  /** The variant that a request with `fields` selects that accepts these codings. */
  select(resource: Resource, fields: HeaderFields, accepted: AcceptedCodings): Selection {
    const known = this.#known.peek(resource.id) ?? unvaried
    const coding = chosen(known.choices, accepted)
    return {
      variant: this.variant(resource, fields, coding ?? acceptable(known.choices, accepted)),
      isChosen: coding !== undefined
    }
  }

  /**
   * Records the fields that a response varies on, besides those that earlier ones did. If it is the first to depend on `Accept-Encoding`,
   * and an uncoded one is stored (`hasUncoded`), that is for requests that accept no coding: others ask the origin.
   */
  vary(resource: Resource, answer: HeaderFields, hasUncoded: boolean): void {
    const known = this.#known.peek(resource.id) ?? unvaried
    // S3 says `Vary: Origin` only where the request has `Origin`: an answer without `Vary` is one variant of several anyway.
    const named = variesTooMuch(answer) ? [] : varyNames(answer)
    const all = [...new Set([...known.names, ...named])].toSorted()
    const names = all.length > MAX_VARY_NAMES ? named : all
    const isFirst = hasUncoded && known.choices.size === 0 && dependsOnAccepted(answer)
    this.#put(resource, { ...known, names, ...(isFirst && { choices: new Map([[UNCODED, "identity"]]) }) })
  }

  /** The variant in one content coding that a request with `fields` selects. */
  variant(resource: Resource, fields: HeaderFields, coding: Coding): Resource {
    const { byCookie, names } = this.#known.peek(resource.id) ?? unvaried
    return variant(resource, names, fields, byCookie && fields["cookie"] !== undefined, coding)
  }

  /** Records that the origin has chosen the coding of a response for requests that accept `accepted`, if responses depend on that. */
  choose(resource: Resource, answer: HeaderFields, accepted: AcceptedCodings): void {
    const known = this.#known.peek(resource.id) ?? unvaried
    const coding = codingOf(answer)
    if (coding === undefined || (known.choices.size === 0 && !dependsOnAccepted(answer))) return
    if (known.choices.get(accepted) === coding) return
    this.#put(resource, { ...known, choices: new Map([...known.choices, [accepted, coding]]) })
  }

  /** What selects a response with the fields `answer`, to a request that accepts `accepted`, among those of `resource`. */
  selectedBy(resource: Resource, answer: HeaderFields, accepted: AcceptedCodings): SelectedBy {
    const { choices, names } = this.#known.peek(resource.id) ?? unvaried
    return {
      ...(names.length > 0 && { varyNames: names }),
      ...((choices.size > 0 || dependsOnAccepted(answer)) && { accepted: accepted.field })
    }
  }

  /**
   * Learns from stored representations of a resource what their origin has told, without contradicting what is known. Returns whether
   * there was anything new.
   */
  learn(resource: Resource, stored: ReadonlyArray<Representation>): boolean {
    const known = this.#known.peek(resource.id) ?? unvaried
    const names = new Set(known.names)
    const choices = new Map<AcceptedCodings, Coding>()
    for (const { accepted, headers, resource: id, varyNames: all } of stored) {
      // Earlier versions did not store all names.
      for (const name of all ?? (id === resource.id ? [] : varyNames(headers))) names.add(name)
      const coding = codingOf(headers)
      if (accepted !== undefined && coding !== undefined) choices.set(acceptedBy(accepted), coding)
    }
    for (const [accepted, coding] of known.choices) choices.set(accepted, coding)
    const isNew = names.size > known.names.length || choices.size > known.choices.size
    if (!isNew || names.size > MAX_VARY_NAMES) return false
    this.#put(resource, { ...known, names: [...names].toSorted(), choices })
    return true
  }

  /** Takes note that requests with a cookie are answered otherwise than those without. */
  separateCookies(resource: Resource): void {
    this.#put(resource, { ...this.#known.peek(resource.id) ?? unvaried, byCookie: true })
  }

  areCookiesSeparate(resource: Resource): boolean {
    return this.#known.peek(resource.id)?.byCookie === true
  }

  #put(resource: Resource, variation: Variation): void {
    const { byCookie, choices, names } = variation
    if (names.length === 0 && !byCookie && choices.size === 0) return
    const weight = names.reduce((sum, name) => sum + name.length, OVERHEAD_BYTES + CHOICE_BYTES * choices.size)
    this.#known.set(resource.id, variation, weight)
  }
}
