import { Effect, Layer } from "effect"
import { type Announcement, Membership } from "./Membership.ts"

/** The lease and the interval are of no consequence: the list doesn't change. */
const MILLIS = 60_000

/** A fixed list of nodes. A node that is down is found out by asking it. */
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
