import { Context, type Effect, Schema, type Scope } from "effect"

/**
 * What an engine knows of a node: a record that the node has signed, or only its address, if nodes don't announce themselves there.
 *
 * @since 0.1.0
 * @category models
 */
export type Announcement =
  | { readonly _tag: "Signed"; readonly text: string }
  | { readonly _tag: "Configured"; readonly name: string; readonly host: string; readonly port: number }

/**
 * An entry of the log of purges.
 *
 * @since 0.1.0
 * @category models
 */
export interface LogEntry {
  /** Where it is in the log, in the engine's own form. */
  readonly place: string
  /** When the engine added it, in milliseconds since 1970. */
  readonly time: number
  readonly text: string
}

/**
 * The entries of the log of purges that follow a place.
 *
 * @since 0.1.0
 * @category models
 */
export interface LogAnswer {
  /** `false` if entries may be missing between the place and `entries`. */
  readonly isComplete: boolean
  readonly entries: ReadonlyArray<LogEntry>
  /** The place behind them, to continue from. */
  readonly place: string
}

/**
 * What an engine answers to a heartbeat.
 *
 * @since 0.1.0
 * @category models
 */
export interface MembershipAnswer {
  readonly nodes: ReadonlyArray<Announcement>
  /** `undefined` if the engine has no log. */
  readonly log: LogAnswer | undefined
}

/**
 * What a node sends with a heartbeat.
 *
 * @since 0.1.0
 * @category models
 */
export interface Heartbeat {
  readonly name: string
  /** The node's signed record. */
  readonly record: string
  /** How far the node has read the log; `undefined` if it has not read any. */
  readonly place: string | undefined
}

/**
 * The engine can't be reached, or refuses a command. `cause` says why.
 *
 * @since 0.1.0
 * @category errors
 */
export class MembershipFailed
  extends Schema.TaggedError<MembershipFailed>()("MembershipFailed", { cause: Schema.Defect() })
{
  override get message(): string {
    return this.cause instanceof Error ? this.cause.message : String(this.cause)
  }
}

/**
 * A connection to an engine. Callers bound the time of each call.
 *
 * @since 0.1.0
 * @category models
 */
export interface MembershipSession {
  /** Announces a node, and returns all nodes that the engine knows. */
  readonly beat: (heartbeat: Heartbeat) => Effect.Effect<MembershipAnswer, MembershipFailed>
  /** Adds a signed purge to the log, if the engine has one. */
  readonly append: (text: string) => Effect.Effect<void, MembershipFailed>
  /** Removes a node that ends. */
  readonly leave: (name: string) => Effect.Effect<void, MembershipFailed>
}

/**
 * The engine that says which nodes there are, and keeps the log of purges. No viewer waits for it. Anything that has a list of names and
 * addresses can be an engine; whether a node works is found out without it.
 *
 * @since 0.1.0
 * @category services
 */
export class Membership extends Context.Service<Membership, {
  /** What it is called in messages. Contains no secrets. */
  readonly label: string
  /** Whether it has a log of purges. */
  readonly hasLog: boolean
  /** Whether nodes announce their weights there. If not, all have the same weight, since none knows those of the others. */
  readonly hasWeights: boolean
  /** The interval of heartbeats, in milliseconds. */
  readonly beatMillis: number
  /** A node is dropped when the engine has answered without it for this long, in milliseconds. */
  readonly leaseMillis: number
  /** Connects for the nodes of the fleet with this name; the scope ends the connection. */
  readonly open: (fleet: string) => Effect.Effect<MembershipSession, MembershipFailed, Scope.Scope>
}>()("spillway/services/fleet/Membership") {}
