import { NodeSocket } from "@effect/platform-node"
import { Effect, Exit, type Scope } from "effect"
import { type HttpServerRequest, HttpServerResponse } from "effect/http"
import type { Socket } from "effect/socket"
import { IncomingMessage, type ServerResponse } from "node:http"
import type { OriginError } from "../../domain/OriginError.ts"
import type { Resource } from "../../domain/Resource.ts"
import type { CacheStatus } from "../../domain/rfc/CacheStatus.ts"
import { isWebSocket, offeredProtocol } from "../../domain/rfc/Upgrade.ts"
import { monotonicMillis } from "../../effects/monotonic.ts"
import { tunnel } from "../../effects/tunnel.ts"
import { ActiveStreams } from "../../services/observe/ActiveStreams.ts"
import { Origin } from "../../services/origin/Origin.ts"
import type { Slot } from "../../services/origin/OriginLimiter.ts"
import { viewerOf } from "./accounting.ts"
import { errorReply } from "./errorResponses.ts"
import type { Passthrough } from "./passthrough.ts"
import type { Reply } from "./Reply.ts"
import { nodeResponse } from "./turn.ts"

/**
 * Requests that change the protocol of their connection (RFC 9110 §7.8), such as WebSocket handshakes. On routes that allow it they are
 * passed to the origin, and then the bytes of both connections, unread.
 */

type Request = HttpServerRequest.HttpServerRequest

/** What the cache did for such a request. */
const UPGRADE: CacheStatus = { fwd: "bypass", detail: "UPGRADE" }

/** The response to a request, if its connection can change the protocol: Node has stopped to read HTTP there. */
export const switchable = (request: Request): ServerResponse | undefined =>
  request.source instanceof IncomingMessage && "upgrade" in request.source && request.source.upgrade === true
    ? nodeResponse(request)
    : undefined

/** Ends a viewer's connection, by a reset if something broke, because the viewer doesn't have all bytes then. */
const end = (response: ServerResponse, exit: Exit.Exit<unknown, unknown>): void => {
  const { socket } = response
  response.end()
  if (socket === null || socket.destroyed) return
  if (Exit.isSuccess(exit)) socket.destroySoon()
  // Unix sockets have no port, and no resets.
  else if (socket.localPort === undefined) socket.destroy()
  else socket.resetAndDestroy()
}

/** Changes the protocol of the viewer's connection by a 101 with `fields`. The connection ends with the scope. */
export const switchProtocols = (
  response: ServerResponse,
  fields: ReadonlyArray<string>
): Effect.Effect<Socket.Socket, never, Scope.Scope> =>
  Effect.suspend(() => {
    response.writeHead(101, [...fields])
    response.flushHeaders()
    return Effect.andThen(
      Effect.addFinalizer((exit) => Effect.sync(() => end(response, exit))),
      NodeSocket.fromDuplex(Effect.succeed(response.socket!))
    )
  })

/** What becomes of a response that the handler has written itself. */
export const written: Reply = { response: HttpServerResponse.empty(), cacheStatus: UPGRADE }

const notUpgraded = (why: string): Reply => errorReply(501, why, { fwd: "bypass", detail: "NO_UPGRADE" })

/** The reply to a request for `protocol` if its connection can't change to it. Only WebSocket clients need it. */
export const unswitched = (protocol: string): Reply | undefined =>
  isWebSocket(protocol) ? notUpgraded("This connection cannot change its protocol") : undefined

/**
 * Makes the function that replies to a request that offers another protocol. `undefined` if the offer is ignored, so that the request is
 * like any other.
 */
export const makeUpgrade = Effect.fnUntraced(
  function*({ cookiesToViewer, fieldsToViewer, passedOn, requestTo, sourceOf }: Passthrough) {
    const origin = yield* Origin
    const activeStreams = yield* ActiveStreams
    const now = yield* monotonicMillis

    /** Passes bytes in both directions until both connections have ended, or one breaks. */
    const join = Effect.fnUntraced(function*(
      { id, url }: Resource,
      request: Request,
      viewer: Socket.Socket,
      connection: Socket.Socket,
      slot: Slot | undefined
    ) {
      const stream = { url, resource: id, start: 0, end: 0, size: 0, viewer: viewerOf(request) }
      const progress = yield* activeStreams.begin(stream)
      let moved = now()
      if (slot !== undefined) slot.idleFor = () => now() - moved
      yield* tunnel(viewer, connection, (bytes, direction) => {
        moved = now()
        if (direction === "back") progress.advance(bytes, "passthrough", UPGRADE.detail)
      })
    })

    return Effect.fnUntraced(function*(
      resource: Resource,
      request: Request
    ): Effect.fn.Return<Reply | undefined, OriginError, Scope.Scope> {
      const protocol = offeredProtocol(request.headers)
      if (protocol === undefined) return undefined
      const location = yield* sourceOf(resource, request, {}).locate()
      const viewerResponse = switchable(request)
      if (location.route?.upgrades !== true) {
        return isWebSocket(protocol) ? notUpgraded("WebSocket is not enabled here") : undefined
      }
      if (viewerResponse === undefined) return unswitched(protocol)
      const response = yield* origin.request({ ...requestTo(location, request), upgrade: protocol })
      const { connection, headers: fields, slot } = response
      if (connection === undefined) return yield* passedOn(resource, response, request, UPGRADE)
      const head = {
        ...fieldsToViewer(fields, resource, request, UPGRADE),
        connection: "Upgrade",
        upgrade: fields["upgrade"] ?? protocol
      }
      const cookies = cookiesToViewer(response, resource, request)
      const lines = [...Object.entries(head), ...cookies.map((line) => ["set-cookie", line] as const)].flat()
      yield* Effect.scoped(Effect.flatMap(
        switchProtocols(viewerResponse, lines),
        (viewer) => join(resource, request, viewer, connection, slot)
      )).pipe(Effect.ignore)
      return written
    })
  }
)
