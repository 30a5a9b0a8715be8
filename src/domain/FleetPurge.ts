import { Schema } from "effect"

const MAX_URL_LENGTH = 16 * 1024

const url = Schema.String.check(Schema.isMaxLength(MAX_URL_LENGTH))

/**
 * What the nodes of a fleet have to forget. `Url` and `Prefix` remove what is cached; the empty prefix is that of all URLs. `Outdated` and
 * `OutdatedTree` end its freshness: a request that may have changed it was passed on.
 */
export const PurgeTarget = Schema.Union([
  Schema.TaggedStruct("Url", { url }),
  Schema.TaggedStruct("Prefix", { prefix: url }),
  Schema.TaggedStruct("Outdated", { url }),
  Schema.TaggedStruct("OutdatedTree", { url })
])

export type PurgeTarget = typeof PurgeTarget.Type

/** A purge as one node sends it to the others, twice: what was read from a node that had not done it yet is forgotten by the second round. */
export class FleetPurge extends Schema.Class<FleetPurge>("spillway/domain/FleetPurge")({
  /** The same in both rounds. */
  id: Schema.String.check(Schema.isMinLength(16), Schema.isMaxLength(64)),
  /** The name of the node that sends it. */
  from: Schema.String.check(Schema.isMaxLength(63)),
  round: Schema.Literals([1, 2]),
  targets: Schema.Array(PurgeTarget).check(Schema.isMaxLength(16))
}) {}
