/** A connection of another node, as far as it counts what it sends. */
interface Connection {
  readonly bytesWritten: number
  readonly once: (event: "close", listener: () => void) => unknown
}

/** What goes between this node and the others, counted since the start. */
export interface PeerTraffic {
  /** Requests for bytes to other nodes. */
  requests: number
  /** Requests for bytes of other nodes. */
  served: number
  /** Body bytes received from other nodes. */
  receivedBytes: number
  /** Bytes sent to other nodes, with headers. */
  readonly sentBytes: () => number
  /** Counts what a connection of another node sends. */
  readonly watch: (connection: Connection) => void
}

/** Counts from 0. */
export const makePeerTraffic = (): PeerTraffic => {
  const open = new Set<Connection>()
  let closed = 0
  return {
    requests: 0,
    served: 0,
    receivedBytes: 0,
    sentBytes: () => [...open].reduce((sum, { bytesWritten }) => sum + bytesWritten, closed),
    watch: (connection) => {
      open.add(connection)
      connection.once("close", () => {
        open.delete(connection)
        closed += connection.bytesWritten
      })
    }
  }
}
