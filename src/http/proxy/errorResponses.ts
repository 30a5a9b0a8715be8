import { HttpServerResponse } from "effect/http"
import type { OriginError } from "../../domain/OriginError.ts"
import * as CacheStatus from "../../domain/rfc/CacheStatus.ts"
import type { HeaderFields } from "../../domain/rfc/HeaderFields.ts"
import type { Reply, Response } from "./Reply.ts"

/**
 * Replies of Spillway itself, if there is no response of the origin to pass on.
 */

/** A reply that says that a request failed or is refused, in a line of text. */
export const errorReply = (
  status: number,
  body: string,
  cacheStatus: CacheStatus.CacheStatus,
  headers: HeaderFields = {}
): Reply => ({
  response: HttpServerResponse.text(`${body}\n`, {
    status,
    headers: { ...headers, "cache-status": CacheStatus.format(cacheStatus) }
  }),
  cacheStatus,
  isError: true
})

/** Makes the function that has the errors of a node of a fleet name it in `Cache-Status`. */
export const ofNode = (node: string) => (reply: Reply): Reply => {
  const { cacheStatus, isError, response } = reply
  if (cacheStatus === undefined || isError !== true) return reply
  const field = CacheStatus.format({ ...cacheStatus, node })
  return { ...reply, response: HttpServerResponse.setHeader(response, "cache-status", field) }
}

/** A page of Spillway's own, which does not concern the cache. */
export const page = (response: Response): Reply => ({ response, cacheStatus: undefined })

export const refused = (status: number, reason: string, headers: HeaderFields = {}): Reply =>
  errorReply(status, reason, { fwd: "bypass", detail: "REFUSED" }, headers)

/** When a viewer may retry whose request found no room at the origin, in seconds. */
const RETRY_AFTER_SECONDS = 5

/** The reply if the origin fails before the first byte. */
export const originFailed = (error: OriginError): Reply => {
  switch (error._tag) {
    case "OriginTimeout":
      if (error.phase === "viewer") {
        return errorReply(408, "The request's body did not come while others waited", {
          fwd: "miss",
          detail: "REQUEST_TIMEOUT"
        })
      }
      return error.phase === "queue"
        ? errorReply(503, "Too many requests to the origin", { fwd: "miss", detail: "ORIGIN_BUSY" }, {
          "retry-after": String(RETRY_AFTER_SECONDS)
        })
        : errorReply(504, "The origin did not answer in time", { fwd: "miss", detail: "ORIGIN_TIMEOUT" })
    case "OriginUnreachable":
      return errorReply(502, "The origin cannot be reached", { fwd: "miss", detail: "ORIGIN_UNREACHABLE" })
    case "OriginForbidden":
      return errorReply(403, "This address is not allowed", { fwd: "bypass", detail: "ADDRESS_NOT_ALLOWED" })
    default:
      return errorReply(502, "The origin's answer cannot be used", { fwd: "miss", detail: "ORIGIN_UNEXPECTED" })
  }
}
