import type { HeaderFields } from "./rfc/HeaderFields.ts"
import { type Access, accessTo, type Origins } from "./Route.ts"
import type { RouteOrigin } from "./RoutePolicy.ts"

/** One request of the chain that redirects make of it. */
export interface Hop {
  readonly url: URL
  readonly access: Access
  /** The server of a route that it goes to. Its credentials and certificates are for no other. */
  readonly server?: RouteOrigin | undefined
  readonly headers: HeaderFields
  /** Which of the fields are for the first server alone, besides those that always are. */
  readonly secrets: ReadonlyArray<string>
  /** It goes to the origin that was asked first, and not by way of another. */
  readonly isFirstOrigin: boolean
  /** Whether a cookie of the viewer's was left behind on the way. */
  readonly isCookieWithheld: boolean
}

const statuses = new Set([301, 302, 303, 307, 308])

/** What is meant for the origin that was asked, and for no other. */
const personal = new Set(["authorization", "cookie", "host"])

/**
 * Where a redirect leads a GET or HEAD (RFC 9110 §15.4): to the origin that sent it, or to one that may be contacted.
 * `undefined` for everything else, which is an answer like any other, for a redirect that sets a cookie, and for
 * one that a withheld cookie may have caused.
 */
export const follow = (
  origins: Origins,
  hop: Hop,
  { headers, status }: { readonly status: number; readonly headers: HeaderFields }
): Hop | undefined => {
  // The missing cookie may be why it leads elsewhere, as to a login page.
  if (hop.isCookieWithheld) return undefined
  // The viewer's client has to get the cookie, and sends it where the redirect leads.
  if (headers["set-cookie"] !== undefined) return undefined
  const { location } = headers
  const url = statuses.has(status) && location !== undefined ? URL.parse(location, hop.url.href) : null
  if (url === null || (url.protocol !== "http:" && url.protocol !== "https:")) return undefined
  if (url.origin === hop.url.origin) return { ...hop, url }
  // A request restricted to public addresses comes from a viewer, who must not reach what is reserved for the operator.
  const access = accessTo(hop.access === "public" ? { ...origins, routes: [] } : origins, url)
  if (access === undefined) return undefined
  const isKept = (name: string): boolean => !personal.has(name) && !hop.secrets.includes(name)
  return {
    url,
    access,
    headers: Object.fromEntries(Object.entries(hop.headers).filter(([name]) => isKept(name))),
    secrets: [],
    isFirstOrigin: false,
    isCookieWithheld: hop.isCookieWithheld || hop.headers["cookie"] !== undefined
  }
}
