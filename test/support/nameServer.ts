import { Effect, type Scope } from "effect"
import { createSocket, type RemoteInfo } from "node:dgram"
import { fileURLToPath } from "node:url"

/** A DNS server on loopback that knows IPv4 addresses of a few names (RFC 1035), and what a test does to it. */
export interface NameServer {
  readonly addresses: Map<string, ReadonlyArray<string>>
  /** How it fails. `refuses`: each answer is SERVFAIL; `hangs`: there is none. */
  failure: "refuses" | "hangs" | undefined
  /** The environment of a program that uses it. */
  readonly env: Record<string, string>
}

const HEADER_BYTES = 12
const TYPE_A = 1
/** A response, recursion desired and available. */
const FLAGS = 0x8180
const SERVFAIL = 2
const NXDOMAIN = 3
/** The name is that of the question. */
const SAME_NAME = 0xc0_0c
const TTL_SECONDS = 1

/** The name of the only question, and where the question ends. */
const questionOf = (query: Buffer): { readonly name: string; readonly type: number; readonly end: number } => {
  const labels: Array<string> = []
  let at = HEADER_BYTES
  for (let length = query[at]!; length > 0; length = query[at]!) {
    labels.push(query.toString("latin1", at + 1, at + 1 + length))
    at += 1 + length
  }
  return { name: labels.join(".").toLowerCase(), type: query.readUInt16BE(at + 1), end: at + 5 }
}

const recordOf = (address: string): Buffer => {
  const record = Buffer.alloc(16)
  record.writeUInt16BE(SAME_NAME, 0)
  record.writeUInt16BE(TYPE_A, 2)
  record.writeUInt16BE(1, 4)
  record.writeUInt32BE(TTL_SECONDS, 6)
  record.writeUInt16BE(4, 10)
  record.set(address.split(".").map(Number), 12)
  return record
}

const answerOf = (query: Buffer, { addresses, failure }: NameServer): Buffer => {
  const { end, name, type } = questionOf(query)
  const known = addresses.get(name)
  const records = failure === undefined && type === TYPE_A ? (known ?? []).map(recordOf) : []
  const code = failure === undefined ? known === undefined ? NXDOMAIN : 0 : SERVFAIL
  const header = Buffer.alloc(HEADER_BYTES)
  header.set(query.subarray(0, 2))
  header.writeUInt16BE(FLAGS | code, 2)
  header.writeUInt16BE(1, 4)
  header.writeUInt16BE(records.length, 6)
  return Buffer.concat([header, query.subarray(HEADER_BYTES, end), ...records])
}

/** Starts a name server that ends with the scope. */
export const makeNameServer: Effect.Effect<NameServer, never, Scope.Scope> = Effect.gen(function*() {
  const socket = createSocket("udp4")
  const port = yield* Effect.callback<number>((resume) => {
    socket.bind(0, "127.0.0.1", () => resume(Effect.succeed(socket.address().port)))
  })
  const server: NameServer = {
    addresses: new Map(),
    failure: undefined,
    env: {
      NODE_OPTIONS: `--import ${fileURLToPath(new URL("useNameServer.js", import.meta.url))}`,
      SPILLWAY_TEST_NAME_SERVER: `127.0.0.1:${port}`
    }
  }
  socket.on("message", (query: Buffer, { address, port }: RemoteInfo) => {
    if (server.failure !== "hangs") socket.send(answerOf(query, server), port, address)
  })
  yield* Effect.addFinalizer(() => Effect.callback<void>((resume) => void socket.close(() => resume(Effect.void))))
  return server
})
