import { Clock, Effect } from "effect"
import type { HttpServerRequest } from "effect/http"
import { MediaStream } from "../../services/media/MediaStream.ts"
import type { ShortRead } from "../../services/media/shortReads.ts"
import { type ByteSource, Counters } from "../../services/observe/Counters.ts"
import { PREFIX } from "../admin/AdminPages.ts"
import { namesPlaces } from "./locations.ts"
import { isLoop } from "./loopDetection.ts"
import { isToBeRead, promptly, type PromptResponse, toResponse } from "./mediaResponse.ts"
import { isFreshRequest, makeParseRequest, type ParsedRequest, type RequestHead } from "./parseRequest.ts"
import type { Reply } from "./Reply.ts"

/**
 * The fast path: hits in memory, sent from Node's `request` event, and short ranges from disk, sent when they are read. A fiber of the
 * platform would cost more than the hit. A request that
 * turns out to need more goes to the handler together with what has been parsed of it.
 */
export const makeFastHit = Effect.gen(function*() {
  const clock = yield* Clock.Clock
  const counters = yield* Counters
  const media = yield* MediaStream
  const parse = yield* makeParseRequest
  /** Requests that the fast path has handed to the handler, by Node's request. */
  const handedOn = new WeakMap<object, ParsedRequest>()

  const count = (source: ByteSource, pieces: ReadonlyArray<Uint8Array>): void => {
    counters.request("hit")
    for (const piece of pieces) counters.bytes(source, piece.length)
  }

  /** The response to a hit of few bytes. Those that are in memory are counted. */
  const hit = (request: RequestHead, parsed: ParsedRequest): PromptResponse | undefined => {
    // The places that a response names depend on the route by which its viewer has come.
    const isPlain = isFreshRequest(parsed, request) && !namesPlaces(parsed.fresh.representation.headers)
    const found = isPlain ? media.tryHit(parsed) : undefined
    if (found === undefined) return undefined
    const response = promptly(found, request, clock)
    if (!isToBeRead(response.body)) count("memory", response.body)
    return response
  }

  /** `body`, counted when it is read. If it can't be read, the handler replies to the request. */
  const watched = (body: ShortRead, request: RequestHead, parsed: ParsedRequest): ShortRead => ({
    begin: (done) =>
      body.begin((pieces) => {
        if (pieces === undefined) handedOn.set(request, parsed)
        else count("disk", pieces)
        done(pieces)
      }),
    release: body.release
  })

  /** The reply from memory, if memory has all of it. */
  const memoryHit = (request: RequestHead, parsed: ParsedRequest): Reply | undefined => {
    const response = hit(request, parsed)
    if (response === undefined || isToBeRead(response.body)) return undefined
    return { response: toResponse(response, response.body), cacheStatus: response.cacheStatus }
  }

  /** Replies to a request if that takes no waiting, or one read from disk, as for most requests. */
  const tryReply = (request: RequestHead): PromptResponse | undefined => {
    const { headers, method, url } = request
    if (method !== "GET" || isLoop(headers["via"]) || url.startsWith(PREFIX)) return undefined
    const parsed = parse(request)
    if ("status" in parsed) return undefined
    const response = hit(request, parsed)
    if (response === undefined) handedOn.set(request, parsed)
    return response !== undefined && isToBeRead(response.body)
      ? { ...response, body: watched(response.body, request, parsed) }
      : response
  }

  /** What `tryReply` has parsed of a request that it handed on. */
  const parsedBefore = ({ source }: HttpServerRequest.HttpServerRequest): ParsedRequest | undefined =>
    handedOn.get(source)

  /** Whether the cache has all that a request wants, fresh for it. */
  const isCachedAndFresh = (request: HttpServerRequest.HttpServerRequest): boolean => {
    if (request.method !== "GET" || request.url.startsWith(PREFIX)) return false
    const parsed = parsedBefore(request) ?? parse(request)
    return !("status" in parsed) && isFreshRequest(parsed, request) && media.isCached(parsed)
  }

  return { isCachedAndFresh, memoryHit, parse, parsedBefore, tryReply }
})
