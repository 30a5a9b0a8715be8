import { Effect, Layer } from "effect"
import { type Announcement, Membership } from "./Membership.ts"

/** The lease and the interval are of no consequence: the list doesn't change. */
const MILLIS = 60_000

/**
 * A fixed list of nodes. Spillway asks each one whether it is up. There is no log of purges.
 *
 * @example
 * ```ts
 * import { Engines } from "spillway"
 *
 * const engine = Engines.list([
 *   { _tag: "Configured", name: "n1", host: "10.0.0.1", port: 8471 },
 *   { _tag: "Configured", name: "n2", host: "10.0.0.2", port: 8471 }
 * ])
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (nodes: ReadonlyArray<Announcement>): Layer.Layer<Membership> =>
  Layer.succeed(Membership, {
    label: "list",
    hasLog: false,
    hasWeights: false,
    beatMillis: MILLIS,
    leaseMillis: MILLIS,
    open: () =>
      Effect.succeed({
        beat: () => Effect.succeed({ nodes, log: undefined }),
        append: () => Effect.void,
        leave: () => Effect.void
      })
  })
