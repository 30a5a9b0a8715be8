/**
 * Header fields as a plain record: names in lower case, several fields of a name joined by `, ` (RFC 9110 §5.3).
 */
export type HeaderFields = Readonly<Record<string, string>>

const NAME = /^[!#$%&'*+.^_`|~0-9a-z-]+$/

const VALUE = /^[\t\x20-\x7e\x80-\xff]*$/

/** Whether a field may have this name, in lower case (RFC 9110 §5.1). */
export const isFieldName = (name: string): boolean => NAME.test(name)

/** Whether a field may have this value (RFC 9110 §5.5). Anything else could end the field, and be read as another one. */
export const isFieldValue = (value: string): boolean => VALUE.test(value)

/** Whether `headers` can be sent as they are. */
export const areFields = (headers: HeaderFields): boolean =>
  Object.entries(headers).every(([name, value]) => isFieldName(name) && isFieldValue(value))

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

/** Tells the fields of one connection, whose `Connection` field is given, by their names in lower case. */
export const ofConnection = (connection: string | undefined): (name: string) => boolean => {
  const names = listed(connection)
  return (name) => hopByHop.has(name) || names.has(name)
}

/** `headers` without the fields of one connection and without `drop`. */
export const endToEnd = (
  headers: HeaderFields,
  drop: Pick<ReadonlySet<string>, "has"> = none
): Record<string, string> => {
  const isOfConnection = ofConnection(headers["connection"])
  const kept: Record<string, string> = {}
  for (const [name, value] of Object.entries(headers)) {
    if (!isOfConnection(name) && !drop.has(name)) kept[name] = value
  }
  return kept
}

const none: ReadonlySet<string> = new Set()

/** How long names and values are, in characters. */
export const lengthOf = (headers: HeaderFields): number => {
  let length = 0
  for (const name in headers) length += name.length + headers[name]!.length
  return length
}
