import { Headers, type HttpServerRequest, HttpServerResponse } from "effect/http"
import { LOCAL_PATH } from "../../services/origin/LocalUrls.ts"
import { URL_PATH } from "../../services/origin/OriginResolver.ts"

/**
 * A browser takes everything that it gets from this server for a part of it. Where a viewer names a URL outright, that is the page
 * of somebody else, and neither may learn or change what is the other's.
 */

/** Fields of a response that would hold for this server and all that it serves. */
const ofTheSite = [
  "clear-site-data",
  "content-security-policy",
  "service-worker-allowed",
  "set-cookie",
  "strict-transport-security"
]

/** Whether a request for `target` names the URL of what it is for, or has a token for one that the application has named. */
export const isNamed = (target: string): boolean =>
  target.startsWith(LOCAL_PATH) || (target.startsWith(URL_PATH) && /^$|^\?/.test(target.slice(URL_PATH.length)))

/** `request` without the cookies and credentials that are for this server, or for what it stands before; `names` are such fields. */
export const anonymous = (
  request: HttpServerRequest.HttpServerRequest,
  names: ReadonlyArray<string>
): HttpServerRequest.HttpServerRequest =>
  request.modify({ headers: Headers.removeMany(request.headers, ["authorization", "cookie", ...names]) })

/** `response` as that of another site: a page of it is shown without scripts, and has no cookies. */
export const foreign = (response: HttpServerResponse.HttpServerResponse): HttpServerResponse.HttpServerResponse =>
  ofTheSite.reduce<HttpServerResponse.HttpServerResponse>(
    (rest, name) => HttpServerResponse.removeHeader(rest, name),
    response
  ).pipe(HttpServerResponse.setHeader("content-security-policy", "sandbox"))
