import type { HttpServerRequest } from "effect/http"
import type { HeaderFields } from "../../domain/rfc/HeaderFields.ts"
import { isInLine, nodeResponse } from "./turn.ts"

/** The links in a `Link` field: Node takes them one by one. */
const linksIn = (field: string): ReadonlyArray<string> => field.split(/,\s*(?=<)/)

/**
 * Makes the function that passes the fields of a 103 (Early Hints) on to the viewer who sent `request` (RFC 8297). They are dropped if the
 * viewer waits for another response or has this one already, and if they have no link. `undefined` if the viewer doesn't use HTTP/1.1.
 */
export const earlyHintsTo = (
  request: HttpServerRequest.HttpServerRequest
): ((fields: HeaderFields) => void) | undefined => {
  const response = nodeResponse(request)
  if (response === undefined || response.req.httpVersion !== "1.1") return undefined
  return ({ link, ...fields }) => {
    if (link === undefined || response.headersSent || response.destroyed || isInLine(response)) return
    try {
      response.writeEarlyHints({ ...fields, link: [...linksIn(link)] })
    } catch {
      // Node doesn't send links of every form.
    }
  }
}
