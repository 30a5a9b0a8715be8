import type { buildConnector } from "@effect/platform-node/Undici"
import { Effect, type Scope } from "effect"
import { subscribe, unsubscribe } from "node:diagnostics_channel"
import type { Socket } from "node:net"
import { InterimFilter } from "./InterimFilter.ts"

/**
 * What has to be known of the sockets that undici uses: it tells in its diagnostics channels which request it sends on which one.
 */

/** A connection to an origin. */
interface Line {
  readonly filter: InterimFilter
  /** The last request that was sent on it, and how many were. */
  request: object | undefined
  requests: number
}

export interface OriginSockets {
  /** `connect`, whose sockets are watched. */
  readonly watched: (connect: buildConnector.connector) => buildConnector.connector
  /**
   * Whether a request failed with `error` because a connection that had been kept was closed before a byte of the answer came. The
   * origin may have closed it as idle, just before the request reached it.
   */
  readonly wasIdle: (error: unknown) => boolean
}

/**
 * On connections that are not kept, undici takes a reset for the end of a body that has neither length nor chunks, so that what
 * broke off would look whole. It does so by the code of the error.
 */
const tellResets = (socket: Socket): void => {
  socket.prependListener("error", (error: NodeJS.ErrnoException) => {
    if (error.code === "ECONNRESET") error.code = "ERR_RESET_BY_ORIGIN"
  })
}

/** Has anyone who reads from `socket` get what `filter` lets through. */
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

/** What undici reports about a request, according to its documentation. */
interface Message {
  readonly request: object
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
  })
  yield* listen("undici:request:error", ({ error, request }) => {
    const line = sent.get(request)
    if (line?.request === request && line.requests > 1 && !line.filter.hasBegun) idle.add(error)
  })

  const watch = (socket: Socket): void => {
    const filter = new InterimFilter()
    lines.set(socket, { filter, request: undefined, requests: 0 })
    tellResets(socket)
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
