import type { ServerResponse } from "node:http"
import type { Socket } from "node:net"

/** How long a viewer may take to end its side of a connection that has been ended here, in milliseconds. */
const LINGER_MILLIS = 1_000

/** A connection as far as its end is concerned. */
interface Ending {
  /** Whether no more requests are taken from it. */
  isClosing: boolean
  /** The answers that are not sent yet, in order. */
  readonly answers: ReadonlyArray<ServerResponse>
}

/**
 * Tells anyone who works on an answer that nobody waits for it. Node forgets those that stand in line when a connection ends in
 * certain ways, such as by CONNECT; each would be worked on without end.
 */
export const abandon = (response: ServerResponse): void => {
  if (response.writableFinished) return
  let isTold = false
  response.once("close", () => isTold = true)
  response.destroy()
  setImmediate(() => isTold || response.emit("close"))
}

/**
 * Ends a connection in stages (RFC 9112 §9.6): to close it while something that its viewer sent is unread would take from the
 * viewer what it has not read yet.
 */
const linger = (socket: Socket, connection: Ending): void => {
  connection.isClosing = true
  socket.end()
  const start = () => {
    const timer = setTimeout(() => socket.destroy(), LINGER_MILLIS)
    socket.once("close", () => clearTimeout(timer))
  }
  if (socket.writableFinished) start()
  else socket.once("finish", start)
}

/**
 * Whether `response` is under way on `socket` without a length. To HTTP/1.0, an ordinary end of the connection would then be the
 * end of the body.
 */
const isTornBy = (socket: Socket, response: ServerResponse): boolean =>
  response.socket === socket && response.headersSent && !response.writableFinished &&
  (response.chunkedEncoding || response.req.httpVersionMinor === 0)

/**
 * Makes `socket` end truthfully, for every cause: in stages after its last answer, and by a reset where it is destroyed in the
 * middle of a body without a length, so that its viewer cannot take what it got for the whole.
 */
export const endTruthfully = (socket: Socket, connection: Ending): void => {
  const { destroy } = socket
  // By this Node ends a connection after its last answer.
  socket.destroySoon = () => linger(socket, connection)
  socket.destroy = (error) => {
    // Unix sockets have no port, and no resets. What has been ended cannot be reset any more.
    const isReset = socket.localPort !== undefined && !socket.destroyed && !socket.writableEnded &&
      connection.answers.some((response) => isTornBy(socket, response))
    if (!isReset) return destroy.call(socket, error)
    // Node's reset ends by one of these, depending on the version.
    socket.destroy = socket.destroySoon = destroy
    return socket.resetAndDestroy()
  }
}
