import type { IncomingMessage, ServerResponse } from "node:http"
import type { Socket } from "node:net"

/** What is known of a connection. */
export interface Connection {
  /** Whether it came when there was no room: its first request is refused. */
  readonly isSurplus: boolean
  /** Whether its first request is its last. */
  readonly isLast: boolean
  /** Whether no more requests are taken from it, and how many came anyway. */
  isClosing: boolean
  dropped: number
  /** The last request. */
  request: IncomingMessage | undefined
  /** The answers that are not sent yet, in order. */
  readonly answers: Array<ServerResponse>
}

/** Whether all requests of a connection are answered. */
export const isAnswered = ({ answers }: Connection): boolean => answers.at(-1)?.writableFinished ?? true

/** Whether a connection is merely kept for a next request. */
export const isIdle = (connection: Connection): boolean =>
  connection.request?.complete === true && isAnswered(connection)

/** Whether a connection on which nothing has happened for long waits for its viewer, and not its viewer for us. */
export const isStalled = (socket: Socket, connection: Connection): boolean => {
  const { request } = connection
  if (request === undefined || isAnswered(connection) || socket.writableLength > 0) return true
  // While we read no more of a body, nobody can send it.
  return !request.complete && request.readableLength < request.readableHighWaterMark
}
