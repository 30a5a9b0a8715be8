import { Context, Effect, Layer } from "effect"
import { HttpServerRequest, HttpServerResponse } from "effect/http"
import type { OriginError } from "../../domain/OriginError.ts"
import { noCache } from "../../domain/rfc/CacheControl.ts"
import { outcomeOf } from "../../domain/rfc/CacheStatus.ts"
import type { CacheConfig } from "../../services/config/CacheConfig.ts"
import { OriginConfig } from "../../services/config/OriginConfig.ts"
import { NodeName } from "../../services/fleet/NodeName.ts"
import type { Lookup } from "../../services/media/Lookup.ts"
import { MediaStream } from "../../services/media/MediaStream.ts"
import type { ActiveStreams } from "../../services/observe/ActiveStreams.ts"
import { Counters } from "../../services/observe/Counters.ts"
import type { FleetPurger } from "../../services/operate/FleetPurger.ts"
import type { Origin } from "../../services/origin/Origin.ts"
import { OriginResolver } from "../../services/origin/OriginResolver.ts"
import { AdminPages, PREFIX } from "../admin/AdminPages.ts"
import { errorReply, ofNode, originFailed, page, refused } from "./errorResponses.ts"
import { makeFastHit } from "./fastHit.ts"
import { makeGet } from "./get.ts"
import { isLoop } from "./loopDetection.ts"
import type { PromptResponse } from "./mediaResponse.ts"
import { ALLOW } from "./methods.ts"
import { anonymous, foreign, isNamed } from "./namedUrl.ts"
import { makeOriginLog } from "./originLog.ts"
import { isFreshRequest, type ParsedRequest, type RequestHead } from "./parseRequest.ts"
import { makePassthrough } from "./passthrough.ts"
import type { Handler, Reply } from "./Reply.ts"
import { makeResponseFields } from "./responseFields.ts"
import { StreamLimit } from "./StreamLimit.ts"
import { awaitTurn, isInLine, nodeResponse } from "./turn.ts"
import { makeUpgrade } from "./upgrade.ts"
import { makeWriteThrough } from "./writeThrough.ts"

type Request = HttpServerRequest.HttpServerRequest

/** Whether the origin has refused a part of a stored file to the viewer who requested it. */
const isRefusal = (error: OriginError): boolean =>
  error._tag === "OriginUnexpected" && error.isAboutViewer === true && [401, 403, 404, 410].includes(error.status)

/**
 * The reverse proxy as an HTTP handler: it sends requests to `MediaStream`, and makes responses of what that opens. It knows HTTP, and
 * nothing of disks.
 *
 * @since 0.1.0
 * @category services
 */
export class Proxy extends Context.Service<Proxy, {
  readonly handler: Handler
  /** The resource that a request is for, or why it is refused. */
  readonly identify: OriginResolver["Service"]["identify"]
  /** The reply of `handler` if that takes no waiting, as for most requests; else `undefined`. */
  readonly tryReply: (request: RequestHead) => PromptResponse | undefined
  /** Whether `handler` would find all that a request wants in the cache, fresh for this viewer. */
  readonly isCachedAndFresh: (request: HttpServerRequest.HttpServerRequest) => boolean
}>()("spillway/http/proxy/Proxy") {
  static readonly layer: Layer.Layer<
    Proxy,
    never,
    | ActiveStreams
    | AdminPages
    | CacheConfig
    | FleetPurger
    | StreamLimit
    | Lookup
    | MediaStream
    | Origin
    | OriginConfig
    | OriginResolver
    | Counters
  > = Layer.effect(Proxy, Effect.suspend(() => make))
}

/** Spillway's own pages without the slash at the end, which isn't a path of an origin either. */
const WITHOUT_SLASH = /^\/_spillway(?=\?|$)/

/** Relative, because an application may serve all of this below a prefix. */
const toDashboard = HttpServerResponse.empty({ status: 308, headers: { location: "_spillway/" } })

const make = Effect.gen(function*() {
  const media = yield* MediaStream
  const admin = yield* AdminPages
  const limits = yield* StreamLimit
  const counters = yield* Counters
  const { credentialFields } = yield* OriginConfig
  const node = yield* NodeName
  const log = makeOriginLog()
  const fast = yield* makeFastHit
  const passthrough = yield* makePassthrough(log)
  const get = yield* makeGet(passthrough)
  const writeThrough = yield* makeWriteThrough(passthrough)
  const upgrade = yield* makeUpgrade(passthrough)
  const responseFields = yield* makeResponseFields

  const count = ({ cacheStatus, isError }: Reply): void => {
    if (isError) return counters.request("other")
    if (cacheStatus === undefined) return
    counters.request(outcomeOf(cacheStatus))
    if (cacheStatus.collapsed) counters.coalesced()
  }

  const fetch = (parsed: ParsedRequest, request: Request) => {
    const { resource } = parsed
    const again = (more: Partial<ParsedRequest>) => () => get({ ...parsed, fresh: undefined, ...more }, request)
    const ordinary = request.method === "GET" || request.method === "HEAD"
      ? get(parsed, request).pipe(
        // The file has changed, and no byte was sent. The second request gets the new file.
        Effect.catchTag("RepresentationChanged", again({})),
        // It may have shared another response of one transfer, which came too early for it.
        Effect.catchTag("RepresentationChanged", again({ isAlone: true })),
        Effect.catchIf(isRefusal, again({ directives: { ...noCache, ...parsed.directives, noCache: true } }))
      )
      : Effect.andThen(awaitTurn(request), writeThrough(resource, request))
    const reply = request.headers["upgrade"] === undefined
      ? ordinary
      : Effect.flatMap(upgrade(resource, request), (reply) => reply === undefined ? ordinary : Effect.succeed(reply))
    return reply.pipe(
      Effect.catch((error) => Effect.as(log.failed(resource.url, error), originFailed(error))),
      Effect.tap((reply) => Effect.sync(() => count(reply)))
    )
  }

  const serve = (request: Request, before?: ParsedRequest): Handler => {
    const parsed = before ?? fast.parse(request)
    if ("status" in parsed) {
      const reply = refused(parsed.status, parsed.reason)
      count(reply)
      return Effect.succeed(reply)
    }
    const response = nodeResponse(request)
    const inLine = response !== undefined && isInLine(response)
    const isSlow = inLine || before !== undefined || request.headers["upgrade"] !== undefined
    const hit = isSlow ? undefined : fast.memoryHit(request, parsed)
    if (hit !== undefined) return Effect.succeed(hit)
    // The platform runs handlers to their end otherwise, though the viewer may have gone.
    return Effect.interruptible(
      inLine && isFreshRequest(parsed, request) && media.isCached(parsed)
        ? Effect.andThen(awaitTurn(request), Effect.suspend(() => serve(request)))
        : limits.admit(fetch(parsed, request))
    )
  }

  const handle = (request: Request): Handler => {
    if (WITHOUT_SLASH.test(request.url)) return Effect.succeed(page(toDashboard))
    const before = fast.parsedBefore(request)
    if (before !== undefined) return serve(request, before)
    const { headers: { via }, method, url } = request
    if (isLoop(via)) {
      return Effect.succeed(
        errorReply(508, "This request goes in a circle", { fwd: "bypass", detail: "LOOP" })
      )
    }
    if (method === "TRACE" || method === "CONNECT") {
      return Effect.succeed(refused(405, "This method is not served", { allow: ALLOW }))
    }
    // Asks about the server as such (RFC 9110 §9.3.7).
    if (method === "OPTIONS" && url === "*") {
      return Effect.succeed(page(HttpServerResponse.empty({ headers: { allow: ALLOW } })))
    }
    if (!url.startsWith(PREFIX)) return serve(request)
    if (!isNamed(url)) return Effect.map(admin.answer(request), page)
    return method === "GET" || method === "HEAD"
      ? Effect.map(serve(anonymous(request, credentialFields)), (reply) => ({
        ...reply,
        response: foreign(reply.response)
      }))
      : Effect.succeed(refused(405, "This method is not served here", { allow: "GET, HEAD" }))
  }

  const handler = Effect.flatMap(
    HttpServerRequest.HttpServerRequest,
    (request) => Effect.map(handle(request), (reply) => responseFields.ofReply(reply, request))
  ).pipe(
    Effect.catchDefect((defect) =>
      Effect.as(Effect.logError("Defect while answering a request", defect), refused(500, "Internal error"))
    )
  )

  return Proxy.of({
    identify: (yield* OriginResolver).identify,
    tryReply: (request) => responseFields.ofPrompt(fast.tryReply(request), request),
    isCachedAndFresh: fast.isCachedAndFresh,
    handler: node === undefined ? handler : Effect.map(handler, ofNode(node))
  })
})
