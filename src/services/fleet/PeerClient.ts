import { NodeHttpClient } from "@effect/platform-node"
import { buildConnector } from "@effect/platform-node/Undici"
import { Clock, Context, Effect, Layer, Schema, type Scope } from "effect"
import type { HttpClient } from "effect/http"
import { randomBytes } from "node:crypto"
import { formatAddress } from "../../domain/FleetEngine.ts"
import type { FleetMember } from "../../domain/FleetMember.ts"
import { formatSignature, isProven, signRequest } from "../../domain/FleetSignature.ts"
import type { OriginError } from "../../domain/OriginError.ts"
import {
  ALIVE_PATH,
  HOST_FIELD,
  PROOF_FIELD,
  SIGNATURE_FIELD,
  signedParts,
  type Wants,
  WANTS_FIELD
} from "../../domain/PeerProtocol.ts"
import type { HeaderFields } from "../../domain/rfc/HeaderFields.ts"
import { OriginConfig, type OriginOptions } from "../config/OriginConfig.ts"
import { Origin, type OriginResponse, type PeerQuestion } from "../origin/Origin.ts"
import { FleetConfig, type FleetOptions, type PeerTls } from "./FleetConfig.ts"
import { type PeerMessage, PeerMessenger } from "./PeerMessenger.ts"

/** A request for bytes to another node, or for the head alone. */
export interface PeerRequest {
  readonly method: "GET" | "HEAD"
  readonly question: PeerQuestion
  /** Without `Range`. */
  readonly headers: HeaderFields
  readonly range: string | undefined
  readonly wants: Wants | undefined
}

/** The answer is not that of a node of this fleet. */
export class PeerUnproven extends Schema.TaggedError<PeerUnproven>()("PeerUnproven", {
  peer: Schema.String,
  status: Schema.Int
}) {}

/** A message to a node has no answer, or another one than 200. */
export class PeerFailed extends Schema.TaggedError<PeerFailed>()("PeerFailed", {
  peer: Schema.String,
  cause: Schema.Defect()
}) {}

/** How this node talks to the others of its fleet. */
export class PeerClient extends Context.Service<PeerClient, {
  /**
   * Asks a node for bytes or a head. The scope holds the connection. Fails if the node can't be reached, or if the answer has no valid proof.
   */
  readonly request: (
    peer: FleetMember,
    request: PeerRequest
  ) => Effect.Effect<OriginResponse, OriginError | PeerUnproven, Scope.Scope>
  /** Asks a node whether it is there, by a connection of its own. Takes as long as the node takes. */
  readonly isAlive: (peer: FleetMember) => Effect.Effect<boolean>
  /** Sends a message to a node, or nothing, and returns its answer. Takes as long as the node takes. */
  readonly send: (peer: FleetMember, path: string, message: string | undefined) => Effect.Effect<string, PeerFailed>
}>()("spillway/services/fleet/PeerClient") {
  /** Uses the `HttpClient` in context for requests. */
  static readonly layerNoDeps: Layer.Layer<
    PeerClient,
    never,
    FleetConfig | HttpClient.HttpClient | OriginConfig | PeerMessenger
  > = Layer.effect(PeerClient, Effect.suspend(() => make)).pipe(Layer.provide(Layer.suspend(() => layerOrigin)))

  /** Uses undici with connections that are kept alive for requests, and a connection for each message. */
  static readonly layer: Layer.Layer<PeerClient, never, FleetConfig | OriginConfig> = this.layerNoDeps.pipe(
    Layer.provide(Layer.unwrap(Effect.map(FleetConfig, ({ tls }) => layerConnections(tls)))),
    Layer.provide(PeerMessenger.layer)
  )
}

/** The nodes as origins. */
class PeerOrigin
  extends Context.Service<PeerOrigin, Origin["Service"]>()("spillway/services/fleet/PeerClient/PeerOrigin")
{}

/** The factor of time limits towards nodes, which have their own limits for origins, and retries. */
const PATIENCE = 3

/** How long it may take to connect to a node, in milliseconds. */
const CONNECT_MILLIS = 1000

/** How many requests to one node may be under way. */
const MAX_REQUESTS = 1024

/** The node follows redirects itself, and takes as long as its origin. */
const patient = (config: OriginOptions): OriginOptions => ({
  ...config,
  origins: { routes: [], urlHosts: [], allowPrivate: false },
  firstByteTimeout: config.firstByteTimeout * PATIENCE,
  silenceTimeout: config.silenceTimeout * PATIENCE,
  maxRequests: MAX_REQUESTS,
  offline: false
})

const layerOrigin: Layer.Layer<PeerOrigin, never, HttpClient.HttpClient | OriginConfig> = Layer.effect(
  PeerOrigin,
  Origin
).pipe(
  Layer.provide(Origin.layerNoDeps),
  Layer.provide(Layer.effect(OriginConfig, Effect.map(OriginConfig, patient)))
)

const layerConnections = (tls: PeerTls | undefined): Layer.Layer<HttpClient.HttpClient> =>
  NodeHttpClient.layerUndiciNoDispatcher.pipe(
    Layer.provide(NodeHttpClient.layerDispatcherOptions({
      allowH2: false,
      connections: MAX_REQUESTS,
      connect: buildConnector({ allowH2: false, timeout: CONNECT_MILLIS, ...tls })
    }))
  )

/** The URL of a target at a node. */
const urlOf = ({ tls }: FleetOptions, peer: FleetMember, target: string): string =>
  `${tls === undefined ? "http" : "https"}://${formatAddress(peer)}${target}`

/** How many random bytes tell two requests of one millisecond apart. */
const NONCE_BYTES = 12

/** Makes the function that signs requests of this node. */
const makeSign =
  ({ node, secrets }: FleetOptions, now: () => number) => (method: string, target: string, headers: HeaderFields) => {
    const nonce = randomBytes(NONCE_BYTES).toString("base64url")
    const signature = signRequest(secrets, signedParts(method, target, headers), { name: node, time: now(), nonce })
    return { field: formatSignature(signature), mac: signature.mac }
  }

/** `headers` without the proof. */
const withoutProof = (headers: HeaderFields): HeaderFields => {
  const { [PROOF_FIELD]: _, ...rest } = headers
  return rest
}

const make = Effect.gen(function*() {
  const config = yield* FleetConfig
  const origin = yield* PeerOrigin
  const messenger = yield* PeerMessenger
  const clock = yield* Clock.Clock
  const sign = makeSign(config, () => clock.currentTimeMillisUnsafe())

  const request = Effect.fnUntraced(
    function*(peer: FleetMember, { headers, method, question, range, wants }: PeerRequest) {
      const { host, target } = question
      const fields = {
        ...headers,
        ...(range !== undefined && { range }),
        [HOST_FIELD]: host,
        ...(wants !== undefined && { [WANTS_FIELD]: wants })
      }
      const { field, mac } = sign(method, target, fields)
      const response = yield* origin.request({
        method,
        url: urlOf(config, peer, target),
        headers: { ...fields, [SIGNATURE_FIELD]: field }
      })
      const { headers: told, status } = response
      const answer = { status, etag: told["etag"], contentRange: told["content-range"] }
      if (!isProven(config.secrets, mac, answer, told[PROOF_FIELD])) {
        return yield* new PeerUnproven({ peer: peer.name, status })
      }
      return { ...response, headers: withoutProof(told) }
    }
  )

  /** Sends a message, and returns what a node of the fleet answers. */
  const exchange = Effect.fnUntraced(
    function*(peer: FleetMember, method: PeerMessage["method"], path: string, body?: string) {
      const { field, mac } = sign(method, path, {})
      const url = urlOf(config, peer, path)
      const fail = (cause: unknown) => new PeerFailed({ peer: peer.name, cause })
      const { proof, status, text } = yield* Effect.mapError(
        messenger.send({ method, url, headers: { [SIGNATURE_FIELD]: field }, body }),
        fail
      )
      const answer = { status, etag: undefined, contentRange: undefined }
      if (status >= 300 || !isProven(config.secrets, mac, answer, proof)) {
        return yield* fail(`unexpected answer ${status}`)
      }
      return text
    }
  )

  return PeerClient.of({
    request,
    isAlive: (peer) =>
      Effect.match(exchange(peer, "HEAD", ALIVE_PATH), { onFailure: () => false, onSuccess: () => true }),
    send: (peer, path, message) => exchange(peer, message === undefined ? "GET" : "POST", path, message)
  })
})
