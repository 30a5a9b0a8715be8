import { Effect, Schema, type Scope } from "effect"
import { type ClientOptions, WebSocket } from "ws"

/** A WebSocket did not open. */
export class WebSocketFailed extends Schema.TaggedError<WebSocketFailed>()("WebSocketFailed", {
  /** The status of the response, or 0 if there was none. */
  status: Schema.Int,
  body: Schema.String,
  headers: Schema.Unknown
}) {}

/** A WebSocket of a viewer. */
export interface Viewer {
  readonly socket: WebSocket
  /** Sends a message, and returns the next one that comes. */
  readonly ask: (message: string | Buffer) => Effect.Effect<{ readonly data: Buffer; readonly isBinary: boolean }>
  /** How it was closed. */
  readonly closed: Effect.Effect<{ readonly code: number; readonly reason: string }>
}

/** Opens a WebSocket at `url`, which may be an HTTP URL, for the `protocols`. It ends with the scope. */
export const openWebSocket = (
  url: string,
  protocols: ReadonlyArray<string> = [],
  options: ClientOptions = {}
): Effect.Effect<Viewer, WebSocketFailed, Scope.Scope> =>
  Effect.gen(function*() {
    const socket = new WebSocket(url.replace(/^http/, "ws"), [...protocols], options)
    const closed = new Promise<{ code: number; reason: string }>((resolve) => {
      socket.on("close", (code, reason) => resolve({ code, reason: String(reason) }))
    })
    socket.on("error", () => {})
    yield* Effect.addFinalizer(() => Effect.sync(() => socket.terminate()))
    yield* Effect.callback<void, WebSocketFailed>((resume) => {
      socket.once("open", () => resume(Effect.void))
      socket.once("error", () => resume(Effect.fail(new WebSocketFailed({ status: 0, body: "", headers: {} }))))
      socket.once("unexpected-response", (_, response) => {
        let body = ""
        response.on("data", (data: Buffer) => body += data.toString())
        response.on("end", () =>
          resume(Effect.fail(
            new WebSocketFailed({ status: response.statusCode!, body, headers: response.headers })
          )))
      })
    })
    return {
      socket,
      ask: (message) =>
        Effect.callback((resume) => {
          socket.once("message", (data: Buffer, isBinary) => resume(Effect.succeed({ data, isBinary })))
          socket.send(message)
        }),
      closed: Effect.promise(() => closed)
    }
  })
