import { NodeHttpServer } from "@effect/platform-node"
import { Clock, Effect, Layer, Option } from "effect"
import { HttpServer, type HttpServerError, HttpServerRequest, HttpServerResponse } from "effect/http"
import type { IncomingMessage, OutgoingHttpHeaders, ServerResponse } from "node:http"
import type { Socket } from "node:net"
import * as Tls from "node:tls"
import { proveResponse, type RequestSignature, type Secrets, verifyRequest } from "../../domain/FleetSignature.ts"
import {
  ALIVE_PATH,
  HOST_FIELD,
  PROOF_FIELD,
  PURGE_PATH,
  SIGNATURE_FIELD,
  signedParts,
  WANTS_FIELD,
  wantsOf
} from "../../domain/PeerProtocol.ts"
import { isAbove } from "../../domain/Rendezvous.ts"
import { ReplayWindow } from "../../domain/ReplayWindow.ts"
import { parseRange } from "../../domain/rfc/ByteRange.ts"
import type { HeaderFields } from "../../domain/rfc/HeaderFields.ts"
import { withoutServices } from "../../effects/withoutServices.ts"
import { ServerConfig, type ServerOptions } from "../../services/config/ServerConfig.ts"
import { Fleet } from "../../services/fleet/Fleet.ts"
import { FleetConfig, type FleetOptions, type PeerTls } from "../../services/fleet/FleetConfig.ts"
import * as Metrics from "../../services/observe/pullMetrics.ts"
import { FleetPurger } from "../../services/operate/FleetPurger.ts"
import { PREFIX } from "../admin/AdminPages.ts"
import { isNamed } from "../proxy/namedUrl.ts"
import { markPeer, type PeerMark } from "../proxy/peerRequests.ts"
import { Proxy } from "../proxy/Proxy.ts"
import { GuardedServer } from "./guardedServer.ts"
import { type Address, tellDefects } from "./Server.ts"

/**
 * The server for the other nodes of a fleet, on a port of its own. A request without a valid signature gets a 403, and nothing is looked up
 * for it. All others are requests as viewers send them, which are answered from memory, from disk or from the origin, and never handed on.
 */

/** How long a TLS handshake may take, in milliseconds. */
const HANDSHAKE_MILLIS = 10_000

/** How long the end of the program waits for the other nodes. They continue elsewhere at the exact byte. */
const DRAIN_TIMEOUT = "1 second"

/** How long a purge may be, in bytes. */
const MAX_PURGE_BYTES = 512 * 1024

/** For how many stretches of a range the order of two nodes is compared. A node asks for no more at a time. */
const MAX_COMPARED = 64

/** What a peer server does with requests. */
interface Gate {
  readonly secrets: Secrets
  readonly now: () => number
  /** What is known of a verified request. */
  readonly markOf: (request: IncomingMessage, signature: RequestSignature) => PeerMark
  readonly onForbidden: () => void
}

const isRequest = new Set(["request", "checkContinue", "checkExpectation"])

/** Whether nodes may ask for a target: a file, or one of their own pages. Spillway's pages for people are not for them. */
const isForPeers = (method: string, target: string): boolean => {
  if (target === PURGE_PATH) return method === "POST"
  if (target === ALIVE_PATH) return method === "HEAD"
  return method === "GET" && (!target.startsWith(PREFIX) || isNamed(target))
}

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
  readonly #gate: Gate
  readonly #window = new ReplayWindow()
  readonly #tls: Tls.Server | undefined

  constructor(
    options: ServerOptions,
    watcher: ConstructorParameters<typeof GuardedServer>[1],
    tryReply: ConstructorParameters<typeof GuardedServer>[2],
    gate: Gate,
    tls: PeerTls | undefined
  ) {
    super(options, watcher, tryReply)
    this.#gate = gate
    // It listens to nothing: it is given each connection, and returns it when the other side has shown its certificate.
    this.#tls = tls && Tls.createServer(
      { ...tls, requestCert: true, rejectUnauthorized: true, handshakeTimeout: HANDSHAKE_MILLIS },
      (socket) => super.emit("connection", socket)
    )
  }

  override emit(event: string, ...args: Array<any>): boolean {
    if (event === "connection" && this.#tls !== undefined) return this.#tls.emit("connection", args[0] as Socket)
    return isRequest.has(event) && this.#settles(args[0], args[1]) ? true : super.emit(event, ...args)
  }

  /** Whether a request goes no further. */
  #settles(request: IncomingMessage, response: ServerResponse): boolean {
    const { method = "", url = "" } = request
    const headers = request.headers as Record<string, string>
    const { markOf, now, onForbidden, secrets } = this.#gate
    const time = now()
    const signature = verifyRequest(secrets, signedParts(method, url, headers), headers[SIGNATURE_FIELD], time)
    const isFirst = signature !== undefined && this.#window.isFirst(signature.nonce, signature.time, time)
    if (signature === undefined || !isFirst || !isForPeers(method, url)) {
      onForbidden()
      response.writeHead(403, { "connection": "close", "content-length": "0" }).end()
      return true
    }
    prove(response, secrets, signature.mac)
    if (url === ALIVE_PATH) {
      response.writeHead(204).end()
      return true
    }
    headers["host"] = headers[HOST_FIELD] ?? ""
    markPeer(request, markOf(request, signature))
    for (const name of [HOST_FIELD, SIGNATURE_FIELD, WANTS_FIELD]) delete headers[name]
    return false
  }
}

/** Makes the function that compares this node with one that asks it. */
const makeMarkOf = Effect.gen(function*() {
  const { peers, self, stretchAt } = yield* Fleet
  const { identify } = yield* Proxy

  const isBelow = (name: string, url: string, range: string | undefined): boolean => {
    const spec = parseRange(range)
    const asker = peers().find(({ member }) => member.name === name)?.member ?? { ...self!, name }
    const first = spec?._tag === "From" ? stretchAt(spec.start) : 0
    const last = spec?._tag === "From" && spec.last !== undefined ? stretchAt(spec.last) : first
    for (let stretch = first; stretch <= last && stretch < first + MAX_COMPARED; stretch++) {
      if (isAbove(asker, self!, url, stretch)) return false
    }
    return true
  }

  return ({ headers, url = "" }: IncomingMessage, { name }: RequestSignature): PeerMark => {
    const fields = headers as HeaderFields
    const wants = wantsOf(fields)
    const resource = identify({ target: url, headers: fields })
    // Who asks for what is cached waits for nobody.
    const isApart = wants !== "cached" && !("status" in resource) && !isBelow(name, resource.url, fields["range"])
    return { name, wants, isApart }
  }
})

/** The answer to a purge of another node, when this node has done it. */
const makeReceive = Effect.gen(function*() {
  const { log } = yield* Fleet
  const { receive } = yield* FleetPurger
  return Effect.gen(function*() {
    const request = yield* HttpServerRequest.HttpServerRequest
    const text = yield* request.text
    const purge = text.length > MAX_PURGE_BYTES ? Option.none() : yield* log.open(text)
    if (Option.isNone(purge)) return HttpServerResponse.empty({ status: 400 })
    const isDone = yield* receive(purge.value)
    return HttpServerResponse.empty({ status: isDone ? 200 : 500, headers: { "content-length": "0" } })
  }).pipe(Effect.catch(() => Effect.succeed(HttpServerResponse.empty({ status: 400 }))))
})

const makeNode = Effect.fnUntraced(function*({ secrets, tls }: FleetOptions) {
  const { tryReply } = yield* Proxy
  const options = yield* ServerConfig
  const clock = yield* Clock.Clock
  const context = yield* Effect.context()
  let forbidden = 0
  let apart = 0
  yield* Metrics.counter(
    "spillway_peer_forbidden_total",
    "Requests to the port for other nodes without a valid signature",
    () => forbidden
  )
  yield* Metrics.counter(
    "spillway_peer_apart_total",
    "Requests of other nodes that order nodes differently",
    () => apart
  )
  const markOf = yield* makeMarkOf
  const gate: Gate = {
    secrets,
    now: () => clock.currentTimeMillisUnsafe(),
    markOf: (request, signature) => {
      const mark = markOf(request, signature)
      if (mark.isApart) apart += 1
      return mark
    },
    onForbidden: () => forbidden += 1
  }
  const watcher = {
    onConnections: () => {},
    onSurplus: () => {},
    onDefect: tellDefects(context),
    onAnswered: undefined
  }
  return new PeerServer(options, watcher, tryReply, gate, tls)
})

/** Its end tells the other nodes of the fleet that this one ends, which they need not find out then. */
export const layerLeaving: Layer.Layer<never> = Layer.effectDiscard(
  Effect.flatMap(Fleet, ({ leave }) => Effect.addFinalizer(() => leave))
)

/** Serves the other nodes of the fleet at `address`. */
export const layerPeers = (
  { host, port }: Address
): Layer.Layer<never, HttpServerError.ServeError, FleetConfig | FleetPurger | Proxy> =>
  Layer.effectDiscard(
    Effect.gen(function*() {
      const options = yield* FleetConfig
      const { handler } = yield* Proxy
      const receive = yield* makeReceive
      const node = yield* makeNode(options)
      const server = yield* NodeHttpServer.make(() => node, { host, port, gracefulShutdownTimeout: DRAIN_TIMEOUT })
      const served = Effect.flatMap(
        HttpServerRequest.HttpServerRequest,
        ({ url }) => url === PURGE_PATH ? receive : Effect.map(handler, ({ response }) => response)
      )
      yield* withoutServices(HttpServer.serveEffect(served)).pipe(
        Effect.provideService(HttpServer.HttpServer, server)
      )
    })
  )
