import { Context, Layer, Record } from "effect"
import type { Outcome } from "../../domain/rfc/CacheStatus.ts"

/** Where bytes for a viewer come from. `passthrough`: from the origin, and nothing of them can be kept. */
export type ByteSource = "memory" | "disk" | "origin" | "passthrough"

/** What has been counted since the start. */
export interface Totals {
  /** Requests of viewers, by what the cache did for them. */
  readonly requests: Readonly<Record<Outcome, number>>
  /** Body bytes that left towards viewers, by where they came from. */
  readonly bytes: Readonly<Record<ByteSource, number>>
  /** Requests made to origins, and body bytes received from them. */
  readonly originRequests: number
  readonly originBytes: number
  /** Viewers who joined the transfer of another. */
  readonly coalesced: number
  /** Chunks removed to make room. */
  readonly evictions: number
  /** Finished chunks that were not written: too many waited, or the disk could not be used. */
  readonly droppedChunks: number
}

/**
 * Plain numbers that only grow. Counting is synchronous, allocates nothing and costs nanoseconds, so that it can be done for each
 * piece of a body; reading takes a copy.
 */
export class Counters extends Context.Service<Counters, {
  /** A viewer was answered. */
  readonly request: (outcome: Outcome) => void
  /** Viewers were answered, and got bytes, by another process. */
  readonly add: (counted: Pick<Totals, "requests" | "bytes">) => void
  /** Bytes of a body left towards a viewer. */
  readonly bytes: (source: ByteSource, count: number) => void
  /** A request was made to an origin. */
  readonly originRequest: () => void
  /** Bytes of a body came from an origin. */
  readonly originBytes: (count: number) => void
  /** A viewer joined the transfer of another. */
  readonly coalesced: () => void
  /** A chunk was removed to make room. */
  readonly evicted: () => void
  /** A finished chunk was not written. */
  readonly dropped: () => void
  /** A copy of all counts. */
  readonly totals: () => Totals
}>()("spillway/services/observe/Counters") {
  static readonly layer: Layer.Layer<Counters> = Layer.sync(Counters, () => make())
}

const make = () => {
  const requests: Record<Outcome, number> = { hit: 0, miss: 0, partial: 0, stale: 0, bypass: 0, other: 0 }
  const bytes: Record<ByteSource, number> = { memory: 0, disk: 0, origin: 0, passthrough: 0 }
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
