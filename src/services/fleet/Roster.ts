import type { FleetMember } from "../../domain/FleetMember.ts"

/** How many nodes a fleet may have. More are ignored. */
export const MAX_MEMBERS = 256

/**
 * The nodes of a fleet by what the engine has answered. A node is dropped only when the engine has answered without it for a whole lease, as
 * seen from here. An engine that doesn't answer, or that comes back empty, drops nobody. Times are in milliseconds.
 */
export class Roster {
  readonly #leaseMillis: number
  readonly #self: string
  readonly #known = new Map<string, { readonly member: FleetMember; seen: number }>()
  #answered = Number.NEGATIVE_INFINITY
  #members: ReadonlyArray<FleetMember> = []

  /** `self` is the name of this node, which is not in the list. */
  constructor(self: string, leaseMillis: number, remembered: ReadonlyArray<FleetMember>, now: number) {
    this.#self = self
    this.#leaseMillis = leaseMillis
    for (const member of remembered.slice(0, MAX_MEMBERS)) {
      if (member.name !== self) this.#known.set(member.name, { member, seen: now })
    }
    this.#update()
  }

  /** The other nodes, by name. The same array as long as nothing changes. */
  get members(): ReadonlyArray<FleetMember> {
    return this.#members
  }

  /** Starts all leases again: the connection to the engine is new, so it may not know the nodes yet that are still connecting. */
  restart(now: number): void {
    for (const entry of this.#known.values()) entry.seen = Math.max(entry.seen, now)
  }

  /** Takes the engine's answer. Returns whether the list has changed. */
  take(members: ReadonlyArray<FleetMember>, now: number): boolean {
    // Either the engine was away or this process was stopped: in both cases the time without an answer says nothing about a node.
    if (now - this.#answered > this.#leaseMillis) this.restart(now)
    this.#answered = now
    for (const member of members) {
      if (member.name === this.#self) continue
      if (this.#known.has(member.name) || this.#known.size < MAX_MEMBERS) {
        this.#known.set(member.name, { member, seen: now })
      }
    }
    for (const [name, { seen }] of this.#known) if (now - seen > this.#leaseMillis) this.#known.delete(name)
    return this.#update()
  }

  #update(): boolean {
    const next = [...this.#known.values()].map(({ member }) => member)
      .toSorted((a, b) => a.name < b.name ? -1 : 1)
    if (JSON.stringify(next) === JSON.stringify(this.#members)) return false
    this.#members = next
    return true
  }
}
