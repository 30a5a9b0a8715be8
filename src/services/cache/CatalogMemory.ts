import { Clock, Context, Effect, Layer } from "effect"
import type { Freshness } from "../../domain/rfc/Freshness.ts"
import { type Kept, Sieve } from "../../effects/Sieve.ts"
import { Bans } from "./Bans.ts"
import { type Entry, soften, weightOf } from "./Entry.ts"
import { Families } from "./Families.ts"

/** How entries of the catalog are ended: their fields of freshness are overridden by these. */
const ENDED = { lifetime: 0, staleWhileRevalidate: 0 } satisfies Partial<Freshness>

/**
 * The catalog's entries in memory, by the identifiers of their resources. It is bounded in bytes, and evicts as `Sieve` does. Each entry is
 * compared with new bans before it is returned: one that was purged isn't there.
 */
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
  /** Compares all entries with the bans so far. Each step of the generator is short. */
  readonly applyBans: () => Generator<void>
}>()("spillway/services/cache/CatalogMemory") {
  static readonly layer: Layer.Layer<CatalogMemory, never, Bans> = Layer.effect(
    CatalogMemory,
    Effect.suspend(() => make)
  )
}

/** How much memory entries may take, in bytes. */
const CAPACITY_BYTES = 64 * 1024 ** 2

/** An entry, which changes in place. */
interface Held {
  entry: Entry
  isRevoked: boolean
  /** The last ban that it was compared with. */
  checked: number
}

/** How many entries are compared with bans before others have their turn. */
const COMPARED_AT_ONCE = 500

const none: ReadonlyArray<string> = []

const make = Effect.gen(function*() {
  const bans = yield* Bans
  const clock = yield* Clock.Clock
  const sieve = new Sieve<Held>(CAPACITY_BYTES)
  const entries = new Map<string, Kept<Held>>()
  const families = new Families()

  const remove = (resource: string): void => {
    entries.delete(resource)
    families.delete(resource)
  }

  const forget = (resource: string): void => {
    const kept = entries.get(resource)
    if (kept === undefined) return
    sieve.remove(kept)
    remove(resource)
  }

  const revoke = (held: Held, change: Partial<Freshness>, isContested: boolean): void => {
    const { audience, freshness } = held.entry
    const ended = (freshness: Freshness): Freshness => ({ ...freshness, ...ENDED, ...change })
    const ends = { freshness: ended(freshness), audience: audience.map(ended), ...(isContested && { isContested }) }
    held.entry = { ...held.entry, ...ends }
    held.isRevoked = true
  }

  /** The entry of a resource as the bans leave it. */
  const current = (resource: string): Kept<Held> | undefined => {
    const kept = entries.get(resource)
    const latest = bans.latest()
    if (kept === undefined || kept.value.checked === latest) return kept
    const held = kept.value
    const verdict = bans.verdict(held.entry.representation, held.checked)
    held.checked = latest
    switch (verdict?.effect) {
      case "purge":
        return forget(resource) as undefined
      case "outdate":
        revoke(held, { mustRevalidate: true }, false)
        break
      case "soften":
        held.entry = soften(held.entry, Math.min(verdict!.at, clock.currentTimeMillisUnsafe()), latest)
    }
    return kept
  }

  return CatalogMemory.of({
    known: (resource) => current(resource)?.value.entry,
    use: (resource) => {
      const kept = current(resource)
      if (kept === undefined) return undefined
      kept.visited = true
      return kept.value.entry
    },
    put: (entry) => {
      const { resource } = entry.representation
      const weight = weightOf(entry)
      const kept = entries.get(resource)
      if (kept?.weight === weight) {
        Object.assign(kept.value, { entry, isRevoked: false, checked: 0 })
        return none
      }
      if (kept !== undefined) sieve.remove(kept)
      const evicted: Array<string> = []
      const evict = ({ entry: { representation } }: Held): void => {
        remove(representation.resource)
        evicted.push(representation.resource)
      }
      entries.set(resource, sieve.add({ entry, isRevoked: false, checked: 0 }, weight, evict))
      families.add(resource)
      return evicted
    },
    change: (entry) => {
      const held = current(entry.representation.resource)?.value
      if (held !== undefined) held.entry = entry
    },
    revoke: (resource, change = {}, isContested = false) => {
      const held = current(resource)?.value
      if (held !== undefined) revoke(held, change, isContested)
    },
    isRevoked: (resource) => current(resource)?.value.isRevoked === true,
    forget,
    family: (resource) => families.of(resource).filter((other) => current(other) !== undefined),
    *applyBans() {
      let compared = 0
      for (const resource of entries.keys()) {
        current(resource)
        if (++compared % COMPARED_AT_ONCE === 0) yield
      }
    }
  })
})
