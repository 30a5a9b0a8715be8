import { Context } from "effect"
import type { Secrets } from "../../domain/FleetSignature.ts"

/**
 * Certificates for TLS between nodes, in PEM. Each node shows one, and accepts only those that `ca` has signed.
 *
 * @since 0.1.0
 * @category options
 */
export interface PeerTls {
  readonly cert: string
  readonly key: string
  readonly ca: string
}

/**
 * The options of a node in a fleet. Sizes are in bytes, times in milliseconds.
 *
 * @since 0.1.0
 * @category options
 */
export interface FleetOptions {
  /** The name of the fleet: several can share an engine. */
  readonly fleet: string
  /** The name of this node, which names its disk. Keep it when the node restarts. */
  readonly node: string
  /** Where the other nodes find this one. */
  readonly advertise: { readonly host: string; readonly port: number }
  /** How much this node owns compared with the others. 0: it asks others, and owns nothing. 1 if the engine has no weights. */
  readonly weight: number
  /** The first secret signs, all of them verify. */
  readonly secrets: Secrets
  /** The size of the parts that are owned. A multiple of the chunk size, and the same on all nodes. */
  readonly stretch: number
  /** The time until a silent node counts as lost. */
  readonly patience: number
  /** How long this node asks others for what they owned before the list of nodes changed. */
  readonly settle: number
  /** What a node does that reaches neither the engine nor another node: serve what is fresh, or revalidate it first. */
  readonly isolated: "serve" | "revalidate"
  readonly tls: PeerTls | undefined
}

/**
 * The options of a node in a fleet.
 *
 * @since 0.1.0
 * @category services
 */
export class FleetConfig extends Context.Service<FleetConfig, FleetOptions>()("spillway/services/fleet/FleetConfig") {}
