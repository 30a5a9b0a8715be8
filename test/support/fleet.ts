import { NodePath } from "@effect/platform-node"
import { Context, Effect, Layer } from "effect"
import { CacheConfig } from "../../src/services/config/CacheConfig.ts"
import { OriginConfig } from "../../src/services/config/OriginConfig.ts"
import { Fleet } from "../../src/services/fleet/Fleet.ts"
import { FleetConfig, type FleetOptions } from "../../src/services/fleet/FleetConfig.ts"
import * as fleetOrigin from "../../src/services/fleet/fleetOrigin.ts"
import {
  type Announcement,
  type Heartbeat,
  type LogAnswer,
  Membership,
  MembershipFailed
} from "../../src/services/fleet/Membership.ts"
import { PeerClient, PeerUnproven } from "../../src/services/fleet/PeerClient.ts"
import { Origin } from "../../src/services/origin/Origin.ts"
import * as MemoryFileSystem from "../../src/testing/MemoryFileSystem.ts"
import * as MemoryOrigin from "../../src/testing/MemoryOrigin.ts"

/** A fleet of which only one node is real: the others are answers of a `MemoryOrigin`, below `http://NAME.peer`. */

export const options: FleetOptions = {
  fleet: "test",
  node: "n1",
  advertise: { host: "n1.peer", port: 8471 },
  weight: 1,
  secrets: ["s".repeat(32)],
  stretch: 256 * 1024,
  patience: 2500,
  settle: 1,
  isolated: "serve",
  tls: undefined
}

/** An engine that a test controls. */
export class Engine extends Context.Service<Engine, {
  nodes: ReadonlyArray<Announcement>
  /** Why it doesn't answer. */
  failure: "refuses" | "hangs" | undefined
  log: LogAnswer | undefined
  /** It answers, but adds nothing to its log. */
  refusesAppends: boolean
  readonly beats: Array<Heartbeat>
  readonly appended: Array<string>
  readonly left: Array<string>
}>()("spillway/test/support/fleet/Engine") {}

/** How the other nodes behave. */
export class Peers extends Context.Service<Peers, {
  /** Those that don't even answer whether they are there. */
  readonly silent: Set<string>
  /** Those whose answers have no proof. */
  readonly strangers: Set<string>
  /** Questions whether a node is there, in order. */
  readonly questions: Array<string>
}>()("spillway/test/support/fleet/Peers") {}

export const configured = (name: string): Announcement => ({
  _tag: "Configured",
  name,
  host: `${name}.peer`,
  port: 8471
})

export const LEASE = 3000

const layerEngine = (hasLog: boolean) =>
  Layer.effectContext(Effect.sync(() => {
    const engine: Engine["Service"] = {
      nodes: [],
      failure: undefined,
      log: undefined,
      refusesAppends: false,
      beats: [],
      appended: [],
      left: []
    }
    const call = <A>(answer: () => A) =>
      Effect.suspend(() => {
        if (engine.failure === "hangs") return Effect.never
        return engine.failure === undefined
          ? Effect.sync(answer)
          : Effect.fail(new MembershipFailed({ cause: "refused" }))
      })
    const membership = Membership.of({
      label: "test",
      hasLog,
      hasWeights: hasLog,
      beatMillis: 1000,
      leaseMillis: LEASE,
      open: () =>
        call(() => ({
          beat: (heartbeat) =>
            call(() => {
              engine.beats.push(heartbeat)
              return { nodes: engine.nodes, log: engine.log }
            }),
          append: (text) =>
            engine.refusesAppends
              ? Effect.fail(new MembershipFailed({ cause: "full" }))
              : call(() => void engine.appended.push(text)),
          leave: (name) => call(() => void engine.left.push(name))
        }))
    })
    return Context.make(Membership, membership).pipe(Context.add(Engine, engine))
  }))

const layerPeers = Layer.effectContext(Effect.gen(function*() {
  const origin = yield* Origin
  const peers: Peers["Service"] = { silent: new Set(), strangers: new Set(), questions: [] }
  const client = PeerClient.of({
    request: ({ name }, { headers, method, question, range, wants }) =>
      peers.silent.has(name)
        ? Effect.never
        : origin.request({
          method,
          url: `http://${name}.peer${question.target}`,
          headers: { ...headers, ...(range !== undefined && { range }), ...(wants !== undefined && { wants }) }
        }).pipe(
          Effect.filterOrFail(
            () => !peers.strangers.has(name),
            ({ status }) => new PeerUnproven({ peer: name, status })
          )
        ),
    isAlive: ({ name }) =>
      Effect.suspend(() => {
        peers.questions.push(name)
        return peers.silent.has(name) ? Effect.never : Effect.succeed(true)
      }),
    send: () => Effect.succeed("{}")
  })
  return Context.make(PeerClient, client).pipe(Context.add(Peers, peers))
}))

/** A node with this configuration, over an origin in memory, which is the other nodes as well. */
export const fleetOf = (changes: Partial<FleetOptions> = {}, hasLog = true) =>
  fleetOrigin.layer.pipe(
    Layer.provideMerge(Fleet.layer),
    Layer.provideMerge(layerPeers),
    Layer.provideMerge(layerEngine(hasLog)),
    Layer.provideMerge(Layer.succeed(FleetConfig, { ...options, ...changes })),
    Layer.provideMerge(MemoryOrigin.layer),
    Layer.provideMerge(MemoryFileSystem.layer),
    Layer.provideMerge(NodePath.layer),
    Layer.provideMerge(Layer.merge(CacheConfig.layer({ directory: "/cache" }), OriginConfig.layer()))
  )
