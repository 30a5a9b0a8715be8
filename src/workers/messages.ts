import type { ChunkKey } from "../domain/Chunk.ts"
import type { Resource } from "../domain/Resource.ts"
import type { Entry } from "../services/cache/Catalog.ts"
import type { Totals } from "../services/observe/Counters.ts"
import type { Usage } from "../services/observe/WorkerUsage.ts"

/**
 * What the owner of the cache and its workers say to each other. Messages arrive in the order in which they are sent, so that
 * what is taken back never comes before what it takes back.
 */

/** How a worker learns its role, from its environment: where the owner listens, and where the sample origin is if there is one. */
export interface Orders {
  readonly socket: string
  readonly sample: string | undefined
}

/** The variable that holds the `Orders`, as JSON. */
export const ORDERS = "SPILLWAY_WORKER_ORDERS"

/** A field by which a worker tells the owner whose request it passes on: the address of the viewer. */
export const VIEWER_FIELD = "spillway-viewer"

/**
 * What is known of a resource that is for all, or as fresh as it is for viewers without a cookie; the others are the owner's to
 * answer. Also, which of its chunks are on disk: neighbours as the first and the one behind the last. On the way, the
 * representation loses its class.
 */
export interface Known extends Omit<Entry, "audience"> {
  readonly chunks: ReadonlyArray<readonly [first: number, end: number]>
}

/** What the owner says. */
export type ToWorker =
  /** The answer to `Ask`: without `known`, the worker is not to serve the resource. */
  | { readonly _tag: "Answer"; readonly resource: string; readonly known?: Known }
  | { readonly _tag: "Forgotten"; readonly resource: string }
  | { readonly _tag: "Withdrawn"; readonly resource: string }
  | { readonly _tag: "Added"; readonly key: ChunkKey; readonly bytes: number }
  | { readonly _tag: "Removed"; readonly key: ChunkKey }
  /** Said each second: a sign of life. */
  | { readonly _tag: "Alive" }
  /** To be answered by `Settled`. */
  | { readonly _tag: "Settle"; readonly number: number }

/** What happened since the last report, and how things are. */
export interface Report extends Usage, Pick<Totals, "requests" | "bytes"> {
  readonly connections: number
  /** Connections that found no room. */
  readonly refused: number
}

/** What a worker says. */
export type ToOwner =
  /** It takes requests, at this address. */
  | { readonly _tag: "Listening"; readonly address: string }
  /** It cannot, and is about to end. */
  | { readonly _tag: "Failed"; readonly message: string }
  /** A resource is requested that the owner seems to have. */
  | { readonly _tag: "Ask"; readonly resource: Resource }
  /** A chunk was used. */
  | { readonly _tag: "Used"; readonly key: ChunkKey }
  | { readonly _tag: "Settled"; readonly number: number }
  | { readonly _tag: "Report"; readonly report: Report }
