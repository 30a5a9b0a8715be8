import { Effect, type Scope } from "effect"
import { createServer, type Socket } from "node:net"
import { freePort } from "./freePort.ts"

/** A request as its bytes came. */
export interface RawRequest {
  /** Request line and fields, without the empty line. */
  readonly head: string
  readonly method: string
  readonly target: string
  readonly fields: Record<string, string>
  /** What followed, as it was on the wire. */
  body: Buffer
  readonly socket: Socket
  /** Its place among the requests of its connection, from 1. */
  readonly nthOnConnection: number
  /** Bytes sent for it, its header included. */
  sent: number
}

/** A TCP server that answers by hand, byte by byte. */
export interface RawOrigin {
  readonly url: string
  readonly port: number
  readonly requests: Array<RawRequest>
  /** How many connections were made. */
  readonly connections: () => number
  /** How many of them are open. */
  readonly open: () => number
  /** Is given each connection, of which no request is read then. */
  onConnection: ((socket: Socket) => void) | undefined
  /** Stops listening and resets all connections. `listen` undoes it on the same port. */
  readonly close: Effect.Effect<void>
  readonly listen: Effect.Effect<void>
}

const parse = (head: string, socket: Socket, nthOnConnection: number): RawRequest => {
  const [first, ...lines] = head.split("\r\n")
  const [method, target] = first!.split(" ")
  const fields = Object.fromEntries(lines.map((line) => {
    const colon = line.indexOf(":")
    return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()]
  }))
  return { head, method: method!, target: target!, fields, body: Buffer.alloc(0), socket, nthOnConnection, sent: 0 }
}

/** An answer with a `Content-Length`. */
export const response = (status: number, fields: Record<string, string> = {}, body = ""): string => {
  const lines = Object.entries({ "content-length": String(Buffer.byteLength(body)), ...fields })
  return `HTTP/1.1 ${status} Whatever\r\n${lines.map(([name, value]) => `${name}: ${value}\r\n`).join("")}\r\n${body}`
}

/**
 * Listens on a free port of the loopback interface until the scope closes. `answer` is called for each head, and `onBody` for each
 * piece of a body; they do with the socket what they like, and a string is sent. The next head is read when the promise that
 * `answer` may return is fulfilled. A request with a body is the last of its connection.
 */
export const makeRawOrigin = (
  answer: (request: RawRequest, index: number) => string | Promise<void> | void,
  onBody: (request: RawRequest) => string | void = () => {}
): Effect.Effect<RawOrigin, never, Scope.Scope> =>
  Effect.gen(function*() {
    const requests: Array<RawRequest> = []
    const sockets = new Set<Socket>()
    let connections = 0
    const server = createServer((socket) => {
      connections += 1
      sockets.add(socket)
      socket.on("error", () => {})
      socket.on("close", () => sockets.delete(socket))
      if (origin.onConnection !== undefined) return origin.onConnection(socket)
      let pending = Buffer.alloc(0)
      let nth = 0
      let isBusy = false
      let current: RawRequest | undefined
      const say = (request: RawRequest, text: string | Promise<void> | void): void => {
        if (typeof text !== "string") return
        request.sent += text.length
        socket.write(text, "latin1")
      }
      const grow = (request: RawRequest, data: Buffer): void => {
        request.body = Buffer.concat([request.body, data])
        say(request, onBody(request))
      }
      const next = (): void => {
        const end = pending.indexOf("\r\n\r\n")
        if (isBusy || end < 0 || socket.destroyed || socket.writableEnded) return
        const request = parse(pending.subarray(0, end).toString("latin1"), socket, nth += 1)
        if (Number(request.fields["content-length"] ?? 0) > 0 || "transfer-encoding" in request.fields) {
          current = request
        }
        pending = pending.subarray(end + 4)
        const answered = answer(request, requests.push(request) - 1)
        say(request, answered)
        if (current !== undefined) return grow(current, pending)
        if (!(answered instanceof Promise)) return next()
        isBusy = true
        void answered.then(() => {
          isBusy = false
          next()
        })
      }
      socket.on("data", (data) => {
        if (current !== undefined) return grow(current, data)
        pending = Buffer.concat([pending, data])
        next()
      })
    })
    const port = yield* freePort
    const listen = Effect.callback<void>((resume) => void server.listen(port, "127.0.0.1", () => resume(Effect.void)))
    const close = Effect.callback<void>((resume) => {
      server.close(() => resume(Effect.void))
      for (const socket of sockets) socket.resetAndDestroy()
    })
    yield* listen
    yield* Effect.addFinalizer(() => close)
    const origin: RawOrigin = {
      url: `http://127.0.0.1:${port}`,
      port,
      requests,
      connections: () => connections,
      open: () => sockets.size,
      onConnection: undefined,
      close,
      listen
    }
    return origin
  })
