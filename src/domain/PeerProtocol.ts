import type { SignedRequest } from "./FleetSignature.ts"
import type { HeaderFields } from "./rfc/HeaderFields.ts"

/**
 * The requests between the nodes of a fleet: HTTP requests with the target of the viewer, and some fields more.
 */

/** The host that the viewer asked for, by which routes are found. */
export const HOST_FIELD = "spillway-host"

/** The signature of a request. */
export const SIGNATURE_FIELD = "spillway-peer"

/** Present if a node is to answer from what it has, and to ask nobody. */
export const HAVE_ONLY_FIELD = "spillway-have-only"

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
  flags: headers[HAVE_ONLY_FIELD] ?? ""
})
