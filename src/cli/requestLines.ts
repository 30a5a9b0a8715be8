import type { Exchange } from "../http/server/RequestLog.ts"

/**
 * The formats of the access log.
 */

/** Only these characters mean the same to every terminal and every reader of logs. */
const printable = /^[\x20-\x7e]*$/

const escape = (character: string): string => `%${character.charCodeAt(0).toString(16).toUpperCase().padStart(2, "0")}`

const safe = (text: string): string => printable.test(text) ? text : text.replace(/[^\x20-\x7e…]/g, escape)

/** The same for one word of a line. */
const word = (text: string): string => safe(text).replaceAll(" ", "%20")

const safeOrNone = (text: string | undefined): string | undefined => text === undefined ? undefined : safe(text)

const rounded = (milliseconds: number): number => Math.round(milliseconds * 100) / 100

/** A line of JSON, with the fields of the other lines of the log. `timestamp` is ISO 8601. */
export const formatJson = (exchange: Exchange, timestamp: string): string => {
  const { bytes, detail, firstByteMillis, isCut, isOwnPage, method, milliseconds, outcome, source, status } = exchange
  return JSON.stringify({
    timestamp,
    level: isOwnPage ? "DEBUG" : "INFO",
    message: "request",
    client: exchange.client,
    forwardedFor: safeOrNone(exchange.forwardedFor),
    host: safeOrNone(exchange.host),
    method,
    url: word(exchange.url),
    range: safeOrNone(exchange.range),
    status,
    outcome,
    source,
    detail,
    bytes,
    firstByteMilliseconds: firstByteMillis === undefined ? undefined : rounded(firstByteMillis),
    milliseconds: rounded(milliseconds),
    cut: isCut ? true : undefined,
    userAgent: safeOrNone(exchange.userAgent),
    requestId: safeOrNone(exchange.requestId)
  })
}

/** A line for people. */
export const formatPretty = (exchange: Exchange, timestamp: string): string => {
  const { bytes, client, detail, isCut, isOwnPage, method, milliseconds, outcome, range, source, status, url } =
    exchange
  const how = [outcome, source, detail].filter((word) => word !== undefined).join(" ")
  const level = isOwnPage ? "DEBUG" : "INFO"
  const asked = range === undefined ? word(url) : `${word(url)} ${word(range)}`
  const end = isCut ? " CUT" : ""
  return `[${timestamp.slice(11, 23)}] ${level}: ${client ?? "-"} ${method} ${asked} ${status} ${how} ${bytes} B ${
    rounded(milliseconds)
  } ms${end}`
}

const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]

const quoted = (text: string | undefined): string =>
  text === undefined ? "\"-\"" : `"${safe(text).replace(/["\\]/g, "\\$&")}"`

/** A line in the combined format of Apache and nginx, which many programs read. The URL is without its query. */
export const formatCombined = (exchange: Exchange, timestamp: string): string => {
  const { bytes, client, httpVersion, method, referer, status, url, userAgent } = exchange
  const [, year, month, day, time] = /^(\d+)-(\d+)-(\d+)T([\d:]+)/.exec(timestamp)!
  const at = `${day}/${MONTHS[Number(month) - 1]}/${year}:${time} +0000`
  const request = quoted(`${method} ${word(url)} HTTP/${httpVersion}`)
  return `${client ?? "-"} - - [${at}] ${request} ${status} ${bytes} ${quoted(referer)} ${quoted(userAgent)}`
}
