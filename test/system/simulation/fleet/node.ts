import { type Context, Effect, type Fiber, Layer, Scope } from "effect"
import type { HttpClient } from "effect/http"
import { makePeerGate, makeReceive } from "../../../../src/http/server/peerGate.ts"
import { Fleet } from "../../../../src/services/fleet/Fleet.ts"
import { FleetConfig, type FleetOptions } from "../../../../src/services/fleet/FleetConfig.ts"
import { Membership } from "../../../../src/services/fleet/Membership.ts"
import { PeerClient } from "../../../../src/services/fleet/PeerClient.ts"
import type { PeerMessenger } from "../../../../src/services/fleet/PeerMessenger.ts"
import type { MemoryFile } from "../../../../src/testing/MemoryOrigin.ts"
import type { View } from "../invariants.ts"
import type { Machine } from "../machine.ts"
import type { Random } from "../random.ts"
import { makeSurroundings, type Spillway, start, type Surroundings } from "../spillway.ts"
import type { Port } from "./network.ts"
import type { FleetSchedule, NodePlan } from "./schedule.ts"

/** A node: what outlives its process, and the process while there is one. */
export interface Node {
  readonly plan: NodePlan
  readonly surroundings: Surroundings
  readonly views: Set<View>
  readonly viewers: Set<Fiber.Fiber<unknown, unknown>>
  weight: number
  spillway: Spillway | undefined
  /** While it serves. */
  port: Port | undefined
  /** Until when it does nothing. */
  hungUntil: number
  /** When it last began to run, or to run again. */
  runsSince: number
}

/** The disks are those of the nodes; the origin is one, asked by each node for itself. */
export const makeNode = (plan: NodePlan, files: Map<string, MemoryFile>): Node => {
  const surroundings = makeSurroundings()
  Object.assign(surroundings.origin, { files })
  return {
    plan,
    surroundings,
    views: new Set(),
    viewers: new Set(),
    weight: plan.weight,
    spillway: undefined,
    port: undefined,
    hungUntil: -Infinity,
    runsSince: -Infinity
  }
}

export const SECRETS = ["a secret of at least thirty-two characters"] as const

/** The name of the fleet. */
export const FLEET = "simulated"

interface Links {
  readonly membership: Membership["Service"]
  readonly transport: Context.Context<HttpClient.HttpClient | PeerMessenger>
}

const optionsOf = ({ plan, weight }: Node, { chunkSize, settle }: FleetSchedule): FleetOptions => ({
  fleet: FLEET,
  node: plan.name,
  advertise: { host: `${plan.name}.peer`, port: 8471 },
  weight,
  secrets: SECRETS,
  stretch: plan.stretch * chunkSize,
  patience: 2500,
  settle,
  isolated: "serve",
  tls: undefined
})

/** Starts the process of a node. It serves other nodes as soon as its services are there. */
export const startNode = (
  node: Node,
  machine: Machine,
  schedule: FleetSchedule,
  random: Random,
  onError: (message: string) => void,
  { membership, transport }: Links
): void => {
  const peers = Layer.provide(PeerClient.layerNoDeps, Layer.succeedContext(transport))
  const config = Layer.succeed(FleetConfig, optionsOf(node, schedule))
  const fleet = Fleet.layer.pipe(
    Layer.provide(Layer.merge(peers, Layer.succeed(Membership, membership))),
    Layer.provide(config)
  )
  const spillway = node.spillway = start(machine, node.surroundings, schedule, random, onError, fleet)
  node.runsSince = machine.now()
  const open = () => {
    if (node.spillway !== spillway) return
    if (spillway.services() === undefined) return void machine.at(machine.now() + 1, open)
    const made = spillway.fork(
      Effect.all({ gate: makePeerGate, receive: makeReceive }).pipe(
        Effect.provide(config),
        Scope.provide(Scope.makeUnsafe())
      )
    )
    made.addObserver((exit) => {
      if (exit._tag === "Failure") onError(`does not serve nodes: ${String(exit.cause)}`)
      else node.port = { ...exit.value, process: spillway.process, fork: spillway.fork }
    })
  }
  open()
}
