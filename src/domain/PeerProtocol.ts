import type { SignedRequest } from "./FleetSignature.ts"
import type { HeaderFields } from "./rfc/HeaderFields.ts"

/**
 * The requests between the nodes of a fleet: HTTP requests with the target of the viewer, and some fields more.
 */

/** The host that the viewer asked for, by which routes are found. */
export const HOST_FIELD = "spillway-host"

/** The signature of a request. */
export const SIGNATURE_FIELD = "spillway-peer"

/** What a node wants besides the range. */
export const WANTS_FIELD = "spillway-wants"

/**
 * `cached`: what the other node has from the first byte on, which may be less than the range; it asks nobody. `whole`: the viewer wants the
 * whole file, and the range is only the part that the other node owns.
 */
export type Wants = "cached" | "whole"

/** What a request for bytes wants besides its range. */
export const wantsOf = (headers: HeaderFields): Wants | undefined => {
  const wants = headers[WANTS_FIELD]
  return wants === "cached" || wants === "whole" ? wants : undefined
}

/** The proof of an answer. */
export const PROOF_FIELD = "spillway-proof"

/** Where a node says that it is there. */
export const ALIVE_PATH = "/_spillway/peer/alive"

/** Where a node receives purges. */
export const PURGE_PATH = "/_spillway/peer/purge"

/** Where a node reports what it does. */
export const REPORT_PATH = "/_spillway/peer/report"

/** The parts of a request that its signature covers, from its head. */
export const signedParts = (method: string, target: string, headers: HeaderFields): SignedRequest => ({
  method,
  target,
  host: headers[HOST_FIELD] ?? "",
  range: headers["range"] ?? "",
  flags: headers[WANTS_FIELD] ?? ""
})
