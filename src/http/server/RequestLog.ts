import { NodeHttpServerRequest } from "@effect/platform-node"
import { Context, Effect } from "effect"
import { HttpServerRequest, type HttpServerResponse } from "effect/http"
import type { IncomingMessage } from "node:http"
import { loggable } from "../../domain/OriginError.ts"
import { type CacheStatus, type Outcome, outcomeOf } from "../../domain/rfc/CacheStatus.ts"
import { SourceListener } from "../../services/observe/ActiveStreams.ts"
import type { ByteSource } from "../../services/observe/Counters.ts"
import { WatchedResponse } from "./WatchedResponse.ts"

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

/** The outcome and detail that a `Cache-Status` tells, Spillway being the last in its list; `other` for answers without one. */
export const toldBy = (cacheStatus: string | undefined): readonly [Outcome, string | undefined] => {
  if (cacheStatus === undefined) return ["other", undefined]
  const own = cacheStatus.slice(cacheStatus.lastIndexOf("spillway;"))
  const detail = own.includes("; detail=") ? /; detail=([\w-]+)/.exec(own)?.[1] : undefined
  if (own.startsWith("spillway; hit")) {
    return [outcomeOf({ hit: true, ...(detail !== undefined && { detail }) }), detail]
  }
  const fwd = /; fwd=([\w-]+)/.exec(own)?.[1] as CacheStatus["fwd"]
  return [outcomeOf(fwd === undefined ? {} : { fwd }), detail]
}

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
  const [outcome, detail] = toldBy(response.cacheStatus)
  const isCut = !response.writableFinished
  const hasBody = req.method !== "HEAD" && response.statusCode !== 304 && response.statusCode !== 204
  const bytes = hasBody ? response.bodyBytes : 0
  return {
    method: req.method ?? "",
    url: loggable(req.url ?? ""),
    status: response.headersSent ? response.statusCode : 0,
    outcome,
    source: bytes === 0 ? undefined : response.source ?? sourceOf(outcome),
    detail,
    bytes,
    milliseconds: performance.now() - response.startedAt,
    isCut
  }
}

/** `handler`, which tells the log where the bytes of a stream come from. */
export const listened = <E, R>(
  handler: Effect.Effect<HttpServerResponse.HttpServerResponse, E, R>
): Effect.Effect<HttpServerResponse.HttpServerResponse, E, R | HttpServerRequest.HttpServerRequest> =>
  Effect.flatMap(HttpServerRequest.HttpServerRequest, (request) => {
    const response = NodeHttpServerRequest.toServerResponse(request)
    return response instanceof WatchedResponse
      ? Effect.provideService(handler, SourceListener, (source) => void (response.source = source))
      : handler
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
