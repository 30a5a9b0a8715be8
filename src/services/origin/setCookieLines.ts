import { Cookies, type HttpClientResponse } from "effect/http"

/** The original response that the platform's clients keep. */
interface Source {
  readonly headers?: Headers | Readonly<Record<string, string | ReadonlyArray<string> | undefined>>
}

/**
 * The `Set-Cookie` lines of a response, in order and unchanged. The platform has only a record of parsed cookies, one for each name, without
 * those that it cannot parse (RFC 6265 §5.2 has clients accept more than servers may send).
 */
export const setCookieLines = (response: HttpClientResponse.HttpClientResponse): ReadonlyArray<string> => {
  const { headers } = (response as { readonly source?: Source }).source ?? {}
  if (headers instanceof Headers) return headers.getSetCookie()
  const lines = headers?.["set-cookie"]
  if (lines !== undefined) return typeof lines === "string" ? [lines] : lines
  return Cookies.toSetCookieHeaders(response.cookies)
}
