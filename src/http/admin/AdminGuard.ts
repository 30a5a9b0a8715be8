import type { HeaderFields } from "../../domain/rfc/HeaderFields.ts"
import { hasSession, isSame } from "./session.ts"

/** What is known of somebody who asks for one of Spillway's own pages. */
export interface Caller {
  /** The address at the other end of the connection. */
  readonly address: string | undefined
  readonly headers: HeaderFields
}

/** `Unauthorized`: the token is missing or wrong. `Forbidden`: there is no token, and the caller is not of this machine. */
export type Verdict = "Allowed" | "Unauthorized" | "Forbidden"

/** RFC 6750 §2.1; the scheme's case does not matter (RFC 9110 §11.1). */
const bearer = (authorization: string | undefined): string | undefined =>
  /^bearer +(\S+) *$/i.exec(authorization ?? "")?.[1]

const IPV4_LOOPBACK = /^127(?:\.\d{1,3}){3}$/

const isLoopbackAddress = (address: string | undefined): boolean =>
  address !== undefined && (address === "::1" || IPV4_LOOPBACK.test(address.replace(/^::ffff:/i, "")))

/** A name or literal that is this machine wherever it is resolved (RFC 6761 §6.3), with a port or without. */
const isLoopbackHost = (host: string | undefined): boolean => {
  const name = (host ?? "").replace(/:\d*$/, "").toLowerCase()
  return name === "[::1]" || IPV4_LOOPBACK.test(name) || /^(?:[a-z0-9-]+\.)*localhost$/.test(name)
}

/** Fields by which a proxy says that the request is somebody else's. */
const ofProxies = ["forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip"]

/** A page of another site can have a browser on this machine, or one that is logged in, send a request; browsers say so. */
export const isOfAnotherSite = (headers: HeaderFields): boolean => {
  const { host, origin, "sec-fetch-site": site } = headers
  if (site !== undefined && site !== "none" && site !== "same-origin") return true
  // A server in front may speak TLS.
  return origin !== undefined && origin !== `http://${host}` && origin !== `https://${host}`
}

/**
 * Whether a caller may see more than that Spillway is alive. Who shows the token may, and a browser in a session that was begun
 * with it, on behalf of Spillway's own pages; where there is no token, anyone who is on this machine, talks to it as such (a name
 * that was made to resolve to it will not do), and asks for nobody else. `now` is in milliseconds since 1970.
 */
export const judge = (token: string | undefined, { address, headers }: Caller, now: number): Verdict => {
  if (token !== undefined && token !== "") {
    const shown = bearer(headers["authorization"])
    if (shown !== undefined && isSame(shown, token)) return "Allowed"
    return hasSession(token, headers["cookie"], now) && !isOfAnotherSite(headers) ? "Allowed" : "Unauthorized"
  }
  const isLocal = isLoopbackAddress(address) && isLoopbackHost(headers["host"]) &&
    ofProxies.every((name) => headers[name] === undefined) && !isOfAnotherSite(headers)
  return isLocal ? "Allowed" : "Forbidden"
}
