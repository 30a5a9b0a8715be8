/**
 * What is promised of request methods.
 */

const safe = new Set(["GET", "HEAD", "OPTIONS", "PROPFIND", "REPORT", "SEARCH"])

/** Whether a method changes nothing at the origin (RFC 9110 §9.2.1, RFC 4918, RFC 3253, RFC 5323); all others may. */
export const isSafe = (method: string): boolean => safe.has(method)

/** Whether sending a request twice does what sending it once does (RFC 9110 §9.2.2). */
export const isIdempotent = (method: string): boolean => isSafe(method) || method === "PUT" || method === "DELETE"
