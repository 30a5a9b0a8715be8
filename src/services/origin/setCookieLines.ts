import { Cookies, type HttpClientResponse } from "effect/http"

/** What the clients of the platform keep of an answer as it came. */
interface Source {
  readonly headers?: Headers | Readonly<Record<string, string | ReadonlyArray<string> | undefined>>
}

/**
 * The `Set-Cookie` lines of an answer, in order and unchanged. The platform has only a record of parsed cookies: one for each name,
 * without those that it cannot parse (RFC 6265 §5.2 has clients accept more than servers may send).
 */
export const setCookieLines = (response: HttpClientResponse.HttpClientResponse): ReadonlyArray<string> => {
  const { headers } = (response as { readonly source?: Source }).source ?? {}
  if (headers instanceof Headers) return headers.getSetCookie()
  const lines = headers?.["set-cookie"]
  if (lines !== undefined) return typeof lines === "string" ? [lines] : lines
  return Cookies.toSetCookieHeaders(response.cookies)
}
