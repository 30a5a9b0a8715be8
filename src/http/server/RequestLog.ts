import { NodeHttpServerRequest } from "@effect/platform-node"
import { Context, Effect } from "effect"
import { HttpServerRequest } from "effect/http"
import type { IncomingMessage } from "node:http"
import { loggable } from "../../domain/OriginError.ts"
import { type Outcome, outcomeOf } from "../../domain/rfc/CacheStatus.ts"
import { SourceListener } from "../../services/observe/ActiveStreams.ts"
import type { ByteSource } from "../../services/observe/Counters.ts"
import { type EndedResponse, ResponseMetrics, type ResponseTrace } from "../../services/observe/ResponseMetrics.ts"
import { LOCAL_PATH } from "../../services/origin/LocalUrls.ts"
import { URL_PATH } from "../../services/origin/OriginResolver.ts"
import { PREFIX } from "../admin/AdminPages.ts"
import type { Handler } from "../proxy/Reply.ts"
import { setCacheStatus, WatchedResponse } from "./WatchedResponse.ts"

/**
 * A request that has ended. Texts of the viewer can have any character that a header field can have.
 *
 * @since 0.1.0
 * @category models
 */
export interface Exchange extends EndedResponse {
  /** The address of the client, which may be a proxy. */
  readonly client: string | undefined
  /** What `X-Forwarded-For` claims: the addresses of the viewer and of proxies. */
  readonly forwardedFor: string | undefined
  readonly host: string | undefined
  readonly method: string
  /** As it was requested, without query, user and password. */
  readonly url: string
  readonly httpVersion: string
  readonly range: string | undefined
  readonly referer: string | undefined
  readonly userAgent: string | undefined
  /** The trace ID of `traceparent`, or else `X-Request-Id`, to find the request in the logs of other programs. */
  readonly requestId: string | undefined
  /** Whether it was for one of Spillway's own pages. */
  readonly isOwnPage: boolean
  readonly outcome: Outcome
  /** The detail of the answer's `Cache-Status`, such as `DISK_FULL`. */
  readonly detail: string | undefined
  /** Bytes of the body. Of a cut one, those that were handed to the connection. */
  readonly bytes: number
  /** Whether the answer did not come to its end. */
  readonly isCut: boolean
}

/**
 * A function that gets each request when its response has ended. It must neither wait nor fail. By default, there is no log.
 *
 * @example
 * ```ts
 * import { Layer } from "effect"
 * import { RequestLog } from "spillway"
 *
 * const log = Layer.succeed(RequestLog, ({ bytes, method, outcome, status, url }) =>
 *   console.log(`${method} ${url} ${status} ${outcome} ${bytes}`))
 * ```
 *
 * @since 0.1.0
 * @category services
 */
export class RequestLog extends Context.Reference<((exchange: Exchange) => void) | undefined>(
  "spillway/http/server/RequestLog",
  { defaultValue: () => undefined }
) {}

/** Where the bytes of an answer came from that was no stream of a file's. */
const sourceOf = (outcome: Outcome): ByteSource | undefined => {
  switch (outcome) {
    case "hit":
      return "memory"
    case "bypass":
      return "passthrough"
    case "other":
      return undefined
    default:
      return "origin"
  }
}

/** Whether `url` is for one of Spillway's own pages, not for content below the same prefix. */
const isOwnPage = (url: string): boolean =>
  url.startsWith(PREFIX) && !url.startsWith(URL_PATH) && !url.startsWith(LOCAL_PATH)

/** The longest text of a request field that is logged, in characters. */
const MAX_FIELD_LENGTH = 512

const textOf = (field: string | Array<string> | undefined): string | undefined =>
  field === undefined ? undefined : String(field).slice(0, MAX_FIELD_LENGTH)

/** A `Host` field that is one. Anything may be in others, also what was meant for another field. */
const HOST = /^(?:[\w.-]+|\[[\da-f:.]+\])(?::\d{1,5})?$/i

/** The trace ID and the flags in `traceparent` (W3C Trace Context §3.2). An ID of zeros is invalid. */
const TRACE_PARENT = /^[\da-f]{2}-(?!0{32})([\da-f]{32})-[\da-f]{16}-([\da-f]{2})/

const requestIdOf = ({ traceparent, "x-request-id": id }: IncomingMessage["headers"]): string | undefined =>
  (typeof traceparent === "string" ? TRACE_PARENT.exec(traceparent)?.[1] : undefined) ?? textOf(id)

/** How many bytes of the body of an answer were sent. */
const bytesOf = ({ bodyBytes, req, statusCode }: WatchedResponse): number =>
  req.method !== "HEAD" && statusCode !== 304 && statusCode !== 204 ? bodyBytes : 0

/** What is counted of an answer that has ended. */
const endedOf = (response: WatchedResponse): EndedResponse => {
  const { cacheStatus = {}, firstByteAt, headersSent, source, startedAt, statusCode } = response
  return {
    status: headersSent ? statusCode : 0,
    source: bytesOf(response) === 0 ? undefined : source ?? sourceOf(outcomeOf(cacheStatus)),
    firstByteMillis: firstByteAt === undefined ? undefined : firstByteAt - startedAt,
    milliseconds: performance.now() - startedAt
  }
}

/** The trace of a response that ends now, if it is sampled: the others are recorded nowhere. */
const traceOf = (traceparent: string | Array<string> | undefined): ResponseTrace | undefined => {
  if (typeof traceparent !== "string") return undefined
  const [, traceId, flags = ""] = TRACE_PARENT.exec(traceparent) ?? []
  const isSampled = Number.parseInt(flags, 16) % 2 === 1
  return traceId === undefined || !isSampled ? undefined : { traceId, at: Date.now() }
}

/** What there is to be said of an answer that has ended. */
const exchangeOf = (response: WatchedResponse, ended: EndedResponse, isOwnPage: boolean): Exchange => {
  const { cacheStatus = {}, req } = response
  const { headers } = req
  return {
    ...ended,
    client: req.socket.remoteAddress,
    forwardedFor: textOf(headers["x-forwarded-for"]),
    host: HOST.test(headers["host"] ?? "") ? textOf(headers["host"]) : undefined,
    method: req.method ?? "",
    url: loggable(req.url ?? ""),
    httpVersion: req.httpVersion,
    range: textOf(headers["range"]),
    referer: headers["referer"] === undefined ? undefined : textOf(loggable(headers["referer"])),
    userAgent: textOf(headers["user-agent"]),
    requestId: requestIdOf(headers),
    isOwnPage,
    outcome: outcomeOf(cacheStatus),
    detail: cacheStatus.detail,
    bytes: bytesOf(response),
    isCut: !response.writableFinished
  }
}

/** `handler`, which records for the log what the cache did, and where the bytes of a stream come from. */
export const logged = (handler: Handler): Handler =>
  Effect.flatMap(HttpServerRequest.HttpServerRequest, (request) => {
    const response = NodeHttpServerRequest.toServerResponse(request)
    if (!(response instanceof WatchedResponse)) return handler
    return handler.pipe(
      Effect.tap(({ cacheStatus }) => Effect.sync(() => setCacheStatus(response, cacheStatus))),
      Effect.provideService(SourceListener, (source) => void (response.source = source))
    )
  })

/** Makes the function that counts and logs a response that has ended. Spillway's own pages don't count. */
export const makeOnAnswered = Effect.gen(function*() {
  const { record } = yield* ResponseMetrics
  const log = yield* RequestLog
  return (response: WatchedResponse): void => {
    const ended = endedOf(response)
    const isOwn = isOwnPage(response.req.url ?? "")
    if (!isOwn) record(ended, traceOf(response.req.headers["traceparent"]))
    // Its texts are costly, and not every server has a log.
    if (log !== undefined) log(exchangeOf(response, ended, isOwn))
  }
})
