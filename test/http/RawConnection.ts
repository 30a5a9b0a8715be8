import { Effect, type Scope } from "effect"
import { connect, type Socket } from "node:net"
import { eventually } from "../support/Program.ts"

/** A connection on which a test says and reads bytes by hand. */
export interface RawConnection {
  readonly socket: Socket
  readonly send: (text: string) => void
  /** All that has come so far, a character for a byte. */
  readonly received: () => string
  readonly isClosed: () => boolean
  /** Waits until what has come satisfies `check`. */
  readonly until: (what: string, check: (received: string) => boolean) => Effect.Effect<void>
  readonly closed: Effect.Effect<void>
}

/** Connects to the loopback interface; the connection ends with the scope. */
export const openRaw = (port: number): Effect.Effect<RawConnection, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.callback<Socket>((resume) => {
      const socket = connect({ port, host: "127.0.0.1" }, () => resume(Effect.succeed(socket)))
      // A server that refuses a connection may reset it.
      socket.on("error", () => {})
      socket.once("close", () => resume(Effect.succeed(socket)))
    }),
    (socket) => Effect.sync(() => socket.destroy())
  ).pipe(Effect.map((socket) => {
    const parts: Array<Buffer> = []
    let closed = socket.destroyed
    socket.on("data", (data) => parts.push(data))
    socket.on("close", () => closed = true)
    const received = () => Buffer.concat(parts).toString("latin1")
    const wait = (what: string, check: () => boolean) => eventually(what, Effect.sync(check))
    return {
      socket,
      send: (text) => void socket.write(Buffer.from(text, "latin1")),
      received,
      isClosed: () => closed,
      until: (what, check) => wait(what, () => check(received())),
      closed: wait("the end of the connection", () => closed)
    }
  }))
