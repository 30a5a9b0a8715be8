import { Schema } from "effect"
import type { Candidate } from "./Rendezvous.ts"

/** What may be the name of a node. It appears in `Cache-Status` and names the node's disk. */
export const NODE_NAME = /^[A-Za-z0-9](?:[A-Za-z0-9.-]{0,62})$/

/** The version of the protocol between nodes. A node of another version answers 403. */
export const PROTOCOL = "v1"

/** A node of a fleet, as it announces itself. */
export class FleetMember extends Schema.Class<FleetMember>("spillway/domain/FleetMember")({
  name: Schema.String.check(Schema.isPattern(NODE_NAME)),
  /** Where the other nodes find it. */
  host: Schema.String.check(Schema.isMinLength(1), Schema.isMaxLength(255)),
  port: Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 65_535 })),
  /** How much it owns compared with the others; 0 or more. */
  weight: Schema.Finite.check(Schema.isGreaterThanOrEqualTo(0)),
  /** The size of a stretch, in bytes. */
  stretch: Schema.Int.check(Schema.isGreaterThan(0)),
  /** The version of Spillway. */
  version: Schema.String.check(Schema.isMaxLength(64)),
  /** Tells whether two nodes would fetch the same file from the same place. */
  routes: Schema.String.check(Schema.isMaxLength(64)),
  /** When it started, in milliseconds since 1970. */
  since: Schema.Finite,
  /** It is about to end, and owns nothing any more. */
  leaving: Schema.Boolean
}) implements Candidate {}

/** The weight of each node if nobody knows the weights of others. */
export const EQUAL_WEIGHT = 1

/** Whether two nodes divide files alike and fetch them from the same places, so that one can use what the other has. */
export const isOfSameConfiguration = (a: FleetMember, b: FleetMember): boolean =>
  a.stretch === b.stretch && a.routes === b.routes
