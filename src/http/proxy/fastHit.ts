import { Clock, Effect } from "effect"
import type { HttpServerRequest } from "effect/http"
import { MediaStream } from "../../services/media/MediaStream.ts"
import { Counters } from "../../services/observe/Counters.ts"
import { PREFIX } from "../admin/AdminPages.ts"
import { isLoop } from "./loopDetection.ts"
import { promptly, type PromptResponse } from "./mediaResponse.ts"
import { isFreshRequest, makeParseRequest, type ParsedRequest, type RequestHead } from "./parseRequest.ts"

/**
 * The fast path: hits in memory, sent from Node's `request` event. A fiber of the platform would cost more than the hit. A request that
 * turns out to need more goes to the handler together with what has been parsed of it.
 */
export const makeFastHit = Effect.gen(function*() {
  const clock = yield* Clock.Clock
  const counters = yield* Counters
  const media = yield* MediaStream
  const parse = yield* makeParseRequest
  /** Requests that the fast path has handed to the handler, by Node's request. */
  const handedOn = new WeakMap<object, ParsedRequest>()

  /** The response if memory has all of it. */
  const memoryHit = (request: RequestHead, parsed: ParsedRequest): PromptResponse | undefined => {
    const hit = isFreshRequest(parsed, request) ? media.tryMemoryHit(parsed) : undefined
    if (hit === undefined) return undefined
    const response = promptly(hit, request, clock)
    counters.request("hit")
    for (const piece of response.pieces) counters.bytes("memory", piece.length)
    return response
  }

  /** Replies to a request if that takes no waiting, as for most requests. */
  const tryReply = (request: RequestHead): PromptResponse | undefined => {
    const { headers, method, url } = request
    if (method !== "GET" || isLoop(headers["via"]) || url.startsWith(PREFIX)) return undefined
    const parsed = parse(request)
    if ("status" in parsed) return undefined
    const response = memoryHit(request, parsed)
    if (response === undefined) handedOn.set(request, parsed)
    return response
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
