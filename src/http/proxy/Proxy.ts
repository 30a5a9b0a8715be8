import { Clock, Context, Effect, Layer, type Scope, Stream } from "effect"
import { HttpServerRequest, HttpServerResponse } from "effect/http"
import { IncomingMessage } from "node:http"
import { loggable, type OriginError, OriginTimeout } from "../../domain/OriginError.ts"
import type { Resource } from "../../domain/Resource.ts"
import { parseRanges } from "../../domain/rfc/ByteRange.ts"
import { noCache, requestDirectives } from "../../domain/rfc/CacheControl.ts"
import * as CacheStatus from "../../domain/rfc/CacheStatus.ts"
import { age, ttlSeconds } from "../../domain/rfc/Freshness.ts"
import { endToEnd, type HeaderFields } from "../../domain/rfc/HeaderFields.ts"
import { matchesAny } from "../../domain/TtlRule.ts"
import { SHORT_BYTES } from "../../effects/pieces.ts"
import { CacheConfig } from "../../services/config/CacheConfig.ts"
import { OriginConfig } from "../../services/config/OriginConfig.ts"
import type { Lookup } from "../../services/media/Lookup.ts"
import type { Final } from "../../services/media/LookupResult.ts"
import { MediaStream, type Opened } from "../../services/media/MediaStream.ts"
import { ActiveStreams } from "../../services/observe/ActiveStreams.ts"
import { Counters } from "../../services/observe/Counters.ts"
import { askOrigin, type Source } from "../../services/origin/askOrigin.ts"
import { Origin, type OriginResponse } from "../../services/origin/Origin.ts"
import { LOCATE_MILLIS, OriginResolver } from "../../services/origin/OriginResolver.ts"
import { AdminPages, PREFIX } from "../admin/AdminPages.ts"
import { makeAccounting, viewerOf } from "./accounting.ts"
import { beginBody } from "./beginBody.ts"
import { originFailed, refused, text } from "./errorResponses.ts"
import { type Names, ofTheHop, ofTheViewer } from "./forwardedFields.ts"
import { answering } from "./inHand.ts"
import { makeLocations } from "./locations.ts"
import { isLoop } from "./loopDetection.ts"
import {
  answer,
  isOfNow,
  promptly,
  type PromptResponse,
  respond,
  type Response,
  toResponse,
  verdictOf,
  withCookies
} from "./mediaResponse.ts"
import { ALLOW } from "./methods.ts"
import { anonymous, foreign, isNamed } from "./namedUrl.ts"
import { makeOriginLog } from "./originLog.ts"
import { StreamLimit } from "./StreamLimit.ts"
import { awaitTurn, isInLine, nodeResponse } from "./turn.ts"
import { makeWriteThrough } from "./writeThrough.ts"

type Request = HttpServerRequest.HttpServerRequest

/** What of a request tells whether it can be answered at once. */
export interface Asked {
  readonly method: string
  readonly url: string
  readonly headers: HeaderFields
}

/** Answers a request; never fails. */
export type Handler = Effect.Effect<Response, never, HttpServerRequest.HttpServerRequest | Scope.Scope>

/**
 * The reverse proxy as an HTTP handler: requests to `MediaStream`, and what it opens to responses. Knows HTTP, and nothing
 * of disks.
 */
export class Proxy extends Context.Service<Proxy, {
  readonly handler: Handler
  /** What `handler` would answer where that takes no waiting, as most requests do; `undefined` for all others. */
  readonly answerNow: (request: Asked) => PromptResponse | undefined
  /** Whether `handler` would find all that is requested in the cache, for this viewer too. */
  readonly isCachedAndFresh: (request: Asked) => boolean
  /** Says at `/_spillway/ready` from now on that the server is about to end. */
  readonly drain: Effect.Effect<void>
}>()("spillway/http/proxy/Proxy") {
  static readonly layer: Layer.Layer<
    Proxy,
    never,
    | ActiveStreams
    | AdminPages
    | CacheConfig
    | StreamLimit
    | Lookup
    | MediaStream
    | Origin
    | OriginConfig
    | OriginResolver
    | Counters
  > = Layer.effect(Proxy, Effect.suspend(() => make))
}

const replaced = new Set(["cache-status", "set-cookie"])

/**
 * Whether the platform asks for the next piece of a body only when all of a long one has been handed to the kernel: it waits for
 * `drain` behind a piece that is at least as long as the mark.
 */
const waitsForDrain = ({ source }: Request): boolean => {
  if (!(source instanceof IncomingMessage) || source.httpVersionMajor !== 1) return false
  return source.socket.writableHighWaterMark <= SHORT_BYTES
}

const make = Effect.gen(function*() {
  const activeStreams = yield* ActiveStreams
  const media = yield* MediaStream
  const admin = yield* AdminPages
  const limits = yield* StreamLimit
  const origin = yield* Origin
  const resolver = yield* OriginResolver
  const counters = yield* Counters
  const clock = yield* Clock.Clock
  const { ignoreCookies } = yield* CacheConfig
  const { credentialFields } = yield* OriginConfig
  const locations = yield* makeLocations

  const { count, passing } = makeAccounting(activeStreams, counters)
  const log = makeOriginLog()

  const logCut = (url: string) => (body: Stream.Stream<Uint8Array, OriginError>) =>
    Stream.tapError(body, (error) => log.cut(url, error))

  const sourceOf = (resource: Resource, request: Pick<Request, "headers" | "url">, fields: HeaderFields): Source => ({
    fields,
    locate: (refusal) =>
      Effect.timeoutOrElse(resolver.locate({ target: request.url, headers: request.headers }, resource, refusal), {
        duration: LOCATE_MILLIS,
        orElse: () => Effect.fail(new OriginTimeout({ url: loggable(resource.url), phase: "location" }))
      })
  })

  /** The fields of a GET or HEAD for the origin. */
  const fieldsFor = ({ url }: Resource, { headers }: Request, drop: Names): HeaderFields => {
    const fields = endToEnd(headers, drop)
    if (fields["cookie"] !== undefined && matchesAny(ignoreCookies, url)) delete fields["cookie"]
    return fields
  }

  /** The origin's answer as it is to the viewer. */
  const passedOn = Effect.fnUntraced(function*(
    resource: Resource,
    { body, headers, setCookie, status }: OriginResponse,
    request: Request,
    cacheStatus: CacheStatus.CacheStatus
  ) {
    count(cacheStatus)
    const head = {
      status,
      headers: {
        ...locations.toViewer(endToEnd(headers, replaced), resource.url, request),
        "cache-status": CacheStatus.append(headers["cache-status"], cacheStatus)
      }
    }
    const bodiless = request.method === "HEAD" || status === 204 || status === 304
    if (bodiless) return withCookies(answer(head), setCookie)
    const stream = yield* passing(body, resource, request, headers, cacheStatus.detail)
    return withCookies(answer(head, logCut(resource.url)(yield* beginBody(stream, request))), setCookie)
  })

  /** A GET or HEAD as it is to the origin. */
  const forward = Effect.fnUntraced(function*(resource: Resource, request: Request, detail: string) {
    const method = request.method === "HEAD" ? "HEAD" : "GET"
    const source = sourceOf(resource, request, fieldsFor(resource, request, ofTheHop))
    const response = yield* askOrigin(origin, source, { method, headers: {} })
    return yield* passedOn(resource, response, request, { fwd: "bypass", detail })
  })

  const writeThrough = yield* makeWriteThrough({
    locations,
    passedOn,
    locate: (resource, { headers }, url) => sourceOf(resource, { headers, url }, {}).locate()
  })

  /** A short answer that is for all, kept for a while or not. */
  const finalOf = (
    { answer: final, asked, collapsed = false, freshness, stored = false }: Final,
    resource: Resource,
    request: Request
  ): Response => {
    const { body, headers: received, status } = final
    const now = clock.currentTimeMillisUnsafe()
    const cacheStatus: CacheStatus.CacheStatus = freshness === undefined
      ? { fwd: asked?.reason ?? "uri-miss", fwdStatus: status, stored, collapsed }
      : { hit: true, ttl: ttlSeconds(freshness, now) }
    count(cacheStatus)
    const headers = {
      ...locations.toViewer(endToEnd(received, replaced), resource.url, request),
      ...(freshness !== undefined && { age: String(Math.floor(age(freshness, now) / 1000)) }),
      "cache-status": CacheStatus.append(received["cache-status"], cacheStatus)
    }
    return answer({ status, headers }, request.method === "HEAD" || body.length === 0 ? undefined : body)
  }

  const respondTo = Effect.fnUntraced(function*(opened: Opened, resource: Resource, request: Request) {
    switch (opened._tag) {
      case "Media": {
        const response = yield* respond(opened, request, clock, logCut(opened.entry.representation.url))
        count(opened.status)
        return response
      }
      case "NotCached":
        counters.request("other")
        return text(504, "Not in the cache", { detail: "NOT_CACHED" })
      case "Final":
        return finalOf(opened, resource, request)
      case "Uncacheable": {
        const { answer: spare, reason } = opened
        const taken = spare && (yield* spare.take)
        const own = taken && answering(taken, request.headers)
        return own === undefined
          ? yield* forward(resource, request, reason)
          : yield* passedOn(resource, own, request, { fwd: "bypass", detail: reason })
      }
    }
  })

  /** More ranges than allowed can't be satisfied. */
  const rangesOf = ({ headers, method }: Asked) => {
    const ranges = method === "GET" ? parseRanges(headers["range"]) : undefined
    return ranges === "TooMany" ? [] : ranges
  }

  const mediaRequestOf = (resource: Resource, request: Asked) => ({
    resource,
    ranges: rangesOf(request),
    ifRange: request.headers["if-range"],
    directives: requestDirectives(request.headers)
  })

  /** Everything else is left to `get`. */
  const getNow = (resource: Resource, request: Asked): PromptResponse | undefined => {
    if (request.method !== "GET") return undefined
    const hit = media.tryMemoryHit(mediaRequestOf(resource, request), request.headers)
    if (hit === undefined || verdictOf(hit, request.headers) === "Failed") return undefined
    const response = promptly(hit, request, clock)
    counters.request("hit")
    for (const piece of response.pieces) counters.bytes("memory", piece.length)
    return response
  }

  /** What a request is for, unless it is one of those that need a closer look. */
  const plainly = ({ headers, url }: Asked): Resource | undefined => {
    if (isLoop(headers["via"]) || url.startsWith(PREFIX)) return undefined
    const resource = resolver.identify({ target: url, headers })
    return "status" in resource ? undefined : resource
  }

  const answerNow = (request: Asked): PromptResponse | undefined => {
    const resource = plainly(request)
    return resource && getNow(resource, request)
  }

  const isCachedAndFresh = (request: Asked): boolean => {
    const { headers, method } = request
    // What fails one of these may be out of date.
    if (method !== "GET" || headers["if-match"] !== undefined || headers["if-unmodified-since"] !== undefined) {
      return false
    }
    const resource = plainly(request)
    return resource !== undefined && media.isCachedAndFresh(mediaRequestOf(resource, request), headers)
  }

  const get = Effect.fnUntraced(function*(resource: Resource, request: Request) {
    const mediaRequest = {
      ...mediaRequestOf(resource, request),
      source: sourceOf(resource, request, fieldsFor(resource, request, ofTheViewer)),
      reuses: waitsForDrain(request),
      viewer: viewerOf(request)
    }
    const { directives } = mediaRequest
    const open = request.method === "HEAD" ? media.head : media.open
    const isUnstored = directives?.noStore === true && !directives.onlyIfCached
    // What is stored already may answer a request of which nothing is to be stored (RFC 9111 §5.2.1.5).
    let opened = yield* open(
      isUnstored ? { ...mediaRequest, directives: { ...directives, onlyIfCached: true } } : mediaRequest
    )
    yield* awaitTurn(request)
    // What fails a precondition may be out of date.
    const isFailed = opened._tag === "Media" && !isOfNow(opened) && verdictOf(opened, request.headers) === "Failed"
    if (isUnstored && (isFailed || opened._tag === "NotCached")) return yield* forward(resource, request, "NO_STORE")
    if (isFailed && !directives?.onlyIfCached) opened = yield* open({ ...mediaRequest, directives: noCache })
    return yield* respondTo(opened, resource, request)
  })

  const fetch = (resource: Resource, request: Request) => {
    const answered = request.method === "GET" || request.method === "HEAD"
      // Found out before the first byte: the second time, the new file is requested.
      ? Effect.catchTag(get(resource, request), "RepresentationChanged", () => get(resource, request))
      : Effect.andThen(awaitTurn(request), writeThrough(resource, request))
    return Effect.catch(answered, (error) => {
      counters.request("other")
      return Effect.as(log.failed(resource.url, error), originFailed(error))
    })
  }

  const serve = (request: Request): Handler => {
    const { headers, url } = request
    const resource = resolver.identify({ target: url, headers })
    if ("status" in resource) {
      counters.request("other")
      return Effect.succeed(refused(resource.status, resource.reason))
    }
    const response = nodeResponse(request)
    const inLine = response !== undefined && isInLine(response)
    const now = inLine ? undefined : getNow(resource, request)
    if (now !== undefined) return Effect.succeed(toResponse(now))
    // The platform runs handlers to their end otherwise, though the viewer may have gone.
    return Effect.interruptible(
      inLine && isCachedAndFresh(request)
        ? Effect.andThen(awaitTurn(request), Effect.suspend(() => serve(request)))
        : limits.admit(fetch(resource, request))
    )
  }

  const handle = (request: Request): Handler => {
    const { headers: { via }, method, url } = request
    if (isLoop(via)) {
      return Effect.succeed(text(508, "This request goes in a circle", { fwd: "bypass", detail: "LOOP" }))
    }
    if (method === "TRACE" || method === "CONNECT") {
      return Effect.succeed(refused(405, "This method is not served", { allow: ALLOW }))
    }
    // Asks about the server as such (RFC 9110 §9.3.7).
    if (method === "OPTIONS" && url === "*") {
      return Effect.succeed(HttpServerResponse.empty({ headers: { allow: ALLOW } }))
    }
    if (!url.startsWith(PREFIX)) return serve(request)
    if (!isNamed(url)) return admin.answer(request)
    return method === "GET" || method === "HEAD"
      ? Effect.map(serve(anonymous(request, credentialFields)), foreign)
      : Effect.succeed(refused(405, "This method is not served here", { allow: "GET, HEAD" }))
  }

  return Proxy.of({
    answerNow,
    isCachedAndFresh,
    drain: admin.drain,
    handler: Effect.flatMap(HttpServerRequest.HttpServerRequest, handle).pipe(
      Effect.catchDefect((defect) =>
        Effect.as(Effect.logError("Defect while answering a request", defect), refused(500, "Internal error"))
      )
    )
  })
})
