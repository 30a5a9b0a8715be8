import { Context } from "effect"
import type { IncomingMessage } from "node:http"
import { loggable } from "../domain/OriginError.ts"
import type { BodySource, WatchedResponse } from "./WatchedResponse.ts"

/** What the cache did for an answer; `other` for those that are no files, such as Spillway's own pages. */
export type Outcome = "hit" | "miss" | "partial" | "stale" | "bypass" | "other"

/** A request that is over. */
export interface Exchange {
  readonly method: string
  /** As it was asked for, without query, user and password. */
  readonly url: string
  /** The status, or 0 where no head was sent. */
  readonly status: number
  readonly outcome: Outcome
  readonly source: BodySource | undefined
  /** The detail of the answer's `Cache-Status`, such as `DISK_FULL`. */
  readonly detail: string | undefined
  /** Bytes of the body. Of a cut one, those that were handed to the connection. */
  readonly bytes: number
  /** From the request's head to the answer's end. */
  readonly milliseconds: number
  /** Whether the answer did not come to its end. */
  readonly isCut: boolean
}

/** Is told of each request when its answer has ended; nobody is unless one is provided. It must neither wait nor fail. */
export class RequestLog extends Context.Reference<((exchange: Exchange) => void) | undefined>(
  "spillway/http/RequestLog",
  { defaultValue: () => undefined }
) {}

const outcomes: Record<string, Outcome> = {
  "uri-miss": "miss",
  "vary-miss": "miss",
  "miss": "miss",
  "request": "stale",
  "stale": "stale",
  "partial": "partial",
  "bypass": "bypass",
  "method": "bypass"
}

/** The outcome and detail that a `Cache-Status` tells, Spillway being the last in its list. */
export const outcomeOf = (cacheStatus: string | undefined): readonly [Outcome, string | undefined] => {
  if (cacheStatus === undefined) return ["other", undefined]
  const own = cacheStatus.slice(cacheStatus.lastIndexOf("spillway;"))
  const detail = own.includes("; detail=") ? /; detail=([\w-]+)/.exec(own)?.[1] : undefined
  if (own.startsWith("spillway; hit")) return ["hit", detail]
  return [outcomes[/; fwd=([\w-]+)/.exec(own)?.[1] ?? ""] ?? "other", detail]
}

/** What there is to be said of an answer that has ended. */
export const exchangeOf = (response: WatchedResponse): Exchange => {
  const { req } = response as WatchedResponse & { readonly req: IncomingMessage }
  const [outcome, detail] = outcomeOf(response.cacheStatus)
  const isCut = !response.writableFinished
  const hasBody = req.method !== "HEAD" && response.statusCode !== 304 && response.statusCode !== 204
  return {
    method: req.method ?? "",
    url: loggable(req.url ?? ""),
    status: response.headersSent ? response.statusCode : 0,
    outcome,
    source: response.source,
    detail,
    bytes: hasBody ? response.bodyBytes : 0,
    milliseconds: performance.now() - response.startedAt,
    isCut
  }
}

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
