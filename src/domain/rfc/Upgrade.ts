import type { HeaderFields } from "./HeaderFields.ts"

/**
 * Offers to change the protocol of a connection (RFC 9110 §7.8).
 */

/** Versions of HTTP, and TLS below it: an offer of these is ignored. Clients make them with any request. */
const OF_HTTP = /^(?:h2c?|http|tls)\b/i

const listed = (field: string): ReadonlyArray<string> =>
  field.split(",").map((protocol) => protocol.trim()).filter((protocol) => protocol !== "")

/** Whether a request with these fields offers to change its connection to any protocol. */
export const offersUpgrade = (
  { connection, upgrade }: { readonly connection?: string | undefined; readonly upgrade?: string | undefined }
): boolean => upgrade !== undefined && connection !== undefined && /upgrade/i.test(connection)

/** The protocols that a request offers besides HTTP itself, as its `Upgrade` field names them; `undefined` without any. */
export const offeredProtocol = (headers: HeaderFields): string | undefined => {
  if (!offersUpgrade(headers)) return undefined
  const protocols = listed(headers["upgrade"]!).filter((protocol) => !OF_HTTP.test(protocol))
  return protocols.length === 0 ? undefined : protocols.join(", ")
}

/** Whether `protocol` is WebSocket (RFC 6455), whose clients can't use an ordinary response. */
export const isWebSocket = (protocol: string): boolean =>
  listed(protocol).some((name) => name.toLowerCase() === "websocket")
