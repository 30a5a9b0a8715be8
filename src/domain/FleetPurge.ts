import { Schema } from "effect"
import { randomBytes } from "node:crypto"
import { BanTarget, EVERYTHING, isIn, matches, treeAt } from "./BanList.ts"

const MAX_URL_LENGTH = 16 * 1024

/**
 * What the nodes of a fleet have to forget: what a ban covers, or `Outdated`, one URL that a request which was passed on may have changed.
 */
export const PurgeTarget = Schema.Union([
  ...BanTarget.members,
  Schema.TaggedStruct("Outdated", { url: Schema.String.check(Schema.isMaxLength(MAX_URL_LENGTH)) })
])

export type PurgeTarget = typeof PurgeTarget.Type

/** Everything has to be revalidated. */
export const everything: PurgeTarget = { _tag: "OutdatedTree", url: EVERYTHING }

/** Whether `target` may be about what is cached of `url`. Which tags that has is not known from its URL. */
export const concerns = (target: PurgeTarget, url: string): boolean => {
  switch (target._tag) {
    case "Outdated":
      return url === target.url
    case "OutdatedTree":
      return isIn(treeAt(target.url), url)
    case "Tag":
      return true
    default:
      return matches(target, { url, headers: {} })
  }
}

const ID_BYTES = 16

/** What tells a purge from all others. */
const newId = (): string => randomBytes(ID_BYTES).toString("hex")

/**
 * A purge as one node sends it to the others. They do it in the first round. From then on, none of them reads what it concerns from another node,
 * which may not have done it yet. The second round says that all have done it.
 */
export class FleetPurge extends Schema.Class<FleetPurge>("spillway/domain/FleetPurge")({
  /** The same in both rounds. */
  id: Schema.String.check(Schema.isMinLength(16), Schema.isMaxLength(64)),
  /** The name of the node that sends it. */
  from: Schema.String.check(Schema.isMaxLength(63)),
  /** When it was ordered there, in milliseconds since 1970. */
  time: Schema.Finite,
  round: Schema.Literals([1, 2]),
  targets: Schema.Array(PurgeTarget).check(Schema.isMaxLength(16))
}) {}

/** The first round of a purge that a node orders now. */
export const firstRound = (from: string, time: number, targets: ReadonlyArray<PurgeTarget>): FleetPurge =>
  new FleetPurge({ id: newId(), from, time, round: 1, targets: [...targets] })

/** What stands for too many purges, of which `last` is the last one. */
export const insteadOfMany = ({ from, time }: FleetPurge): FleetPurge => firstRound(from, time, [everything])
