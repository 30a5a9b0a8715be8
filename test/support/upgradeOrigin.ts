import { Effect, type Scope } from "effect"
import { createServer, type IncomingMessage } from "node:http"
import type { AddressInfo, Socket } from "node:net"
import { type WebSocket, WebSocketServer } from "ws"

/** An origin that changes protocols. */
export interface UpgradeOrigin {
  readonly url: string
  /** The requests that offered another protocol. */
  readonly offers: Array<IncomingMessage>
  /** The WebSockets that are open. */
  readonly webSockets: Set<WebSocket>
  /** The connections in the protocol `raw`. */
  readonly raw: Array<Socket>
  /** How each WebSocket was closed. */
  readonly closed: Array<{ readonly code: number; readonly reason: string }>
  /** Ends all connections by resets, and accepts no more. */
  readonly die: Effect.Effect<void>
}

/**
 * An origin on a free port of the loopback interface. WebSockets echo at every path except `/refused`, which gets a 403 with a body, and
 * `/silent`, which gets nothing. `Upgrade: raw` gets a connection that the test reads and writes. Other requests get 200.
 */
export const makeUpgradeOrigin: Effect.Effect<UpgradeOrigin, never, Scope.Scope> = Effect.gen(function*() {
  const sockets = new Set<Socket>()
  const webSocketServer = new WebSocketServer({
    noServer: true,
    maxPayload: 64 * 1024 ** 2,
    handleProtocols: (protocols) => protocols.has("chat") ? "chat" : false
  })
  const server = createServer({ keepAlive: false }, (request, response) => {
    response.setHeader("cache-control", "max-age=60")
    response.setHeader("etag", "\"v1\"")
    response.end(`plain ${request.url}`)
  })
  server.on("connection", (socket) => {
    sockets.add(socket)
    socket.on("error", () => {})
    socket.once("close", () => sockets.delete(socket))
  })
  server.on("upgrade", (request, socket: Socket, head) => {
    origin.offers.push(request)
    if (request.url === "/silent") return
    if (request.url === "/refused") {
      socket.end("HTTP/1.1 403 Forbidden\r\nContent-Length: 7\r\nSet-Cookie: a=b\r\n\r\nnot you")
      return
    }
    if (request.headers.upgrade === "raw") {
      socket.write("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: raw\r\nX-Own: 1\r\n\r\nhello ")
      origin.raw.push(socket)
      return
    }
    webSocketServer.handleUpgrade(request, socket, head, (webSocket) => {
      origin.webSockets.add(webSocket)
      webSocket.on("error", () => {})
      webSocket.on("message", (data, isBinary) => webSocket.send(data, { binary: isBinary }))
      webSocket.on("close", (code, reason) => {
        origin.webSockets.delete(webSocket)
        origin.closed.push({ code, reason: String(reason) })
      })
    })
  })
  const die = Effect.sync(() => {
    server.close()
    for (const socket of sockets) socket.resetAndDestroy()
  })
  yield* Effect.callback<void>((resume) => {
    server.listen(0, "127.0.0.1", () => resume(Effect.void))
  })
  yield* Effect.addFinalizer(() => die)
  const origin: UpgradeOrigin = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    offers: [],
    webSockets: new Set(),
    raw: [],
    closed: [],
    die
  }
  return origin
})
