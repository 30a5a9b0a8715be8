import { Clock, Context, Effect, Exit, Latch, Layer, Metric, Scope, Stream } from "effect"
import { HttpBody, HttpClient, HttpClientRequest, type HttpClientResponse, type HttpMethod } from "effect/http"
import {
  loggable,
  type OriginError,
  OriginForbidden,
  OriginTimeout,
  OriginUnexpected,
  OriginUnreachable
} from "../../domain/OriginError.ts"
import { OriginFault } from "../../domain/OriginFault.ts"
import { follow, type Hop } from "../../domain/Redirect.ts"
import { foldChain, type HopAnswer } from "../../domain/RedirectChain.ts"
import { needsRedirect } from "../../domain/RelativeNames.ts"
import { flawOf, type OriginHead } from "../../domain/Representation.ts"
import type { Times } from "../../domain/rfc/Freshness.ts"
import type { HeaderFields } from "../../domain/rfc/HeaderFields.ts"
import { isIdempotent } from "../../domain/rfc/Method.ts"
import type { Access } from "../../domain/Route.ts"
import { OriginConfig, type OriginOptions } from "../config/OriginConfig.ts"
import { isTraced, traceFields } from "../observe/tracing.ts"
import { makeTurn, upload, withBodyTimeout } from "./bodyTimeout.ts"
import {
  failureOf,
  isPrivateLiteral,
  makeConnections,
  type OriginClients,
  type OriginConnections
} from "./originConnections.ts"
import * as OriginLimiter from "./OriginLimiter.ts"
import { retries } from "./retry.ts"
import { setCookieLines } from "./setCookieLines.ts"

/** A request as it goes to the origin. */
export interface OriginRequest {
  readonly method: string
  readonly url: string
  /** Without the fields of one connection. */
  readonly headers: HeaderFields
  /** Which of the fields another server that it is redirected to must not see, besides credentials. */
  readonly secrets?: ReadonlyArray<string>
  /** Sent as it comes: with the `content-length` of `headers`, which it then has to keep to, or else in chunks. */
  readonly body?: Stream.Stream<Uint8Array, unknown> | undefined
  /** To what addresses the connection may go; to any without it. */
  readonly access?: Access | undefined
  /** Whether nobody waits for it, so that what somebody waits for goes first. */
  readonly background?: boolean | undefined
}

/** An answer whose body has yet to be read. Closing the scope it came with closes its connection. */
export interface OriginResponse extends OriginHead {
  /** The lines of `Set-Cookie`, in order; `headers` has them in one. */
  readonly setCookie: ReadonlyArray<string>
  /** Can be run once. */
  readonly body: Stream.Stream<Uint8Array, OriginError>
  /** Its slot at the origin, for the reader to set how it is released. Otherwise the body is cut off when the slot is reclaimed. */
  readonly slot?: OriginLimiter.Slot
}

/**
 * The servers that have the files: one request, one answer, every failure typed. It follows redirects to where it may, and neither
 * retries nor remembers; only a request that met a connection just when the origin closed it is sent again (RFC 9110 §9.2.2).
 */
export class Origin extends Context.Service<Origin, {
  /** One request and the head of its answer, redirects followed; the scope holds the connection. Fails when it takes longer than `OriginConfig` allows. */
  readonly request: (request: OriginRequest) => Effect.Effect<OriginResponse, OriginError, Scope.Scope>
}>()("spillway/services/origin/Origin") {
  /**
   * Over the `HttpClient` in context, which does not tell to what addresses it connects: requests for public ones only are
   * refused.
   */
  static readonly layerNoDeps: Layer.Layer<Origin, never, HttpClient.HttpClient | OriginConfig> = Layer.effect(
    Origin,
    Effect.gen(function*() {
      const client = yield* HttpClient.HttpClient
      const connections = { any: { kept: client, fresh: client }, wasIdle: () => false }
      return make(yield* OriginConfig, connections, yield* isTraced)
    })
  )

  /** Over connections of undici's that are kept alive. */
  static readonly layer: Layer.Layer<Origin, never, OriginConfig> = Layer.effect(
    Origin,
    Effect.gen(function*() {
      const config = yield* OriginConfig
      return make(config, yield* makeConnections(config), yield* isTraced)
    })
  )
}

/** What Spillway calls itself in `Via` (RFC 9110 §7.6.3). */
export const VIA = "1.1 spillway"

/** How many redirects of one request are followed. */
const MAX_REDIRECTS = 5

/** How much of a redirect's body is read so that its connection can be used again, in bytes. */
const REDIRECT_BODY_BYTES = 64 * 1024

/** How long that may take, in milliseconds; a new connection takes about as long. */
const REDIRECT_BODY_MILLIS = 250

/** The fields of `request` with Spillway's own. */
const fieldsOf = ({ headers, method }: OriginRequest): HeaderFields => {
  const fields: Record<string, string> = { "user-agent": "spillway", ...headers }
  fields["via"] = headers["via"] === undefined ? VIA : `${headers["via"]}, ${VIA}`
  // Ranges of a compressed file are of no use to others.
  if (isRead(method)) fields["accept-encoding"] = "identity"
  // Anyone who passes the request on has answered it already, or will.
  delete fields["expect"]
  return fields
}

const isRead = (method: string): boolean => method === "GET" || method === "HEAD"

/** Whether it may be sent again though it may have been received. */
const isRepeatable = ({ body, method }: OriginRequest): boolean => body === undefined && isIdempotent(method)

/** Says nothing for long, until there is something to say. */
const isEventStream = (headers: HeaderFields): boolean => /^text\/event-stream\b/i.test(headers["content-type"] ?? "")

const hasNoBody = (method: string, status: number): boolean => method === "HEAD" || status === 204 || status === 304

const messageOf = ({ body, method }: OriginRequest, { headers, url }: Hop): HttpClientRequest.HttpClientRequest => {
  // The platform knows the names of some methods only, and sends any.
  const message = HttpClientRequest.make(method as HttpMethod.HttpMethod)(url.href, { headers })
  if (body === undefined) return message
  const type = headers["content-type"]
  const length = headers["content-length"]
  const withBody = HttpClientRequest.setBody(
    message,
    HttpBody.stream(body, type, length === undefined ? undefined : Number(length))
  )
  return type === undefined ? HttpClientRequest.removeHeader(withBody, "content-type") : withBody
}

/** The answer to one hop, when it was requested and came, and the scope of its connection. */
interface Answer {
  readonly times: Times
  readonly hop: Hop
  readonly response: HttpClientResponse.HttpClientResponse
  readonly connection: Scope.Closeable
  readonly slot: OriginLimiter.Slot
}

const scoped = ({ fresh, kept }: OriginClients) => ({
  fresh: HttpClient.withScope(fresh),
  kept: HttpClient.withScope(kept)
})

/** Where only some addresses can be distinguished, there are no clients for the others. */
type Connections = Omit<OriginConnections, "public"> & Partial<OriginConnections>

const hopAnswer = ({ hop, response: { headers, status }, times }: Answer): HopAnswer => ({
  url: hop.url.href,
  status,
  headers,
  times,
  isFirstOrigin: hop.isFirstOrigin
})

/** `headers` of an answer of `url`'s, whose `Location` leads to the same place for a viewer who asked for `asked`. */
const located = (headers: HeaderFields, url: URL, asked: URL): HeaderFields => {
  const location = headers["location"] === undefined ? null : URL.parse(headers["location"], url.href)
  if (location === null) return headers
  const { hash, href, origin, pathname, search } = location
  return { ...headers, location: origin === asked.origin ? pathname + search + hash : href }
}

/** The fields of a redirect that is passed on without its body. */
const withoutBody = (headers: HeaderFields): HeaderFields => {
  const { "content-encoding": _, "content-type": _1, "transfer-encoding": _2, ...others } = headers
  return { ...others, "content-length": "0" }
}

const make = (config: OriginOptions, connections: Connections, isTraced: boolean) => {
  const limiter = OriginLimiter.make({ limit: config.maxRequests, timeout: config.firstByteTimeout })
  const clients = { any: scoped(connections.any), public: connections.public && scoped(connections.public) }

  /** Sends `message`, once more on a connection of its own where that can do no harm. */
  const send = (clients: ReturnType<typeof scoped>, message: HttpClientRequest.HttpClientRequest, mayRepeat: boolean) =>
    Effect.catch(clients.kept.execute(message), (error) =>
      mayRepeat && connections.wasIdle(error)
        ? Effect.andThen(Metric.update(retries, 1), clients.fresh.execute(message))
        : Effect.fail(error))

  /** Asks one origin, once. */
  const ask = Effect.fnUntraced(function*(request: OriginRequest, hop: Hop, slot: OriginLimiter.Slot) {
    const url = loggable(hop.url.href)
    const allowed = clients[hop.access]
    if (allowed === undefined || (hop.access === "public" && isPrivateLiteral(hop.url))) {
      return yield* new OriginForbidden({ url })
    }
    if (!(yield* limiter.enter(hop.url.origin, request.background === true, slot))) {
      return yield* new OriginTimeout({ url, phase: "queue" })
    }
    const turn = yield* makeTurn(config.firstByteTimeout)
    const body = request.body && upload(request.body, turn)
    turn.begin()
    const traced = isTraced ? { ...hop, headers: { ...hop.headers, ...yield* traceFields } } : hop
    const late = (phase: OriginTimeout["phase"]) => Effect.fail(new OriginTimeout({ url, phase }))
    const answer = send(allowed, messageOf({ ...request, body }, traced), isRepeatable(request)).pipe(
      Effect.mapError((error) => failureOf(url, error)),
      Effect.raceFirst(Effect.andThen(turn.overdue, late("header")))
    )
    if (body === undefined) return yield* answer
    // Anyone who sends a body may be slow at that.
    const wanted = yield* Latch.make()
    slot.idleFor = turn.idleFor
    slot.release = wanted.open
    return yield* Effect.raceFirst(answer, Effect.andThen(wanted.await, late("viewer")))
  })

  /** The same as a span, where somebody listens. */
  const askTraced = (request: OriginRequest, hop: Hop, slot: OriginLimiter.Slot) =>
    ask(request, hop, slot).pipe(
      Effect.tap(({ status }) => Effect.annotateCurrentSpan("http.response.status_code", status)),
      Effect.withSpan(`origin ${request.method}`, {
        kind: "client",
        attributes: { "http.request.method": request.method, "url.full": loggable(hop.url.href) }
      })
    )

  const answerTo = Effect.fnUntraced(function*(request: OriginRequest, hop: Hop) {
    const clock = yield* Clock.Clock
    const connection = yield* Scope.fork(yield* Effect.scope)
    const requested = clock.currentTimeMillisUnsafe()
    const slot = OriginLimiter.makeSlot()
    const response = yield* (isTraced ? askTraced : ask)(request, hop, slot).pipe(
      Scope.provide(connection),
      Effect.onError(() => Scope.close(connection, Exit.void))
    )
    const times = { requested, received: clock.currentTimeMillisUnsafe() }
    return { hop, response, times, connection, slot } satisfies Answer
  })

  /** Frees the connection of a redirect; a short body is read, so that it can be used again. */
  const discard = ({ connection, response }: Answer): Effect.Effect<void> => {
    let left = REDIRECT_BODY_BYTES
    return Stream.runForEachWhile(response.stream, (piece) => Effect.sync(() => (left -= piece.length) > 0)).pipe(
      Effect.timeout(REDIRECT_BODY_MILLIS),
      Effect.ignore,
      Effect.andThen(Scope.close(connection, Exit.void))
    )
  }

  /** The answer to `request`, or the one to which it is redirected, with the fields that make it the answer to `request`. */
  const finalAnswer = Effect.fnUntraced(function*(request: OriginRequest, first: Hop) {
    let answer = yield* answerTo(request, first)
    const followed: Array<HopAnswer> = []
    const maxRedirects = isRead(request.method) && request.body === undefined ? MAX_REDIRECTS : 0
    while (followed.length < maxRedirects) {
      const next = follow(config.origins, answer.hop, answer.response)
      if (next === undefined || needsRedirect(config.origins, first.url, next.url)) break
      yield* discard(answer)
      followed.push(hopAnswer(answer))
      answer = yield* answerTo(request, next)
    }
    const { connection, hop, slot, response } = answer
    const { headers, status, stream } = response
    const url = loggable(hop.url.href)
    const flaw = flawOf(response)
    if (flaw !== undefined) {
      yield* Scope.close(connection, Exit.void)
      return yield* new OriginUnexpected({ url, status, detail: flaw })
    }
    const from = { url, connection, slot }
    const [redirect] = followed
    // Only now it is known what is there.
    if (redirect !== undefined && status < 300 && needsRedirect(config.origins, first.url, hop.url, headers)) {
      const fields = withoutBody(redirect.headers)
      return { ...from, status: redirect.status, headers: fields, setCookie: [], stream: undefined }
    }
    return {
      ...from,
      status,
      headers: redirect === undefined
        ? headers
        : located(foldChain([...followed, hopAnswer(answer)]), hop.url, first.url),
      setCookie: setCookieLines(response),
      stream: hasNoBody(request.method, status) ? undefined : stream
    }
  })

  return Origin.of({
    request: Effect.fnUntraced(function*(request) {
      const url = URL.parse(request.url)
      if (url === null || config.offline) {
        const cause = new OriginFault(config.offline ? "OFFLINE" : "NOT_A_URL")
        return yield* new OriginUnreachable({ url: loggable(request.url), cause })
      }
      const { access = "any", secrets = [] } = request
      const { connection, slot, stream, url: from, ...head } = yield* finalAnswer(request, {
        url,
        access,
        headers: fieldsOf(request),
        secrets: [...secrets, ...config.credentialFields],
        isFirstOrigin: true,
        isCookieWithheld: false
      })
      const abandon = Scope.close(connection, Exit.void)
      if (stream === undefined) {
        yield* abandon
        return { ...head, body: Stream.empty }
      }
      const turn = yield* makeTurn(isEventStream(head.headers) ? Number.POSITIVE_INFINITY : config.silenceTimeout)
      return { ...head, body: withBodyTimeout(stream, { url: from, turn, slot, abandon }), slot }
    }, (effect) => Effect.provideService(effect, HttpClient.TracerDisabledWhen, () => true))
  })
}
