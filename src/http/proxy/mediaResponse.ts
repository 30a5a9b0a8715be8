import { type Clock, Effect, type Scope, Stream } from "effect"
import { HttpBody, HttpServerResponse } from "effect/http"
import { randomBytes } from "node:crypto"
import { hasTags, isTagField, tagFields } from "../../domain/CacheTags.ts"
import type { OriginError } from "../../domain/OriginError.ts"
import { type Representation, statusOf } from "../../domain/Representation.ts"
import { type ByteRange, formatContentRange, formatUnsatisfied } from "../../domain/rfc/ByteRange.ts"
import * as CacheStatus from "../../domain/rfc/CacheStatus.ts"
import { isCoded } from "../../domain/rfc/ContentCoding.ts"
import { age } from "../../domain/rfc/Freshness.ts"
import type { HeaderFields } from "../../domain/rfc/HeaderFields.ts"
import * as Multipart from "../../domain/rfc/Multipart.ts"
import { evaluate, notModifiedHeaders } from "../../domain/rfc/Preconditions.ts"
import { apart } from "../../effects/pieces.ts"
import type { Bytes, Hit, Media, Opened } from "../../services/media/MediaStream.ts"
import type { ShortRead } from "../../services/media/shortReads.ts"
import type { RequestHead } from "./parseRequest.ts"
import { isOfPeer } from "./peerRequests.ts"
import type { Reply, Response } from "./Reply.ts"

/**
 * From what `MediaStream` opened to the response: its status, its fields and its body.
 */

/** The first line and the fields of a response. */
interface Head {
  readonly status: number
  readonly headers: HeaderFields
}

/** A stream without a `Content-Type`. The platform invents one for a body of unknown type, but not for an empty name of a type. */
const untyped = (body: Stream.Stream<Uint8Array, OriginError>, { headers, status }: Head): Response =>
  HttpServerResponse.empty({ status }).pipe(
    HttpServerResponse.setBody(HttpBody.stream(body, "")),
    HttpServerResponse.removeHeader("content-type"),
    HttpServerResponse.setHeaders(headers)
  )

/**
 * A response with these fields, byte for byte, and without a body if there is none. `Content-Length` is the last of them: when Node
 * has seen it, it decodes a `Content-Disposition` as UTF-8, and refuses what it then cannot send.
 */
export const answer = (told: Head, body?: Uint8Array | Stream.Stream<Uint8Array, OriginError>): Response => {
  const { "content-length": length, ...rest } = told.headers
  const head = { ...told, headers: length === undefined ? rest : { ...rest, "content-length": length } }
  if (body === undefined) return HttpServerResponse.empty(head)
  const isTyped = rest["content-type"] !== undefined
  if (body instanceof Uint8Array) {
    return isTyped ? HttpServerResponse.uint8Array(body, head) : HttpServerResponse.raw(body, head)
  }
  return isTyped ? HttpServerResponse.stream(body, head) : untyped(body, head)
}

/** `response` with these lines of `Set-Cookie`. The platform hands the value to Node as it is, which sends a list as lines. */
export const withCookies = (response: Response, lines: ReadonlyArray<string>): Response =>
  lines.length === 0
    ? response
    : HttpServerResponse.setHeader(response, "set-cookie", lines as ReadonlyArray<string> & string)

/** What a viewer's preconditions say of a representation. */
export type Verdict = ReturnType<typeof evaluate>

/** What a head is made from. */
type Told = Pick<Media, "entry" | "isPartial" | "isUnmeasured" | "means" | "status">

/** Whether the origin has just sent or confirmed what is opened, for this viewer or for one at the same time. */
export const isOfNow = ({ means }: Told): boolean =>
  means === "fetched" || means === "validated" || means === "described"

/** What a viewer's preconditions say of what was opened (RFC 9110 §13.2.2). They are ignored if that is not the file (§13.2.1). */
export const verdictOf = (opened: Opened | Hit, request: HeaderFields): Verdict =>
  opened._tag === "Media" && opened.entry.representation.status === undefined
    ? evaluate(request, opened.entry.representation)
    : "Proceed"

/** The fields of a 412 or 416: without those that would have another cache answer with it anyone who asks for the file. */
export const failureHeaders = (headers: HeaderFields): Record<string, string> =>
  Object.fromEntries(
    Object.entries(notModifiedHeaders(headers)).filter(([name]) =>
      name !== "expires" && name !== "surrogate-control" && !name.endsWith("cache-control")
    )
  )

/** What the cache did for a response of `code`. */
const toldStatus = ({ status }: Told, code: number, hasBody: boolean): CacheStatus.CacheStatus => {
  if (status.hit) return status
  const { collapsed: _, fwd, fwdStatus, stored: _1, ...told } = status
  // What needs no asking needs none of its bytes where there is no body.
  if (!hasBody && (fwd === "miss" || fwd === "partial")) return { ...told, hit: true }
  // Said where it is another one only (RFC 9211 §2.3).
  if (fwdStatus !== code) return status
  const { fwdStatus: _2, ...same } = status
  return same
}

/** Names and values in turn. */
type Fields = ReadonlyArray<string>

/** Without `Accept-Ranges` if coded: a client that resumes by a range without `If-Range` would get one of the file itself. */
const fieldsOf = (headers: HeaderFields, isForFile = true): Array<string> => {
  const fields = isForFile && !isCoded(headers) ? ["accept-ranges", "bytes"] : []
  for (const name in headers) {
    if (name !== "cache-status" && !isTagField(name)) fields.push(name, headers[name]!)
  }
  return fields
}

/** Adds the fields with tags to those for another node of a fleet, which purges by them, too. */
const addTags = (fields: Array<string>, headers: HeaderFields): void => {
  for (const name of tagFields) if (headers[name] !== undefined) fields.push(name, headers[name])
}

/** The fields of a whole file may have a `Content-Range`, which means nothing there. */
const withoutRange = (headers: HeaderFields): HeaderFields => {
  const { "content-range": _, ...rest } = headers
  return rest
}

const recordOf = (fields: Fields): Record<string, string> => {
  const record: Record<string, string> = {}
  for (let i = 0; i < fields.length; i += 2) record[fields[i]!] = fields[i + 1]!
  return record
}

/** What all answers with bytes of a representation have in common, worked out once. */
const commonFields = new WeakMap<Representation, Fields>()

const commonFieldsOf = (representation: Representation): Fields => {
  const known = commonFields.get(representation)
  if (known !== undefined) return known
  const fields = fieldsOf(representation.headers, representation.status === undefined)
  commonFields.set(representation, fields)
  return fields
}

/** The first line and the fields of a response, and whether a body follows. */
interface MediaHead {
  readonly status: number
  readonly fields: Fields
  readonly hasBody: boolean
  readonly cacheStatus: CacheStatus.CacheStatus
}

/** The head for `range`, the first one. For several ranges, what is special to them is added by `respond`. */
const headOf = (
  opened: Told,
  verdict: Verdict,
  range: ByteRange | undefined,
  request: RequestHead,
  clock: Clock.Clock
): MediaHead => {
  const { entry: { freshness, representation }, isPartial } = opened
  const { headers, size } = representation
  const status = verdict === "NotModified"
    ? 304
    : verdict === "Failed"
    ? 412
    : range === undefined
    ? 416
    : isPartial
    ? 206
    : statusOf(representation)
  const isWhole = verdict === "Proceed" && range !== undefined
  const hasBody = isWhole && status !== 204 && request.method === "GET"
  const seconds = Math.floor(age(freshness, clock.currentTimeMillisUnsafe()) / 1000)
  const hasOwnRange = status === 206 && headers["content-range"] !== undefined
  const fields = hasOwnRange
    ? fieldsOf(withoutRange(headers))
    : isWhole
    ? commonFieldsOf(representation).slice()
    : fieldsOf(status === 304 ? notModifiedHeaders(headers) : failureHeaders(headers))
  const cacheStatus = toldStatus(opened, status, hasBody)
  if (hasTags(headers) && isOfPeer(request)) addTags(fields, headers)
  fields.push("cache-status", CacheStatus.append(headers["cache-status"], cacheStatus))
  // By an `Age` it is seen that an answer is not the origin's own (RFC 9111 §5.1).
  if (seconds > 0 || !isOfNow(opened)) fields.push("age", String(seconds))
  if (status === 416) fields.push("content-range", formatUnsatisfied(size), "content-length", "0")
  else if (isWhole && status !== 204 && opened.isUnmeasured !== true) {
    fields.push("content-length", String(range.end - range.start))
    if (isPartial) fields.push("content-range", formatContentRange(range, size))
  }
  return { status, fields, hasBody, cacheStatus }
}

/** A response whose body is at hand, in pieces, none where it has none, or is read from disk in one piece. */
export interface PromptResponse {
  readonly status: number
  readonly fields: Fields
  readonly body: ReadonlyArray<Uint8Array> | ShortRead
  readonly cacheStatus: CacheStatus.CacheStatus
}

/** Whether a body is yet to be read. */
export const isToBeRead = (body: PromptResponse["body"]): body is ShortRead => "begin" in body

/** The response to a hit. */
export const promptly = (hit: Hit, request: RequestHead, clock: Clock.Clock): PromptResponse => {
  const verdict = verdictOf(hit, request.headers)
  const { cacheStatus, fields, hasBody, status } = headOf(hit, verdict, hit.range, request, clock)
  return { status, fields, body: hasBody ? hit.body : [], cacheStatus }
}

/** The same for the platform, with a body that is at hand. */
export const toResponse = ({ fields, status }: PromptResponse, pieces: ReadonlyArray<Uint8Array>): Response => {
  const head = { status, headers: recordOf(fields) }
  return answer(head, pieces.length < 2 ? pieces[0] : Buffer.concat(pieces))
}

/** Short bytes are copied: those of many parts may wait for a slow viewer at the same time, and would keep a chunk each. */
const asStream = (bytes: Uint8Array | Stream.Stream<Uint8Array, OriginError>): Stream.Stream<Uint8Array, OriginError> =>
  bytes instanceof Uint8Array ? Stream.succeed(apart(bytes)) : bytes

/** The bytes of a part, looked up when its turn comes. */
const streamOf = (bytes: Bytes): Stream.Stream<Uint8Array, OriginError> => Stream.unwrap(Effect.map(bytes, asStream))

/**
 * The response when the first bytes of its body are there. `finish` gets the stream of the body, to observe how it ends.
 */
export const respond = Effect.fnUntraced(function*(
  opened: Media,
  verdict: Verdict,
  request: RequestHead,
  clock: Clock.Clock,
  finish: (body: Stream.Stream<Uint8Array, OriginError>) => Stream.Stream<Uint8Array, OriginError>
): Effect.fn.Return<Reply, OriginError, Scope.Scope> {
  const [first, ...others] = opened.parts
  const { cacheStatus, fields, hasBody, status } = headOf(opened, verdict, first?.range, request, clock)
  const head = { status, headers: recordOf(fields) }
  if (!hasBody || first === undefined) return { response: answer(head), cacheStatus }
  const bytes = yield* first.bytes
  if (others.length === 0) {
    return { response: answer(head, bytes instanceof Uint8Array ? bytes : finish(bytes)), cacheStatus }
  }
  const { representation } = opened.entry
  const multipart = Multipart.make(
    opened.parts.map(({ range }) => range),
    representation.size,
    representation.headers["content-type"],
    randomBytes(16).toString("hex")
  )
  const { "content-range": _, ...headers } = head.headers
  const streams = [
    asStream(bytes),
    ...others.map((part) => streamOf(part.bytes))
  ]
  const body = streams.reduceRight(
    (rest: Stream.Stream<Uint8Array, OriginError>, stream, i) =>
      Stream.concat(Stream.concat(Stream.succeed(multipart.parts[i]!.head), stream), rest),
    Stream.succeed(multipart.end)
  )
  const response = answer({
    status: head.status,
    headers: {
      ...headers,
      "content-type": multipart.contentType,
      "content-length": String(multipart.contentLength)
    }
  }, finish(body))
  return { response, cacheStatus }
})
