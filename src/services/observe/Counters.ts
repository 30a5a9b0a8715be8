import { Context, Layer, Record } from "effect"
import type { Outcome } from "../../domain/rfc/CacheStatus.ts"

/** Where a viewer's bytes come from. `peer`: from another node of a fleet; `passthrough`: from the origin, and they can't be cached. */
export type ByteSource = "memory" | "disk" | "peer" | "origin" | "passthrough"

/** What has been counted since the start. */
export interface Totals {
  /** Viewers' requests, by the outcome in the cache. */
  readonly requests: Readonly<Record<Outcome, number>>
  /** Body bytes sent to viewers, by their source. */
  readonly bytes: Readonly<Record<ByteSource, number>>
  /** Requests sent to origins, and body bytes received from them. */
  readonly originRequests: number
  readonly originBytes: number
  /** Viewers who shared the origin request of another. */
  readonly coalesced: number
  /** Evicted chunks. */
  readonly evictions: number
  /** Complete chunks that were not written, because too many were waiting or the disk was unusable. */
  readonly droppedChunks: number
}

/**
 * Numbers that only grow. Counting is synchronous, allocates nothing and takes nanoseconds, so that it can be done for each piece of a
 * body. Reading makes a copy.
 */
export class Counters extends Context.Service<Counters, {
  /** A viewer's request has been responded to. */
  readonly request: (outcome: Outcome) => void
  /** Adds what another process has counted. */
  readonly add: (counted: Pick<Totals, "requests" | "bytes">) => void
  /** Body bytes have been sent to a viewer. */
  readonly bytes: (source: ByteSource, count: number) => void
  /** A request has been sent to an origin. */
  readonly originRequest: () => void
  /** Body bytes have been received from an origin. */
  readonly originBytes: (count: number) => void
  /** A viewer has joined the fetch of another. */
  readonly coalesced: () => void
  /** A chunk has been evicted. */
  readonly evicted: () => void
  /** A complete chunk has not been written. */
  readonly dropped: () => void
  /** A copy of all counts. */
  readonly totals: () => Totals
}>()("spillway/services/observe/Counters") {
  static readonly layer: Layer.Layer<Counters> = Layer.sync(Counters, () => make())
}

const make = () => {
  const requests: Record<Outcome, number> = { hit: 0, miss: 0, partial: 0, stale: 0, bypass: 0, other: 0 }
  const bytes: Record<ByteSource, number> = { memory: 0, disk: 0, peer: 0, origin: 0, passthrough: 0 }
  let originRequests = 0
  let originBytes = 0
  let coalesced = 0
  let evictions = 0
  let droppedChunks = 0
  return Counters.of({
    request: (outcome) => void (requests[outcome] += 1),
    add: (counted) => {
      for (const outcome of Record.keys(requests)) requests[outcome] += counted.requests[outcome]
      for (const source of Record.keys(bytes)) bytes[source] += counted.bytes[source]
    },
    bytes: (source, count) => void (bytes[source] += count),
    originRequest: () => void (originRequests += 1),
    originBytes: (count) => void (originBytes += count),
    coalesced: () => void (coalesced += 1),
    evicted: () => void (evictions += 1),
    dropped: () => void (droppedChunks += 1),
    totals: () => ({
      requests: { ...requests },
      bytes: { ...bytes },
      originRequests,
      originBytes,
      coalesced,
      evictions,
      droppedChunks
    })
  })
}
