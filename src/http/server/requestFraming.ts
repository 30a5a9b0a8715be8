import type { IncomingMessage } from "node:http"

/** How many lines the header of a request may have. */
export const MAX_HEADER_FIELDS = 128

/** A host, name or literal, and perhaps a port (RFC 9110 §7.2); empty where the target has none. */
const HOST = /^(?:\[[\da-f:.]+\]|[\w.~!$&'()*+,;=%-]*)(?::\d*)?$/i

/** `undefined`, or the status with which a request is refused before anybody looks at it, and why. */
export const refusalOf = (
  { headers, httpVersion, httpVersionMajor, rawHeaders: fields }: IncomingMessage
): readonly [status: number, reason: string] | undefined => {
  // The platform would take it for a request of HTTP/2 proper.
  if (httpVersionMajor > 1) return [505, "Only HTTP/1 is spoken"]
  // It has none there: anyone who passed the request on may have seen its end elsewhere (RFC 9112 §6.1).
  if (httpVersion === "1.0" && headers["transfer-encoding"] !== undefined) return [400, "Malformed framing"]
  if (fields.length > 2 * MAX_HEADER_FIELDS) return [431, "Too many header fields"]
  let hosts = 0
  for (let i = 0; i < fields.length; i += 2) {
    const name = fields[i]!
    if (name.length !== 4 || name.toLowerCase() !== "host") continue
    hosts += 1
    // Node takes the first of several, others the last: RFC 9112 §3.2 allows neither.
    if (hosts > 1 || !HOST.test(fields[i + 1]!)) return [400, "Malformed Host"]
  }
  return hosts === 0 && httpVersion === "1.1" ? [400, "No Host"] : undefined
}

/** Whether a request has a body, which may be empty. */
export const hasBody = ({ headers }: IncomingMessage): boolean =>
  headers["content-length"] !== undefined || headers["transfer-encoding"] !== undefined
