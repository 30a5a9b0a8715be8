import type { HttpServerRequest } from "effect/http"

/** Those that are common, of the methods that are passed on: all but two are. */
export const ALLOW = "GET, HEAD, OPTIONS, POST, PUT, PATCH, DELETE"

/** How often OPTIONS may be passed on yet (RFC 9110 §7.6.2). */
export const maxForwards = ({ headers, method }: HttpServerRequest.HttpServerRequest): number | undefined => {
  const field = method === "OPTIONS" ? headers["max-forwards"] : undefined
  return field !== undefined && /^\d{1,9}$/.test(field) ? Number(field) : undefined
}
