import { Effect } from "effect"
import * as Metrics from "../observe/pullMetrics.ts"
import type { Peer } from "./Fleet.ts"
import type { PeerTraffic } from "./peerTraffic.ts"

/** What the metrics of a fleet are read from. */
interface Figures {
  readonly peers: () => ReadonlyArray<Peer>
  readonly isEngineUp: () => boolean
  readonly forged: () => number
  readonly traffic: PeerTraffic
}

/** The metrics of a fleet as a whole. What comes of requests is counted where they are made, and by the server for other nodes. */
export const makeFleetMetrics = Effect.fnUntraced(function*({ forged, isEngineUp, peers, traffic }: Figures) {
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
  yield* Metrics.counter(
    "spillway_peer_received_bytes_total",
    "Body bytes received from other nodes",
    () => traffic.receivedBytes
  )
  yield* Metrics.counter("spillway_peer_sent_bytes_total", "Bytes sent to other nodes, with headers", traffic.sentBytes)
  yield* Metrics.counter("spillway_peer_served_total", "Requests for bytes of other nodes", () => traffic.served)
})
