import { Effect, type Scope } from "effect"
import { type AddressInfo, createServer, type Socket } from "node:net"

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
}

/** A server that answers by hand, byte by byte. */
export interface RawOrigin {
  readonly url: string
  readonly port: number
  readonly requests: Array<RawRequest>
  /** How many connections were made. */
  readonly connections: () => number
  /** How many of them are open. */
  readonly open: () => number
}

const parse = (head: string, socket: Socket): RawRequest => {
  const [first, ...lines] = head.split("\r\n")
  const [method, target] = first!.split(" ")
  const fields = Object.fromEntries(lines.map((line) => {
    const colon = line.indexOf(":")
    return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()]
  }))
  return { head, method: method!, target: target!, fields, body: Buffer.alloc(0), socket }
}

/** An answer with a `Content-Length`. */
export const response = (status: number, fields: Record<string, string> = {}, body = ""): string => {
  const lines = Object.entries({ "content-length": String(Buffer.byteLength(body)), ...fields })
  return `HTTP/1.1 ${status} Whatever\r\n${lines.map(([name, value]) => `${name}: ${value}\r\n`).join("")}\r\n${body}`
}

/**
 * Listens on a free port of the loopback interface until the scope closes. `answer` is called for each head, and `onBody` for each
 * piece of a body; they do with the socket what they like, and a string is sent. A request with a body is the last of its
 * connection.
 */
export const makeRawOrigin = (
  answer: (request: RawRequest, index: number) => string | void,
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
      let pending = Buffer.alloc(0)
      let current: RawRequest | undefined
      const say = (text: string | void) => typeof text === "string" && socket.write(text, "latin1")
      const grow = (request: RawRequest, data: Buffer) => {
        request.body = Buffer.concat([request.body, data])
        say(onBody(request))
      }
      socket.on("data", (data) => {
        if (current !== undefined) return grow(current, data)
        pending = Buffer.concat([pending, data])
        const end = pending.indexOf("\r\n\r\n")
        if (end < 0) return
        const request = parse(pending.subarray(0, end).toString("latin1"), socket)
        if (Number(request.fields["content-length"] ?? 0) > 0 || "transfer-encoding" in request.fields) {
          current = request
        }
        const rest = pending.subarray(end + 4)
        pending = Buffer.alloc(0)
        say(answer(request, requests.push(request) - 1))
        if (current !== undefined) grow(current, rest)
      })
    })
    yield* Effect.callback<void>((resume) => void server.listen(0, "127.0.0.1", () => resume(Effect.void)))
    yield* Effect.addFinalizer(() =>
      Effect.callback<void>((resume) => {
        server.close(() => resume(Effect.void))
        for (const socket of sockets) socket.destroy()
      })
    )
    const { port } = server.address() as AddressInfo
    return {
      url: `http://127.0.0.1:${port}`,
      port,
      requests,
      connections: () => connections,
      open: () => sockets.size
    }
  })
