import type { Fiber } from "effect"
import { indexAt } from "../../domain/Chunk.ts"
import type { OriginError } from "../../domain/OriginError.ts"
import { isSingle } from "../../domain/Representation.ts"
import type { ByteRange } from "../../domain/rfc/ByteRange.ts"
import { READ_AHEAD_BYTES, type RouteOrigin } from "../../domain/RoutePolicy.ts"
import { isSameSource, type Source } from "../origin/askOrigin.ts"
import { FailedOrigins } from "../origin/FailedOrigins.ts"
import { noHold } from "./Assemblies.ts"
import type { Download } from "./Download.ts"
import type { ReadAhead } from "./ReadAhead.ts"
import type { Reader } from "./Reader.ts"
import { ReceivedBytes } from "./ReceivedBytes.ts"

/** A reader waits for a fetch that is this close behind its byte rather than start another, in bytes. */
export const JOIN_BYTES = 64 * 1024

/** What a fetch does. `transition` defines what leads from one state to another. */
export type State =
  /**
   * It requests or receives bytes. `retrying` is set while it waits to repeat a request that timed out, or that the origin
   * postponed with `Retry-After`. That may concern its source alone, so readers with other sources don't wait for it.
   */
  | { readonly _tag: "Running"; readonly retrying: OriginError | undefined }
  /** Its readers have enough for now. It keeps its connection. `since` is the tick at which that began. */
  | { readonly _tag: "Throttled"; readonly since: number }
  /** It is being interrupted, which isn't a failure. Readers can't join it. */
  | { readonly _tag: "Stopping" }
  | { readonly _tag: "Ended"; readonly failure: OriginError | undefined }

/** What happens to a fetch. */
export type Event =
  /** Its request failed in a way that may concern its source alone, and will be repeated. */
  | { readonly _tag: "Retry"; readonly error: OriginError }
  /** The origin sends the requested bytes. */
  | { readonly _tag: "Receive" }
  /** All its readers have enough for now. */
  | { readonly _tag: "Throttle"; readonly tick: number }
  /** A reader needs more. */
  | { readonly _tag: "Resume" }
  /** Its connection is needed elsewhere while no reader needs its bytes, or it has been throttled for long. */
  | { readonly _tag: "Preempt" }
  /** Its last reader has left. */
  | { readonly _tag: "Abandon" }
  /** Its fiber has ended. */
  | { readonly _tag: "End"; readonly failure: OriginError | undefined }

export const RUNNING: State = { _tag: "Running", retrying: undefined }
const STOPPING: State = { _tag: "Stopping" }

/**
 * The state of a fetch after `event`. Events without an arrow change nothing.
 *
 *      Retry, Receive
 *         ┌────┐
 *         │    ▼   Throttle
 *     ┌───┴───────┐ ──────► ┌───────────┐
 *     │  Running  │ Resume  │ Throttled │
 *     └─┬───────┬─┘ ◄────── └─┬───────┬─┘
 *       │       │ Abandon,    │       │ Abandon,
 *       │       │ Preempt     │       │ Preempt
 *       │       └──────────►──│───────┴──────► ┌──────────┐
 *       │ End                 │ End            │ Stopping │
 *       ▼                     ▼                └────┬─────┘
 *     ┌──────────────────────────┐                  │
 *     │          Ended           │ ◄────────────────┘
 *     └──────────────────────────┘   End, without a failure
 */
export const transition = (state: State, event: Event): State => {
  switch (event._tag) {
    case "Retry":
      return state._tag === "Running" ? { _tag: "Running", retrying: event.error } : state
    case "Receive":
      return state._tag === "Running" ? RUNNING : state
    case "Throttle":
      return state._tag === "Running" ? { _tag: "Throttled", since: event.tick } : state
    case "Resume":
      return state._tag === "Throttled" ? RUNNING : state
    case "Preempt":
    case "Abandon":
      return state._tag === "Running" || state._tag === "Throttled" ? STOPPING : state
    case "End":
      if (state._tag === "Ended") return state
      return { _tag: "Ended", failure: state._tag === "Stopping" ? undefined : event.failure }
  }
}

export interface FetchOptions {
  /** The fetch goes on to here even without readers. */
  readonly keepUntil?: number
  /** It fills in the front of a chunk whose tail has arrived. Nobody waits for it. */
  readonly isFill?: boolean
  /** Its first reader is about to join. */
  readonly awaitsReader?: boolean
  /** The origin sends the whole file from the first byte for every range. */
  readonly sequential?: boolean
  /** The read-ahead that it was started for. */
  readonly follower?: ReadAhead | undefined
}

/** One origin request for a contiguous stretch of missing chunks, and the readers that share it. */
export class Fetch {
  readonly download: Download
  /** The origin as seen by the reader that the fetch was started for, or by one that remains. Set by `chooseSource`. */
  source: Source
  /** The chunk that it starts in. It fetches this one even if it is cached. */
  readonly firstChunk: number
  /** The next byte to arrive. Set by `Fetches.move`. */
  position: number
  readonly end: number
  /** The origin sends the whole file from the first byte, so readers at any later byte can wait for it. Set by `Fetches.move`. */
  sequential: boolean
  /** Whether the bytes that arrive are those of another node of a fleet. */
  isFromPeer = false
  /** What has arrived of a `Single` representation, to compare it with another response if its transfer breaks off. */
  readonly received: ReceivedBytes | undefined
  readonly readers = new Set<Reader>()
  /** Those that want its bytes in the cache. */
  readonly followers = new Set<ReadAhead>()
  /** It goes on to here even without readers. */
  keepUntil: number
  readonly isFill: boolean
  /** Whether its request waits behind those of viewers. Readers don't wait with it. */
  isQueued = false
  /** Has the fetch look at the demand again, while it is throttled. */
  wake: (() => void) | undefined
  /** Since when the origin has to act, in milliseconds; `undefined` while it hasn't. */
  silentSince: number | undefined
  /** The origin of the route that it is asking, or receives bytes from. */
  server: RouteOrigin | undefined
  /** Those that have failed since a response was whole. */
  readonly failed = new FailedOrigins()
  /** Called when a reader begins to wait for it, and when bytes arrive. */
  onAwaited: (() => void) | undefined
  onReceived: (() => void) | undefined
  fiber: Pick<Fiber.Fiber<unknown, unknown>, "interruptUnsafe"> | undefined
  #state: State = RUNNING
  #awaitsReader: boolean
  readonly #hold = noHold()

  constructor(download: Download, source: Source, { end, start }: ByteRange, options: FetchOptions = {}) {
    this.download = download
    this.source = source
    this.firstChunk = indexAt(start, download.representation.chunkSize)
    this.sequential = options.sequential ?? false
    this.position = this.sequential ? 0 : start
    this.received = isSingle(download.representation) ? new ReceivedBytes(this.position) : undefined
    this.end = end
    this.keepUntil = options.keepUntil ?? 0
    this.isFill = options.isFill ?? false
    this.#awaitsReader = options.awaitsReader ?? false
    if (options.follower !== undefined) this.followers.add(options.follower)
  }

  /** Whether it is running or throttled. */
  get isActive(): boolean {
    return this.#state._tag === "Running" || this.#state._tag === "Throttled"
  }

  /** Whether a reader waits for its next byte. */
  get isAwaited(): boolean {
    for (const reader of this.readers) if (reader.wake !== undefined) return true
    return false
  }

  get isStopping(): boolean {
    return this.#state._tag === "Stopping"
  }

  /** For how many ticks it has been throttled at the tick `now`; 0 if it isn't. */
  throttledTicks(now: number): number {
    return this.#state._tag === "Throttled" ? now - this.#state.since : 0
  }

  /** Whether a reader with this source may wait for it. */
  isOpenTo(source: Source | undefined): boolean {
    const state = this.#state
    if (this.isQueued) return false
    if (state._tag === "Throttled") return true
    return state._tag === "Running" && (state.retrying === undefined || isSameSource(this.source, source))
  }

  /** The failure that a waiting reader with this source has to handle. */
  failureFor(source: Source): OriginError | undefined {
    const state = this.#state
    if (state._tag === "Ended") return state.failure
    return state._tag === "Running" && !isSameSource(this.source, source) ? state.retrying : undefined
  }

  /** Whether a reader that needs the byte at `offset` should wait for it rather than start another. */
  covers(offset: number): boolean {
    return this.position <= offset && offset < this.end &&
      (this.sequential || offset - this.position <= JOIN_BYTES)
  }

  /** Whether it should go on now, wait for its readers, or end because none is left. */
  get demand(): "go" | "wait" | "end" {
    if (this.position < this.keepUntil || this.#isNearReader) return "go"
    for (const follower of this.followers) if (follower.wants(this.position)) return "go"
    return this.readers.size === 0 && this.followers.size === 0 ? "end" : "wait"
  }

  /** Whether nobody needs its bytes soon, though they are wanted in the cache. Then viewers' requests go first. */
  get isAhead(): boolean {
    return this.followers.size > 0 && !this.#isNearReader
  }

  get #isNearReader(): boolean {
    for (const reader of this.readers) if (this.position < reader.offset + READ_AHEAD_BYTES) return true
    return false
  }

  /** Whether it should send another request. */
  get isWanted(): boolean {
    return this.isActive && this.demand !== "end"
  }

  /**
   * Chooses the source of the next request. A viewer who has left may have taken a token along that expires, so it is that of somebody
   * who wants the bytes, if there is one.
   */
  chooseSource(): Source {
    let first: Source | undefined
    for (const { source } of [...this.readers, ...this.followers]) {
      if (isSameSource(source, this.source)) return this.source
      first ??= source
    }
    return this.source = first ?? this.source
  }

  /** Adds a reader, which leaves the fetch that it waited for. */
  join(reader: Reader): void {
    if (reader.fetch === this) return
    reader.fetch?.leave(reader)
    reader.fetch = this
    this.#awaitsReader = false
    // From now on it continues for its readers only.
    if (this.readers.size === 0 && !this.isFill) this.keepUntil = 0
    this.readers.add(reader)
    this.wake?.()
  }

  /** Removes a reader. The fetch ends unless it is still wanted. */
  leave(reader: Reader): void {
    reader.fetch = undefined
    this.readers.delete(reader)
    this.#endIfUnwanted()
  }

  /** Adds a read-ahead. */
  follow(ahead: ReadAhead): void {
    this.followers.add(ahead)
    this.wake?.()
  }

  /** Removes a read-ahead. The fetch ends unless it is still wanted. */
  unfollow(ahead: ReadAhead): void {
    this.followers.delete(ahead)
    this.#endIfUnwanted()
  }

  /** Ends the fetch if no reader needs its bytes soon, to free its connection. Others start another when they need more. */
  preempt(): void {
    if (this.#state._tag !== "Throttled" && !this.isAhead) return
    this.#apply({ _tag: "Preempt" })
    if (this.isStopping) this.fiber?.interruptUnsafe()
  }

  /** Notes that it will repeat a request that failed with `error`. Readers with other sources stop waiting for it. */
  retry(error: OriginError): void {
    this.#apply({ _tag: "Retry", error })
    for (const reader of this.readers) if (!isSameSource(reader.source, this.source)) reader.wake?.()
  }

  /** Notes that the origin sends the requested bytes. */
  receive(): void {
    this.#apply({ _tag: "Receive" })
  }

  throttle(tick: number): void {
    this.#apply({ _tag: "Throttle", tick })
  }

  resume(): void {
    this.#apply({ _tag: "Resume" })
  }

  abandon(): void {
    this.#apply({ _tag: "Abandon" })
  }

  /** Notes that its fiber has ended, and releases its chunks. */
  finish(failure: OriginError | undefined): void {
    this.#apply({ _tag: "End", failure })
    this.download.assemblies.move(this.#hold, 0, -1)
  }

  /** Makes it sequential: the origin has ignored the requested range. */
  makeSequential(fromStart: boolean): void {
    this.download.fetches.move(this, fromStart ? 0 : this.position, true)
    this.holdChunks()
  }

  /** Holds the chunk at its position, and those before it that its first reader is about to need. */
  holdChunks(): void {
    const { assemblies, representation } = this.download
    const hold = this.#hold
    const index = indexAt(this.position, representation.chunkSize)
    const first = this.#awaitsReader && hold.last >= hold.first ? hold.first : index
    if (hold.last !== index || hold.first !== first) assemblies.move(hold, first, index)
  }

  #endIfUnwanted(): void {
    // One that has all bytes ends by itself. To interrupt it would destroy the response instead of reading its end.
    if (!this.isActive || this.demand !== "end" || this.position >= this.end) return
    this.abandon()
    this.fiber?.interruptUnsafe()
  }

  #apply(event: Event): void {
    this.#state = transition(this.#state, event)
  }
}
