/**
 * Header fields as a plain record: names in lower case, several fields of a name joined by `, ` (RFC 9110 §5.3).
 */
export type HeaderFields = Readonly<Record<string, string>>

/** Fields of one connection, never passed on (RFC 9110 §7.6.1, RFC 9112 §9). */
const hopByHop = new Set([
  "connection",
  "keep-alive",
  "proxy-authenticate",
  "proxy-authorization",
  "proxy-connection",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
  "http2-settings"
])

/** The names that `connection` lists, besides those that are always of one connection. */
const listed = (connection: string | undefined): ReadonlySet<string> =>
  new Set(connection === undefined ? [] : connection.toLowerCase().split(",").map((name) => name.trim()))

/** `headers` without the fields of one connection and without `drop`. */
export const endToEnd = (headers: HeaderFields, drop: ReadonlySet<string> = none): Record<string, string> => {
  const ofConnection = listed(headers["connection"])
  const kept: Record<string, string> = {}
  for (const [name, value] of Object.entries(headers)) {
    if (!hopByHop.has(name) && !ofConnection.has(name) && !drop.has(name)) kept[name] = value
  }
  return kept
}

const none: ReadonlySet<string> = new Set()
