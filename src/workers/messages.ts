import type { Ban } from "../domain/BanList.ts"
import type { ChunkKey } from "../domain/Chunk.ts"
import type { Resource } from "../domain/Resource.ts"
import type { Coding } from "../domain/rfc/ContentCoding.ts"
import type { Entry } from "../services/cache/Catalog.ts"
import type { Totals } from "../services/observe/Counters.ts"
import type { ResponseCounts } from "../services/observe/ResponseMetrics.ts"
import type { Usage } from "../services/observe/WorkerUsage.ts"

/**
 * The messages between the owner of the cache and its workers. They arrive in the order in which they are sent, so a withdrawal never
 * arrives before what it withdraws.
 */

/**
 * The parameters of a worker, in its environment: the owner's socket, the URL of the sample origin if there is one, and the name of the
 * owner's node if it is in a fleet.
 */
export interface Orders {
  readonly socket: string
  readonly sample: string | undefined
  readonly node: string | undefined
}

/** The environment variable with the `Orders` as JSON. */
export const ORDERS = "SPILLWAY_WORKER_ORDERS"

/** The request field with the address of the viewer whose request a worker passes on. */
export const VIEWER_FIELD = "spillway-viewer"

/**
 * A resource as it is for viewers without a cookie; the owner answers the others. `chunks` are the runs of chunks on disk, `end`
 * exclusive. The representation arrives as a plain object.
 */
export interface Known extends Omit<Entry, "audience"> {
  /** Which content codings the origin has chosen for which `Accept-Encoding`. */
  readonly choices: ReadonlyArray<readonly [accepted: string, coding: Coding]>
  readonly chunks: ReadonlyArray<readonly [first: number, end: number]>
}

/** A configuration file that has been read. */
export interface ConfigSource {
  readonly file: string
  readonly text: string
  /** What its references name, by their texts. */
  readonly secrets: ReadonlyMap<string, string>
}

/** A message of the owner. */
export type ToWorker =
  /** The configuration file in force, if there is one: the first message, and sent again when it has been replaced. */
  | { readonly _tag: "Configure"; readonly source: ConfigSource | undefined }
  /** The answer to `Ask`. Without `known`, the worker must not serve the resource. */
  | { readonly _tag: "Answer"; readonly resource: string; readonly known?: Known }
  | { readonly _tag: "Forgotten"; readonly resource: string }
  | { readonly _tag: "Withdrawn"; readonly resource: string }
  | { readonly _tag: "Banned"; readonly ban: Ban }
  /** Nothing is left at the owner of what the bans up to this number cover. */
  | { readonly _tag: "Unbanned"; readonly until: number }
  | { readonly _tag: "Added"; readonly key: ChunkKey; readonly bytes: number }
  | { readonly _tag: "Removed"; readonly key: ChunkKey }
  /** Sent each second, to show that the owner responds. */
  | { readonly _tag: "Alive" }
  /** The worker answers with `Settled`. */
  | { readonly _tag: "Settle"; readonly number: number }

/** What has happened since the last report, and the current state. */
export interface Report extends Usage, Pick<Totals, "requests" | "bytes"> {
  /** Counts and times of responses since the last report. */
  readonly responses: ResponseCounts
  readonly connections: number
  /** Connections refused because of the limit. */
  readonly refused: number
}

/** A message of a worker. */
export type ToOwner =
  /** The worker takes requests at this address. */
  | { readonly _tag: "Listening"; readonly address: string }
  /** The worker cannot take requests, and is about to end. */
  | { readonly _tag: "Failed"; readonly message: string }
  /** A viewer requests a resource that the owner seems to have. */
  | { readonly _tag: "Ask"; readonly resource: Resource }
  /** A chunk was used. */
  | { readonly _tag: "Used"; readonly key: ChunkKey }
  | { readonly _tag: "Settled"; readonly number: number }
  | { readonly _tag: "Report"; readonly report: Report }
