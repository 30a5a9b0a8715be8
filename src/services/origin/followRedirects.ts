import { Effect, Exit, Scope, Stream } from "effect"
import { loggable, OriginUnexpected } from "../../domain/OriginError.ts"
import { follow, type Hop } from "../../domain/Redirect.ts"
import { foldChain, type HopAnswer } from "../../domain/RedirectChain.ts"
import { needsRedirect } from "../../domain/RelativeNames.ts"
import { flawOf } from "../../domain/Representation.ts"
import type { HeaderFields } from "../../domain/rfc/HeaderFields.ts"
import { isRead } from "../../domain/rfc/Method.ts"
import type { OriginOptions } from "../config/OriginConfig.ts"
import type { HopExchange, makeExchange } from "./exchange.ts"
import type { OriginRequest } from "./Origin.ts"

/** How many redirects of one request are followed. */
const MAX_REDIRECTS = 5

/** How much of a redirect's body is read so that its connection can be used again, in bytes. */
const REDIRECT_BODY_BYTES = 64 * 1024

/** How long that may take, in milliseconds; a new connection takes about as long. */
const REDIRECT_BODY_MILLIS = 250

const hasNoBody = (method: string, status: number): boolean => method === "HEAD" || status === 204 || status === 304

const hopAnswer = ({ hop, response: { headers, status }, times }: HopExchange): HopAnswer => ({
  url: hop.url.href,
  status,
  headers,
  times,
  isFirstOrigin: hop.isFirstOrigin
})

/** The header fields of a response from `url`, with a `Location` that leads to the same place from the URL `asked`. */
const located = (headers: HeaderFields, url: URL, asked: URL): HeaderFields => {
  const location = headers["location"] === undefined ? null : URL.parse(headers["location"], url.href)
  if (location === null) return headers
  const { hash, href, origin, pathname, search } = location
  return { ...headers, location: origin === asked.origin ? pathname + search + hash : href }
}

/** The header fields of a redirect that is passed on without its body. */
const withoutBody = (headers: HeaderFields): HeaderFields => {
  const { "content-encoding": _, "content-type": _1, "transfer-encoding": _2, ...others } = headers
  return { ...others, "content-length": "0" }
}

/** Frees the connection of a redirect. A short body is read, so that the connection can be used again. */
const discard = ({ connection, response }: HopExchange): Effect.Effect<void> => {
  let left = REDIRECT_BODY_BYTES
  return Stream.runForEachWhile(response.stream, (piece) => Effect.sync(() => (left -= piece.length) > 0)).pipe(
    Effect.timeout(REDIRECT_BODY_MILLIS),
    Effect.ignore,
    Effect.andThen(Scope.close(connection, Exit.void))
  )
}

/** Makes the function that sends a request and follows redirects to where they may lead. */
export const makeFollowRedirects = (config: OriginOptions, exchange: ReturnType<typeof makeExchange>) =>
  Effect.fnUntraced(function*(request: OriginRequest, first: Hop) {
    let last = yield* exchange(request, first)
    const followed: Array<HopAnswer> = []
    const isFollowed = isRead(request.method) && request.body === undefined && request.upgrade === undefined &&
      request.route?.redirects !== "pass"
    const maxRedirects = isFollowed ? MAX_REDIRECTS : 0
    while (followed.length < maxRedirects) {
      const next = follow(config.origins, last.hop, last.response)
      if (next === undefined || needsRedirect(config.origins, first.url, next.url)) break
      yield* discard(last)
      followed.push(hopAnswer(last))
      last = yield* exchange(request, next)
    }
    const { connection, hop, slot, response } = last
    const { headers, status, stream } = response
    const url = loggable(hop.url.href)
    const switched = status === 101 && request.upgrade !== undefined ? response.switched : undefined
    // Other than after an offer, it isn't a final status.
    const flaw = flawOf({ headers, status: switched === undefined ? status : 200 })
    if (flaw !== undefined) {
      yield* Scope.close(connection, Exit.void)
      return yield* new OriginUnexpected({ url, status, detail: flaw })
    }
    const from = { url, connection, slot, switched: undefined }
    const [redirect] = followed
    // Only now is it known whether the file has relative names, which need the redirect.
    if (redirect !== undefined && status < 300 && needsRedirect(config.origins, first.url, hop.url, headers)) {
      const fields = withoutBody(redirect.headers)
      return { ...from, status: redirect.status, headers: fields, setCookie: [], stream: undefined }
    }
    return {
      ...from,
      switched: switched && (yield* switched),
      status,
      headers: redirect === undefined
        ? headers
        : located(foldChain([...followed, hopAnswer(last)]), hop.url, first.url),
      setCookie: response.setCookie,
      stream: hasNoBody(request.method, status) ? undefined : stream
    }
  })
