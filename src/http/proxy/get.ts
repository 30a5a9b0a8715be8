import { Clock, Context, Effect, type Scope } from "effect"
import { type HttpServerRequest, HttpServerResponse } from "effect/http"
import { IncomingMessage } from "node:http"
import type { OriginError } from "../../domain/OriginError.ts"
import type { Resource } from "../../domain/Resource.ts"
import { noCache, type RequestDirectives } from "../../domain/rfc/CacheControl.ts"
import { SHORT_BYTES } from "../../effects/pieces.ts"
import { MediaStream, type Opened } from "../../services/media/MediaStream.ts"
import { viewerOf } from "./accounting.ts"
import { earlyHintsTo } from "./earlyHints.ts"
import { errorReply } from "./errorResponses.ts"
import { ofTheViewer } from "./forwardedFields.ts"
import { answering } from "./inHand.ts"
import { isOfNow, respond, type Verdict, verdictOf } from "./mediaResponse.ts"
import type { ParsedRequest } from "./parseRequest.ts"
import type { Passthrough } from "./passthrough.ts"
import { makePeerSource, type PeerMark, peerMarkOf } from "./peerRequests.ts"
import type { Reply } from "./Reply.ts"
import { awaitTurn } from "./turn.ts"

type Request = HttpServerRequest.HttpServerRequest

/**
 * Whether the platform requests the next piece of a body only when the kernel has all but `SHORT_BYTES` of those before. It waits for
 * `drain`, which comes when all have left, if `writableHighWaterMark` bytes or more wait.
 */
const waitsForDrain = ({ source }: Request): boolean => {
  if (!(source instanceof IncomingMessage) || source.httpVersionMajor !== 1) return false
  return source.socket.writableHighWaterMark <= SHORT_BYTES
}

/** Whether a request's viewer `reuses` what it gets. Simulated viewers say so themselves. */
export class Reuse extends Context.Reference<(request: Request) => boolean>("spillway/http/proxy/get/Reuse", {
  defaultValue: () => waitsForDrain
}) {}

/** What a request without directives says. */
const none: RequestDirectives = { ...noCache, noCache: false }

/** How a request of another node of a fleet differs from that of a viewer. */
const ofPeer = ({ directives, fresh }: ParsedRequest, { isApart, wants }: PeerMark) => ({
  // What memory knows may be a transfer of this node's viewers.
  ...(isApart && { fresh: undefined }),
  ...(wants === "whole" && { isOfWhole: true }),
  ...(wants === "cached" && { directives: { ...none, ...directives, onlyIfCached: true }, mayBeShort: true, fresh })
})

/** Replies to a GET or HEAD: from the cache, or past it. */
export const makeGet = Effect.fnUntraced(function*(
  { fieldsFor, forward, forwarding, isLongPoll, locations, logCut, passedOn, sourceOf }: Passthrough
) {
  const clock = yield* Clock.Clock
  const media = yield* MediaStream
  const reuses = yield* Reuse
  const peerSource = yield* makePeerSource

  /** A reply whose fields name places as its viewer finds them. */
  const localised = (reply: Reply, resource: Resource, request: Request): Reply => {
    const { headers } = reply.response
    const local = locations.toViewer(headers, resource.url, request)
    return local === headers ? reply : { ...reply, response: HttpServerResponse.setHeaders(reply.response, local) }
  }

  /** The reply to a request for which `opened` was found. `verdict` is what the viewer's preconditions say of a representation. */
  const replyWith = Effect.fnUntraced(function*(
    opened: Opened,
    verdict: Verdict,
    resource: Resource,
    request: Request
  ): Effect.fn.Return<Reply, OriginError, Scope.Scope> {
    switch (opened._tag) {
      case "Media":
        return localised(
          yield* respond(opened, verdict, request, clock, logCut(opened.entry.representation.url)),
          resource,
          request
        )
      case "NotCached":
        return errorReply(504, "Not in the cache", { detail: "NOT_CACHED" })
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

  return Effect.fnUntraced(function*(parsed: ParsedRequest, request: Request) {
    const { resource } = parsed
    // Viewers who share an event could not share the one before it.
    if (isLongPoll(resource, request)) return yield* forward(resource, request, "LONG_POLL")
    const peer = peerMarkOf(request)
    const mediaRequest = {
      ...parsed,
      ...(peer !== undefined && ofPeer(parsed, peer)),
      source: {
        ...sourceOf(resource, request, fieldsFor(resource, request, ofTheViewer)),
        ...peerSource(resource, request),
        // The address of another node of a fleet is not that of its viewer.
        forwarded: peer === undefined ? forwarding(request, false) : undefined,
        onHints: earlyHintsTo(request)
      },
      reuses: reuses(request),
      viewer: viewerOf(request)
    }
    const { directives } = mediaRequest
    const open = request.method === "HEAD" ? media.head : media.open
    const isUnstored = directives?.noStore === true && !directives.onlyIfCached
    // What is stored already may answer a request of which nothing is to be stored (RFC 9111 §5.2.1.5).
    const opened = yield* open(
      isUnstored ? { ...mediaRequest, directives: { ...directives, onlyIfCached: true } } : mediaRequest
    )
    yield* awaitTurn(request)
    const verdict = verdictOf(opened, request.headers)
    // What fails a precondition may be out of date.
    const isFailed = verdict === "Failed" && opened._tag === "Media" && !isOfNow(opened)
    if (isUnstored && (isFailed || opened._tag === "NotCached")) return yield* forward(resource, request, "NO_STORE")
    if (!isFailed || directives?.onlyIfCached) return yield* replyWith(opened, verdict, resource, request)
    const confirmed = yield* open({ ...mediaRequest, directives: noCache, fresh: undefined })
    return yield* replyWith(confirmed, verdictOf(confirmed, request.headers), resource, request)
  })
})
