import { NodeHttpServerRequest } from "@effect/platform-node"
import { Context, Effect } from "effect"
import { HttpServerRequest } from "effect/http"
import type { IncomingMessage } from "node:http"
import { loggable } from "../../domain/OriginError.ts"
import { type Outcome, outcomeOf } from "../../domain/rfc/CacheStatus.ts"
import { SourceListener } from "../../services/observe/ActiveStreams.ts"
import type { ByteSource } from "../../services/observe/Counters.ts"
import type { Handler } from "../proxy/Reply.ts"
import { setCacheStatus, WatchedResponse } from "./WatchedResponse.ts"

/** A request that is over. */
export interface Exchange {
  readonly method: string
  /** As it was requested, without query, user and password. */
  readonly url: string
  /** The status, or 0 where no head was sent. */
  readonly status: number
  readonly outcome: Outcome
  readonly source: ByteSource | undefined
  /** The detail of the answer's `Cache-Status`, such as `DISK_FULL`. */
  readonly detail: string | undefined
  /** Bytes of the body. Of a cut one, those that were handed to the connection. */
  readonly bytes: number
  /** From the request's head to the answer's end. */
  readonly milliseconds: number
  /** Whether the answer did not come to its end. */
  readonly isCut: boolean
}

/** Gets each request when its answer has ended; without a provided log, nothing does. It must neither wait nor fail. */
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

/** What there is to be said of an answer that has ended. */
export const exchangeOf = (response: WatchedResponse): Exchange => {
  const { req } = response as WatchedResponse & { readonly req: IncomingMessage }
  const { cacheStatus = {} } = response
  const outcome = outcomeOf(cacheStatus)
  const isCut = !response.writableFinished
  const hasBody = req.method !== "HEAD" && response.statusCode !== 304 && response.statusCode !== 204
  const bytes = hasBody ? response.bodyBytes : 0
  return {
    method: req.method ?? "",
    url: loggable(req.url ?? ""),
    status: response.headersSent ? response.statusCode : 0,
    outcome,
    source: bytes === 0 ? undefined : response.source ?? sourceOf(outcome),
    detail: cacheStatus.detail,
    bytes,
    milliseconds: performance.now() - response.startedAt,
    isCut
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

/** Only what every terminal and every reader of logs takes for what it is. */
const printable = /^[\x21-\x7e]*$/

const safe = (url: string): string => printable.test(url) ? url : url.replace(/[^\x21-\x7e…]/g, escape)

const escape = (character: string): string => `%${character.charCodeAt(0).toString(16).toUpperCase().padStart(2, "0")}`

const rounded = (milliseconds: number): number => Math.round(milliseconds * 100) / 100

/** A line of JSON, with the fields of the other lines of the log. */
export const formatJson = (exchange: Exchange, timestamp: string): string => {
  const { bytes, detail, isCut, method, milliseconds, outcome, source, status, url } = exchange
  return `{"timestamp":"${timestamp}","level":"INFO","message":"request","method":"${method}","url":${
    JSON.stringify(safe(url))
  },"status":${status},"outcome":"${outcome}"${source === undefined ? "" : `,"source":"${source}"`}${
    detail === undefined ? "" : `,"detail":"${detail}"`
  },"bytes":${bytes},"milliseconds":${rounded(milliseconds)}${isCut ? ",\"cut\":true" : ""}}`
}

/** A line for people. */
export const formatPretty = (exchange: Exchange, timestamp: string): string => {
  const { bytes, detail, isCut, method, milliseconds, outcome, source, status, url } = exchange
  const how = [outcome, source, detail].filter((word) => word !== undefined).join(" ")
  const end = isCut ? " CUT" : ""
  return `[${timestamp.slice(11, 23)}] INFO: ${method} ${safe(url)} ${status} ${how} ${bytes} B ${
    rounded(milliseconds)
  } ms${end}`
}
