import { type Clock, Effect, type Scope, Stream } from "effect"
import { type Cookies, HttpServerResponse } from "effect/http"
import { randomBytes } from "node:crypto"
import { formatContentRange, formatUnsatisfied } from "../domain/ByteRange.ts"
import * as CacheStatus from "../domain/CacheStatus.ts"
import { age } from "../domain/Freshness.ts"
import type { HeaderFields } from "../domain/Headers.ts"
import * as Multipart from "../domain/Multipart.ts"
import type { OriginError } from "../domain/OriginError.ts"
import { evaluate, notModifiedHeaders } from "../domain/Preconditions.ts"
import type { Bytes, Media } from "../services/MediaStream.ts"

/**
 * From what `MediaStream` opened to the response: its status, its fields and its body.
 */

export type Response = HttpServerResponse.HttpServerResponse

/** The first line and the fields of a response. */
export interface Head {
  readonly status: number
  readonly headers: HeaderFields
  readonly cookies?: Cookies.Cookies
}

/** A response with exactly these fields: the platform would invent a `Content-Type` for a body that has none. */
export const answer = (body: Uint8Array | Stream.Stream<Uint8Array, OriginError>, head: Head): Response => {
  const typed = head.headers["content-type"] !== undefined
  if (body instanceof Uint8Array) {
    return typed ? HttpServerResponse.uint8Array(body, head) : HttpServerResponse.raw(body, head)
  }
  const response = HttpServerResponse.stream(body, head)
  return typed ? response : HttpServerResponse.removeHeader(response, "content-type")
}

/** Whether the origin has just sent or confirmed what is opened, for this viewer or for one at the same time. */
export const isOfNow = ({ means }: Media): boolean => means === "fetched" || means === "validated"

/** What a viewer's preconditions make of it (RFC 9110 §13.2.2). */
export const verdictOf = (opened: Media, request: HeaderFields) => evaluate(request, opened.entry.representation)

/** The fields of a 412 or 416: without those that would have another cache answer with it whoever asks for the file. */
const failureHeaders = (headers: HeaderFields): Record<string, string> =>
  Object.fromEntries(
    Object.entries(notModifiedHeaders(headers)).filter(([name]) =>
      name !== "expires" && name !== "surrogate-control" && !name.endsWith("cache-control")
    )
  )

/** What the cache did for a response of `code`. */
const toldStatus = ({ status }: Media, code: number, hasBody: boolean): CacheStatus.CacheStatus => {
  if (status.hit) return status
  const { collapsed: _, fwd, fwdStatus, stored: _1, ...told } = status
  // What needs no asking needs none of its bytes where there is no body.
  if (!hasBody && (fwd === "miss" || fwd === "partial")) return { ...told, hit: true }
  // Said where it is another one only (RFC 9211 §2.3).
  if (fwdStatus !== code) return status
  const { fwdStatus: _2, ...same } = status
  return same
}

/** The head of the response, and whether a body follows. For several ranges, what is special to them is added by `respond`. */
const headOf = (
  opened: Media,
  request: { readonly method: string; readonly headers: HeaderFields },
  clock: Clock.Clock
): Head & { readonly hasBody: boolean } => {
  const { entry: { freshness, representation: { headers, size } }, isPartial, parts: [first] } = opened
  const verdict = verdictOf(opened, request.headers)
  const status = verdict === "NotModified"
    ? 304
    : verdict === "Failed"
    ? 412
    : first === undefined
    ? 416
    : isPartial
    ? 206
    : 200
  const hasBody = status < 300 && request.method === "GET"
  const seconds = Math.floor(age(freshness, clock.currentTimeMillisUnsafe()) / 1000)
  // One object, filled in place: this is done for every answer.
  const told: Record<string, string> = status === 304
    ? notModifiedHeaders(headers)
    : status >= 400
    ? failureHeaders(headers)
    : { ...headers }
  told["accept-ranges"] = "bytes"
  told["cache-status"] = CacheStatus.append(headers["cache-status"], toldStatus(opened, status, hasBody))
  // By an `Age` it is seen that an answer is not the origin's own (RFC 9111 §5.1).
  if (seconds > 0 || !isOfNow(opened)) told["age"] = String(seconds)
  if (status === 416) {
    told["content-range"] = formatUnsatisfied(size)
    told["content-length"] = "0"
  } else if (status < 300 && first !== undefined) {
    told["content-length"] = String(first.range.end - first.range.start)
    if (isPartial) told["content-range"] = formatContentRange(first.range, size)
  }
  return { status, headers: told, hasBody }
}

/** The response where all that it takes is at hand. */
export const respondNow = (
  opened: Media,
  request: { readonly method: string; readonly headers: HeaderFields },
  clock: Clock.Clock
): Response | undefined => {
  const [part] = opened.parts
  if (opened.parts.length > 1 || (part !== undefined && !(part.bytes instanceof Uint8Array))) return undefined
  const head = headOf(opened, request, clock)
  return head.hasBody ? answer(part!.bytes as Uint8Array, head) : HttpServerResponse.empty(head)
}

const streamOf = (bytes: Bytes): Stream.Stream<Uint8Array, OriginError> =>
  bytes instanceof Uint8Array ? Stream.succeed(bytes) : Stream.unwrap(bytes)

/**
 * The response when the first bytes of its body are there. `finish` gets the stream of the body, to be told how it ends.
 */
export const respond = Effect.fnUntraced(function*(
  opened: Media,
  request: { readonly method: string; readonly headers: HeaderFields },
  clock: Clock.Clock,
  finish: (body: Stream.Stream<Uint8Array, OriginError>) => Stream.Stream<Uint8Array, OriginError>
): Effect.fn.Return<Response, OriginError, Scope.Scope> {
  const head = headOf(opened, request, clock)
  const [first, ...others] = opened.parts
  if (!head.hasBody || first === undefined) return HttpServerResponse.empty(head)
  const bytes = first.bytes instanceof Uint8Array ? first.bytes : yield* first.bytes
  if (others.length === 0) return answer(bytes instanceof Uint8Array ? bytes : finish(bytes), head)
  const { representation } = opened.entry
  const multipart = Multipart.make(
    opened.parts.map(({ range }) => range),
    representation.size,
    representation.headers["content-type"],
    randomBytes(16).toString("hex")
  )
  const { "content-range": _, ...headers } = head.headers
  const streams = [
    bytes instanceof Uint8Array ? Stream.succeed(bytes) : bytes,
    ...others.map((part) => streamOf(part.bytes))
  ]
  const body = streams.reduceRight(
    (rest: Stream.Stream<Uint8Array, OriginError>, stream, i) =>
      Stream.concat(Stream.concat(Stream.succeed(multipart.parts[i]!.head), stream), rest),
    Stream.succeed(multipart.end)
  )
  return answer(finish(body), {
    status: head.status,
    headers: {
      ...headers,
      "content-type": multipart.contentType,
      "content-length": String(multipart.contentLength)
    }
  })
})
