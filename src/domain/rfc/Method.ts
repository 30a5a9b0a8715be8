/**
 * What is promised of request methods.
 */

const safe = new Set(["GET", "HEAD", "OPTIONS", "PROPFIND", "REPORT", "SEARCH"])

/** Whether a method changes nothing at the origin (RFC 9110 §9.2.1, RFC 4918, RFC 3253, RFC 5323); all others may. */
export const isSafe = (method: string): boolean => safe.has(method)

/** Whether sending a request twice does what sending it once does (RFC 9110 §9.2.2). */
export const isIdempotent = (method: string): boolean => isSafe(method) || method === "PUT" || method === "DELETE"

/**
 * Whether a request of `method` changes what lies below its target too, if that is a collection (RFC 4918 §9.3, §9.6, §9.9), or makes
 * it one.
 */
export const reachesBelow = (method: string): boolean => method === "DELETE" || method === "MOVE" || method === "MKCOL"

/** Whether a request of `method` changes what its `Destination` names, with all that lies below (RFC 4918 §9.8, §9.9). */
export const hasDestination = (method: string): boolean => method === "COPY" || method === "MOVE"

/** Whether a request reads a file. */
export const isRead = (method: string): boolean => method === "GET" || method === "HEAD"
