import { NodeHttpServer } from "@effect/platform-node"
import { ByteSize, Effect, Layer } from "effect"
import {
  HttpIncomingMessage,
  HttpServer,
  type HttpServerError,
  HttpServerRequest,
  HttpServerResponse
} from "effect/http"
import type { IncomingMessage, OutgoingHttpHeaders, ServerResponse } from "node:http"
import type { Socket } from "node:net"
import * as Tls from "node:tls"
import { proveResponse, type Secrets } from "../../domain/FleetSignature.ts"
import { ALIVE_PATH, PROOF_FIELD, PURGE_PATH, REPORT_PATH } from "../../domain/PeerProtocol.ts"
import { withoutServices } from "../../effects/withoutServices.ts"
import { ServerConfig, type ServerOptions } from "../../services/config/ServerConfig.ts"
import { Fleet } from "../../services/fleet/Fleet.ts"
import { FleetConfig, type FleetOptions, type PeerTls } from "../../services/fleet/FleetConfig.ts"
import { NodeName } from "../../services/fleet/NodeName.ts"
import type { FleetPurger } from "../../services/operate/FleetPurger.ts"
import { FleetReport } from "../admin/FleetReport.ts"
import { markPeer } from "../proxy/peerRequests.ts"
import { Proxy } from "../proxy/Proxy.ts"
import { GuardedServer } from "./guardedServer.ts"
import { makePeerGate, makeReceive, MAX_PURGE_BYTES, type PeerGate, restoreFields } from "./peerGate.ts"
import { type Address, tellDefects } from "./Server.ts"

/**
 * The server for the other nodes of a fleet, on a port of its own. A request without a valid signature gets a 403, and nothing is looked up
 * for it. All others are requests as viewers send them. They are answered from memory, from disk or from the origin, and handed on at most to a node that answers
 * from what it has.
 */

/** How long a TLS handshake may take, in milliseconds. */
const HANDSHAKE_MILLIS = 10_000

/** How long the end of the program waits for the other nodes. They continue elsewhere at the exact byte. */
const DRAIN_TIMEOUT = "1 second"

/** The events that bring a request. */
const REQUEST_EVENTS = new Set(["request", "checkContinue", "checkExpectation"])

/** What `writeHead` takes: an object, or names and values in turn. */
type Fields = OutgoingHttpHeaders | ReadonlyArray<string>

const fieldOf = (fields: Fields, name: string): string | undefined => {
  if (!Array.isArray(fields)) return (fields as OutgoingHttpHeaders)[name]?.toString()
  const at = fields.findIndex((field, i) => i % 2 === 0 && field.toLowerCase() === name)
  return at < 0 ? undefined : fields[at + 1]
}

/** Has `response` carry the proof that a node of the fleet answers the request with the code `mac`. */
const prove = (response: ServerResponse, secrets: Secrets, mac: string): void => {
  const writeHead = response.writeHead.bind(response) as (...args: ReadonlyArray<unknown>) => ServerResponse
  response.writeHead = (status: number, ...rest: ReadonlyArray<unknown>) => {
    const fields = rest.findLast((value) => typeof value === "object" && value !== null) as Fields ?? {}
    const etag = fieldOf(fields, "etag")
    const contentRange = fieldOf(fields, "content-range")
    response.setHeader(PROOF_FIELD, proveResponse(secrets, mac, { status, etag, contentRange }))
    return writeHead(status, ...rest)
  }
}

class PeerServer extends GuardedServer {
  readonly #onDefect: (event: string, defect: unknown) => void
  readonly #gate: PeerGate
  readonly #tls: Tls.Server | undefined

  constructor(
    options: ServerOptions,
    watcher: ConstructorParameters<typeof GuardedServer>[1],
    tryReply: ConstructorParameters<typeof GuardedServer>[2],
    gate: PeerGate,
    tls: PeerTls | undefined
  ) {
    super(options, watcher, tryReply)
    this.#gate = gate
    this.#onDefect = watcher.onDefect
    // It listens to nothing: it is given each connection, and returns it when the other side has shown its certificate.
    this.#tls = tls && Tls.createServer(
      { ...tls, requestCert: true, rejectUnauthorized: true, handshakeTimeout: HANDSHAKE_MILLIS },
      (socket) => super.emit("connection", socket)
    )
  }

  override emit(event: string, ...args: Array<any>): boolean {
    if (event === "connection" && this.#tls !== undefined) return this.#tls.emit("connection", args[0] as Socket)
    if (!REQUEST_EVENTS.has(event)) return super.emit(event, ...args)
    try {
      if (this.#settles(args[0], args[1])) return true
    } catch (defect) {
      // Nobody above catches it: the process would end.
      this.#onDefect(event, defect)
      args[0].socket.destroy()
      return true
    }
    return super.emit(event, ...args)
  }

  /** Whether a request goes no further. */
  #settles(request: IncomingMessage, response: ServerResponse): boolean {
    const { method = "", url = "" } = request
    const headers = request.headers as Record<string, string>
    const admitted = this.#gate.admit({ method, url, headers })
    if (admitted === undefined) {
      response.writeHead(403, { "connection": "close", "content-length": "0" }).end()
      return true
    }
    prove(response, this.#gate.secrets, admitted.mac)
    if (url === ALIVE_PATH) {
      response.writeHead(204).end()
      return true
    }
    restoreFields(headers)
    markPeer(request, admitted.mark)
    return false
  }
}

/** The answer to a purge of another node, when this node has done it. */
const makePurgeReply = Effect.map(makeReceive, (receive) =>
  Effect.gen(function*() {
    const request = yield* HttpServerRequest.HttpServerRequest
    const status = yield* receive(yield* request.text)
    return HttpServerResponse.empty({ status, headers: { "content-length": "0" } })
  }).pipe(
    Effect.provideService(HttpIncomingMessage.MaxBodySize, ByteSize.bytes(MAX_PURGE_BYTES)),
    Effect.catch(() => Effect.succeed(HttpServerResponse.empty({ status: 400 })))
  ))

const makeNode = Effect.fnUntraced(function*({ tls }: FleetOptions) {
  const { tryReply } = yield* Proxy
  const options = yield* ServerConfig
  const context = yield* Effect.context()
  const gate = yield* makePeerGate
  const watcher = {
    node: yield* NodeName,
    onConnections: () => {},
    onSurplus: () => {},
    onDefect: tellDefects(context),
    onAnswered: undefined
  }
  const { traffic } = yield* Fleet
  const node = new PeerServer(options, watcher, tryReply, gate, tls)
  return node.on("connection", traffic.watch)
})

/** Its end tells the other nodes of the fleet that this one ends, which they need not find out then. */
export const layerLeaving: Layer.Layer<never> = Layer.effectDiscard(
  Effect.flatMap(Fleet, ({ leave }) => Effect.addFinalizer(() => leave))
)

/** Serves the other nodes of the fleet at `address`. */
export const layerPeers = (
  { host, port }: Address
): Layer.Layer<never, HttpServerError.ServeError, FleetConfig | FleetPurger | FleetReport | Proxy> =>
  Layer.effectDiscard(
    Effect.gen(function*() {
      const options = yield* FleetConfig
      const { handler } = yield* Proxy
      const { own } = yield* FleetReport
      const purgeReply = yield* makePurgeReply
      const report = Effect.map(own, (report) => HttpServerResponse.jsonUnsafe(report))
      const node = yield* makeNode(options)
      const server = yield* NodeHttpServer.make(() => node, { host, port, gracefulShutdownTimeout: DRAIN_TIMEOUT })
      const served = Effect.flatMap(
        HttpServerRequest.HttpServerRequest,
        ({ url }) => {
          if (url === PURGE_PATH) return purgeReply
          return url === REPORT_PATH ? report : Effect.map(handler, ({ response }) => response)
        }
      )
      yield* withoutServices(HttpServer.serveEffect(served)).pipe(
        Effect.provideService(HttpServer.HttpServer, server)
      )
    })
  )
