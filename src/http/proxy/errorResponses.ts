import { HttpServerResponse } from "effect/http"
import type { OriginError } from "../../domain/OriginError.ts"
import * as CacheStatus from "../../domain/rfc/CacheStatus.ts"
import type { HeaderFields } from "../../domain/rfc/HeaderFields.ts"
import type { Response } from "./mediaResponse.ts"

/**
 * What Spillway says itself, where there is nothing of the origin's to pass on.
 */

export const text = (
  status: number,
  body: string,
  cacheStatus: CacheStatus.CacheStatus,
  headers: HeaderFields = {}
): Response =>
  HttpServerResponse.text(`${body}\n`, {
    status,
    headers: { ...headers, "cache-status": CacheStatus.format(cacheStatus) }
  })

export const refused = (status: number, reason: string, headers: HeaderFields = {}): Response =>
  text(status, reason, { fwd: "bypass", detail: "REFUSED" }, headers)

/** When a viewer may come again whose request found no room at the origin, in seconds. */
const RETRY_AFTER_SECONDS = 5

/** The response when the origin failed before the first byte. */
export const originFailed = (error: OriginError): Response => {
  switch (error._tag) {
    case "OriginTimeout":
      if (error.phase === "viewer") {
        return text(408, "The request's body did not come while others waited", {
          fwd: "miss",
          detail: "REQUEST_TIMEOUT"
        })
      }
      return error.phase === "queue"
        ? text(503, "Too many requests to the origin", { fwd: "miss", detail: "ORIGIN_BUSY" }, {
          "retry-after": String(RETRY_AFTER_SECONDS)
        })
        : text(504, "The origin did not answer in time", { fwd: "miss", detail: "ORIGIN_TIMEOUT" })
    case "OriginUnreachable":
      return text(502, "The origin cannot be reached", { fwd: "miss", detail: "ORIGIN_UNREACHABLE" })
    case "OriginForbidden":
      return text(403, "This address is not allowed", { fwd: "bypass", detail: "ADDRESS_NOT_ALLOWED" })
    default:
      return text(502, "The origin's answer cannot be used", { fwd: "miss", detail: "ORIGIN_UNEXPECTED" })
  }
}
