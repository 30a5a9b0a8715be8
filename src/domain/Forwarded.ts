import type { HeaderFields } from "./rfc/HeaderFields.ts"

/**
 * What servers learn about a viewer: `Forwarded` (RFC 7239) and the older `X-Forwarded-For`, `-Host` and `-Proto`.
 */

/** Who has sent a request, and how. */
export interface Sender {
  /** The address of its connection, if that has one. */
  readonly address: string | undefined
  readonly headers: HeaderFields
  /** Whether the connection is from a reverse proxy whose own such fields are right. */
  readonly isTrusted: boolean
}

const isOfForwarding = /^(?:forwarded|x-forwarded-.*|x-real-ip)$/

/** `headers` without fields of this kind, which anyone may have made up. */
const withoutForwarded = (headers: HeaderFields): HeaderFields =>
  Object.fromEntries(Object.entries(headers).filter(([name]) => !isOfForwarding.test(name.replaceAll("_", "-"))))

/** `headers` as they are sent to a server of `route`: with `forwarded` instead of such fields of the viewer, if the route wants that. */
export const withForwarded = (
  headers: HeaderFields,
  route: { readonly forwarded: boolean } | undefined,
  forwarded: HeaderFields | undefined
): HeaderFields =>
  route?.forwarded === true && forwarded !== undefined ? { ...withoutForwarded(headers), ...forwarded } : headers

/** The names of the fields that are sent. */
const NAMES = ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"]

/** Whether a response with this `Vary` depends on who the viewer is, how it has come, or by which name. */
export const variesOnForwarded = (vary: string | undefined): boolean =>
  vary !== undefined && NAMES.some((name) => vary.toLowerCase().split(/[\s,]+/).includes(name))

/** IPv4 addresses as such, also if the socket is one of IPv6. */
const plain = (address: string): string => address.replace(/^::ffff:(?=[\d.]+$)/i, "")

/** A host as viewers write it, and nothing that could end a quoted text. */
const HOST = /^(?:\[[\da-f:.]+\]|[\w.-]+)(?::\d+)?$/i

/** A node of `Forwarded`: an address, quoted if it is one of IPv6; anything else is hidden. */
const nodeOf = (address: string): string => {
  if (/^[\d.]+$/.test(address)) return `for=${address}`
  return /^[\da-f:.]+$/i.test(address) ? `for="[${address}]"` : "for=unknown"
}

const listOf = (field: string | undefined): ReadonlyArray<string> =>
  field === undefined ? [] : field.split(",").map((part) => part.trim()).filter((part) => part !== "")

/** The scheme and host by which a viewer has come, as a reverse proxy says. */
const saidBy = ({ headers }: Sender) => {
  const proto = listOf(headers["x-forwarded-proto"])[0]?.toLowerCase()
  const host = listOf(headers["x-forwarded-host"])[0]
  return { proto: proto === "https" ? "https" : "http", host: host ?? headers["host"] }
}

/**
 * The fields for a server about the viewer who has sent a request. The address goes behind those that a trusted proxy has sent. Such a proxy is
 * also believed about the scheme and the host. Without one, the host is what `isOwn` allows: anything for a request whose response nobody else
 * gets, but for others only the host of the route, `known`, because a viewer can choose the field.
 */
export const forwardedFields = (
  sender: Sender,
  { isOwn, known }: { readonly isOwn: boolean; readonly known: string | undefined }
): HeaderFields => {
  const { headers, isTrusted } = sender
  const said = isTrusted ? saidBy(sender) : { proto: "http", host: isOwn ? headers["host"] : known }
  const host = said.host !== undefined && HOST.test(said.host) ? said.host : undefined
  const address = plain(sender.address ?? "unknown")
  const before = isTrusted ? listOf(headers["x-forwarded-for"]) : []
  const nodes = isTrusted && headers["forwarded"] !== undefined ? [headers["forwarded"]] : before.map(nodeOf)
  const own = [nodeOf(address), ...(host === undefined ? [] : [`host="${host}"`]), `proto=${said.proto}`].join(";")
  return {
    "x-forwarded-for": [...before, address].join(", "),
    ...(host !== undefined && { "x-forwarded-host": host }),
    "x-forwarded-proto": said.proto,
    forwarded: [...nodes, own].join(", ")
  }
}
