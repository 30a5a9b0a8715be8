import { concerns, everything, type FleetPurge, type PurgeTarget } from "../../domain/FleetPurge.ts"

/** How long a purge is unsettled at most, in milliseconds: the node that ordered it may end before its second round. */
export const UNSETTLED_MILLIS = 10_000

/** How many purges are kept. If there are more, all URLs are concerned until the time is over. */
export const MAX_UNSETTLED = 1000

interface Unsettled {
  readonly targets: ReadonlyArray<PurgeTarget>
  /** By the clock of `UnsettledPurges`. */
  readonly until: number
}

/**
 * The purges that some node of the fleet may not have done yet, and this one has. What they concern is not read from other nodes, since that may
 * be what was purged.
 */
export class UnsettledPurges {
  readonly #now: () => number
  /** In the order in which their time is over. */
  readonly #purges = new Map<string, Unsettled>()

  /** `now` is a monotonic clock, in milliseconds. */
  constructor(now: () => number) {
    this.#now = now
  }

  /** Adds a purge, before this node does it. */
  begin({ id, targets }: FleetPurge): void {
    this.#dropLate()
    if (this.#purges.has(id)) return
    const until = this.#now() + UNSETTLED_MILLIS
    if (this.#purges.size < MAX_UNSETTLED) return void this.#purges.set(id, { targets, until })
    this.#purges.clear()
    this.#purges.set("", { targets: [everything], until })
  }

  /** Removes a purge that all nodes have done. */
  end({ id }: FleetPurge): void {
    this.#purges.delete(id)
  }

  /** Whether other nodes may have purged content of `url`, that of a resource. */
  concern(url: string): boolean {
    if (this.#purges.size === 0) return false
    this.#dropLate()
    return [...this.#purges.values()].some(({ targets }) => targets.some((target) => concerns(target, url)))
  }

  #dropLate(): void {
    const now = this.#now()
    for (const [id, { until }] of this.#purges) {
      if (until > now) return
      this.#purges.delete(id)
    }
  }
}
