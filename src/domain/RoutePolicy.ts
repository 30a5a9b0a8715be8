import type { Redacted } from "effect"
import type { OriginAccess } from "./OriginAccess.ts"

/**
 * How Spillway treats the requests of a route: which servers it asks, how, and what it changes on the way.
 */

/**
 * A server that has the files of a route.
 *
 * @since 0.1.0
 * @category options
 */
export interface RouteOrigin {
  /** Absolute, without user, query and fragment. Paths are appended to it. */
  readonly url: URL
  /** How often it is chosen compared with the others, if the choice is by weight. */
  readonly weight: number
  readonly access: OriginAccess
}

/** Whether `origin` is a directory or a bucket. A path names a file there; a query means nothing, or asks for something else than the file. */
export const hasNoQueries = ({ access, url }: RouteOrigin): boolean =>
  url.protocol === "file:" || access.authorization?._tag === "SigV4"

/**
 * Header fields that are changed on the way. Names are in lower case.
 *
 * @since 0.1.0
 * @category options
 */
export interface FieldChanges {
  /** The fields to set, instead of those of these names. */
  readonly set: Readonly<Record<string, Redacted.Redacted>>
  /** The names of the fields to remove. */
  readonly remove: ReadonlyArray<string>
}

/**
 * How the requests of a route are treated. Times are in milliseconds.
 *
 * @since 0.1.0
 * @category options
 */
export interface RoutePolicy {
  /** The servers that have the files. The first is that of `Route.url`. */
  readonly origins: readonly [RouteOrigin, ...ReadonlyArray<RouteOrigin>]
  /** Which server is asked: the first that works, or one by its weight. */
  readonly choice: "in-order" | "weighted"
  /** The path of the requests that show whether each server works, sent to it every `every` milliseconds. */
  readonly check?: { readonly path: string; readonly every: number }
  /** Request fields that responses depend on as if `Vary` named them, in lower case. */
  readonly keyFields: ReadonlyArray<string>
  /** Changes of requests on their way to a server. */
  readonly requestFields: FieldChanges
  /** Changes of responses on their way to the viewer. */
  readonly responseFields: FieldChanges
  /** Whether servers are sent `Forwarded` and `X-Forwarded-*` about the viewer. */
  readonly forwarded: boolean
  /** Whether redirects are followed, or passed to the viewer. */
  readonly redirects: "follow" | "pass"
  /** Whether connections may change to another protocol, such as WebSocket. */
  readonly upgrades: boolean
  /**
   * Whether a server may wait for an event before it responds. Such requests are sent to it once each, without a limit on the time until
   * the first byte. Nothing of the route is cached.
   */
  readonly longPolls: boolean
  /** The maximum time until the header of a response, if it isn't that of `OriginConfig`. */
  readonly firstByteTimeout?: number
  /** The maximum time between two reads of a body, if it isn't that of `OriginConfig`. */
  readonly silenceTimeout?: number
  /** How far a fetch goes ahead of its fastest reader, in bytes; `Infinity` for whole files. */
  readonly readAhead: number
  /** Whether a file is fetched to its end after its last viewer has left. */
  readonly finish: boolean
  /** How many requests for one file run at a time, 1 to 8. */
  readonly parallel: number
  /** How long a server is silent while a viewer waits before another request for the same bytes is sent; 0 for never. */
  readonly hedgeAfter: number
}

/** How far a fetch goes ahead of its fastest reader unless its route says otherwise, in bytes. */
export const READ_AHEAD_BYTES = 1024 ** 2

/** How long a server is silent before it is asked again unless its route says otherwise, in milliseconds. */
export const HEDGE_AFTER_MILLIS = 3000

export const noChanges: FieldChanges = { set: {}, remove: [] }

/**
 * The policy of a route to `url` without options.
 *
 * @since 0.1.0
 * @category constructors
 */
export const defaultPolicy = (url: URL): RoutePolicy => ({
  origins: [{ url, weight: 1, access: {} }],
  choice: "in-order",
  keyFields: [],
  requestFields: noChanges,
  responseFields: noChanges,
  forwarded: false,
  redirects: "follow",
  upgrades: false,
  longPolls: false,
  readAhead: READ_AHEAD_BYTES,
  finish: false,
  parallel: 1,
  hedgeAfter: HEDGE_AFTER_MILLIS
})
