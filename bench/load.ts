import { Connection } from "./Connection.ts"

export interface Target {
  readonly path: string
  readonly range?: string
  /** How many bytes the answer has. */
  readonly bytes: number
}

export interface Load {
  readonly requests: number
  readonly bytes: number
  readonly seconds: number
  /** How much of the time this process was busy, 0 to 1: near 1, the client was the limit. */
  readonly clientBusy: number
}

const check = (target: Target, status: number, bytes: number): void => {
  const expected = target.range === undefined ? 200 : 206
  if (status !== expected || bytes !== target.bytes) {
    throw new Error(`${target.path} ${target.range ?? ""}: status ${status} with ${bytes} bytes`)
  }
}

/** One answer, checked, on a connection that stays open. */
export const get = async (connection: Connection, target: Target, onBody?: (piece: Buffer) => void) => {
  const exchange = await connection.get(target.path, target.range, onBody)
  check(target, exchange.status, exchange.bytes)
  return exchange
}

interface LoadOptions {
  readonly connections: number
  readonly next: () => Target
  /** How long each connection goes on. */
  readonly seconds?: number
  /** Whether each connection ends instead. */
  readonly until?: () => boolean
}

/** Asks over `connections` connections, one request after the other on each, until it is over; once at least. */
export const load = async (port: number, options: LoadOptions): Promise<Load> => {
  const connections = Array.from({ length: options.connections }, () => new Connection(port))
  const cpuBefore = process.cpuUsage()
  const started = performance.now()
  const deadline = started + (options.seconds ?? 0) * 1000
  const isOver = options.until ?? (() => performance.now() >= deadline)
  let requests = 0
  let bytes = 0
  try {
    await Promise.all(connections.map(async (connection) => {
      do {
        const exchange = await get(connection, options.next())
        // Not in one expression with the wait: `+=` would add to what the sum was before it.
        bytes += exchange.bytes
        requests += 1
      } while (!isOver())
    }))
  } finally {
    for (const connection of connections) connection.close()
  }
  const seconds = (performance.now() - started) / 1000
  const cpu = process.cpuUsage(cpuBefore)
  return { requests, bytes, seconds, clientBusy: (cpu.user + cpu.system) / 1e6 / seconds }
}
