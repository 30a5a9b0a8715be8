import { Context, Layer } from "effect"
import type { Freshness } from "../../domain/rfc/Freshness.ts"
import { type Kept, Sieve } from "../../effects/Sieve.ts"
import { type Entry, weightOf } from "./Entry.ts"
import { Families } from "./Families.ts"

/** How entries of the catalog are ended: their fields of freshness are overridden by these. */
const ENDED = { lifetime: 0, staleWhileRevalidate: 0 } satisfies Partial<Freshness>

/** The catalog's entries in memory, by the identifiers of their resources. It is bounded in bytes, and evicts as `Sieve` does. */
export class CatalogMemory extends Context.Service<CatalogMemory, {
  /** The entry of a resource; doesn't count as a use. */
  readonly known: (resource: string) => Entry | undefined
  /** The entry of a resource; counts as a use. */
  readonly use: (resource: string) => Entry | undefined
  /** Adds the entry of a resource, or replaces it. Returns the resources whose entries it evicted. */
  readonly put: (entry: Entry) => ReadonlyArray<string>
  /** Changes an entry in place. It stays revoked if it was. Does nothing when there is none. */
  readonly change: (entry: Entry) => void
  /** Requires that the origin is asked before the entry of a resource is used again by anybody. */
  readonly revoke: (resource: string, change?: Partial<Freshness>, isContested?: boolean) => void
  /** Whether the entry of a resource was revoked, or is out of date, and the origin has not confirmed it since. */
  readonly isRevoked: (resource: string) => boolean
  /** Removes the entry of a resource. */
  readonly forget: (resource: string) => void
  /** A resource and its variants, those that have an entry. */
  readonly family: (resource: string) => ReadonlyArray<string>
  /** The resources whose URL `matches` accepts. */
  readonly identifiers: (matches: (url: string) => boolean) => ReadonlyArray<string>
}>()("spillway/services/cache/CatalogMemory") {
  static readonly layer: Layer.Layer<CatalogMemory> = Layer.sync(CatalogMemory, () => make())
}

/** How much memory entries may take, in bytes. */
const CAPACITY_BYTES = 64 * 1024 ** 2

/** An entry, which changes in place. */
interface Held {
  entry: Entry
  isRevoked: boolean
}

const none: ReadonlyArray<string> = []

const make = () => {
  const sieve = new Sieve<Held>(CAPACITY_BYTES)
  const entries = new Map<string, Kept<Held>>()
  const families = new Families()

  const known = (resource: string): Entry | undefined => entries.get(resource)?.value.entry

  const remove = (resource: string): void => {
    entries.delete(resource)
    families.delete(resource)
  }

  return CatalogMemory.of({
    known,
    use: (resource) => {
      const kept = entries.get(resource)
      if (kept === undefined) return undefined
      kept.visited = true
      return kept.value.entry
    },
    put: (entry) => {
      const { resource } = entry.representation
      const weight = weightOf(entry)
      const kept = entries.get(resource)
      if (kept?.weight === weight) {
        Object.assign(kept.value, { entry, isRevoked: false })
        return none
      }
      if (kept !== undefined) sieve.remove(kept)
      const evicted: Array<string> = []
      const evict = ({ entry: { representation } }: Held): void => {
        remove(representation.resource)
        evicted.push(representation.resource)
      }
      entries.set(resource, sieve.add({ entry, isRevoked: false }, weight, evict))
      families.add(resource)
      return evicted
    },
    change: (entry) => {
      const held = entries.get(entry.representation.resource)?.value
      if (held !== undefined) held.entry = entry
    },
    revoke: (resource, change = {}, isContested = false) => {
      const held = entries.get(resource)?.value
      if (held === undefined) return
      const { audience, freshness } = held.entry
      const ended = (freshness: Freshness): Freshness => ({ ...freshness, ...ENDED, ...change })
      const ends = { freshness: ended(freshness), audience: audience.map(ended), ...(isContested && { isContested }) }
      held.entry = { ...held.entry, ...ends }
      held.isRevoked = true
    },
    isRevoked: (resource) => entries.get(resource)?.value.isRevoked === true,
    forget: (resource) => {
      const kept = entries.get(resource)
      if (kept === undefined) return
      sieve.remove(kept)
      remove(resource)
    },
    family: (resource) => families.of(resource),
    identifiers: (matches) =>
      [...entries.values()].flatMap(({ value: { entry: { representation: { resource, url } } } }) =>
        matches(url) ? [resource] : []
      )
  })
}
