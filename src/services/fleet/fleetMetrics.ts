import { Effect } from "effect"
import * as Metrics from "../observe/pullMetrics.ts"
import type { Peer } from "./Fleet.ts"

/** What the metrics of a fleet are read from. */
interface Figures {
  readonly peers: () => ReadonlyArray<Peer>
  readonly isEngineUp: () => boolean
  readonly forged: () => number
}

/** The metrics of a fleet as a whole. Those of requests are counted by `fleetOrigin` and by the server for other nodes. */
export const makeFleetMetrics = Effect.fnUntraced(function*({ forged, isEngineUp, peers }: Figures) {
  for (const state of ["Here", "Lost", "Leaving", "Different"] as const) {
    yield* Metrics.gauge(
      "spillway_fleet_peers",
      "The other nodes of the fleet, by what they are to this one",
      () => peers().filter((peer) => peer.state === state).length,
      { state: state.toLowerCase() }
    )
  }
  yield* Metrics.gauge("spillway_fleet_engine_up", "1 if the membership engine responds", () => isEngineUp() ? 1 : 0)
  yield* Metrics.counter(
    "spillway_fleet_forged_total",
    "Records at the membership engine that no node of the fleet has signed, or that are out of date",
    forged
  )
})
