import type { buildConnector } from "@effect/platform-node/Undici"
import { Effect, type Scope } from "effect"
import { subscribe, unsubscribe } from "node:diagnostics_channel"
import type { Socket } from "node:net"
import { InterimFilter } from "./InterimFilter.ts"

/**
 * Watches the sockets that undici uses. Its diagnostics channels report which request it sends on which socket.
 */

/** A connection to an origin. */
interface Line {
  readonly filter: InterimFilter
  /** The last request that was sent on it, and the number of all. */
  request: object | undefined
  requests: number
}

interface OriginSockets {
  /** `connect`, whose sockets are watched. */
  readonly watched: (connect: buildConnector.connector) => buildConnector.connector
  /**
   * Whether a request failed with `error` because a kept-alive connection was closed before the first byte of the response. The origin may
   * have closed it as idle just before the request arrived.
   */
  readonly wasIdle: (error: unknown) => boolean
}

/**
 * Changes the error code of resets. On connections that are not kept alive, undici takes that code for the end of a body without length, so
 * an incomplete body would look complete.
 */
const markResets = (socket: Socket): void => {
  socket.prependListener("error", (error: NodeJS.ErrnoException) => {
    if (error.code === "ECONNRESET") error.code = "ERR_RESET_BY_ORIGIN"
  })
}

/** Reads from `socket` return only what `filter` passes. */
const readThrough = (socket: Socket, filter: InterimFilter): void => {
  const read = socket.read.bind(socket)
  socket.read = (size) => {
    while (true) {
      const piece: Buffer | null = read(size)
      if (piece === null) return null
      const passed = filter.take(piece)
      if (passed !== undefined) return passed
    }
  }
}

/** A message of undici's diagnostics channels, as documented. */
interface Message {
  readonly request: object & { readonly upgrade?: string | null }
  readonly socket: Socket
  readonly error: object
}

const listen = (name: string, listener: (message: Message) => void): Effect.Effect<void, never, Scope.Scope> => {
  const onMessage = (message: unknown) => listener(message as Message)
  return Effect.acquireRelease(
    Effect.sync(() => subscribe(name, onMessage)),
    () => Effect.sync(() => unsubscribe(name, onMessage))
  )
}

/** Watches sockets until the scope closes. */
export const makeOriginSockets: Effect.Effect<OriginSockets, never, Scope.Scope> = Effect.gen(function*() {
  const lines = new WeakMap<Socket, Line>()
  const sent = new WeakMap<object, Line>()
  const idle = new WeakSet<object>()

  yield* listen("undici:client:sendHeaders", ({ request, socket }) => {
    const line = lines.get(socket)
    if (line === undefined) return
    line.request = request
    line.requests += 1
    line.filter.expect()
    sent.set(request, line)
    // In another protocol, the end of one side need not be that of the other.
    if (typeof request.upgrade === "string") socket.allowHalfOpen = true
  })
  yield* listen("undici:request:error", ({ error, request }) => {
    const line = sent.get(request)
    if (line?.request === request && line.requests > 1 && !line.filter.hasBegun) idle.add(error)
  })

  const watch = (socket: Socket): void => {
    const filter = new InterimFilter()
    lines.set(socket, { filter, request: undefined, requests: 0 })
    markResets(socket)
    readThrough(socket, filter)
  }

  return {
    watched: (connect) => (options, callback) =>
      connect(options, (...outcome) => {
        const [error, socket] = outcome
        if (error === null) watch(socket)
        callback(...outcome)
      }),
    wasIdle: (error) => typeof error === "object" && error !== null && idle.has(error)
  }
})
