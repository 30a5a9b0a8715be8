import { indexAt, roundUp, span } from "../../domain/Chunk.ts"
import { isTransient, type OriginError } from "../../domain/OriginError.ts"
import type { ByteRange } from "../../domain/rfc/ByteRange.ts"
import { READ_AHEAD_BYTES, type RoutePolicy } from "../../domain/RoutePolicy.ts"
import type { Source } from "../origin/askOrigin.ts"
import type { Download } from "./Download.ts"
import type { Fetch } from "./Fetch.ts"

/** How long a read-ahead waits after a failure, in milliseconds. The wait doubles with each, up to the longest. */
const RETRY_MILLIS = 500
const MAX_RETRY_MILLIS = 2000

/** How much one of several parallel fetches brings, in bytes, or a chunk if that is larger. */
const STRETCH_BYTES = 4 * 1024 ** 2

/** How many stretches the window has for each of them, so that none waits for the viewer. */
const STRETCHES_AHEAD = 2

/** How much further it goes for each byte that is used, after it has gone less far because chunks were evicted. */
const REGROWTH = 0.125

/** After how many failures it gives up if nobody watches. */
const MAX_UNWATCHED_FAILURES = 10

/** A viewer, or the wish for a whole file, whose bytes are fetched ahead. */
export interface Consumer {
  readonly download: Download
  readonly source: Source
  /** The next byte that it needs, and the end of its range. */
  readonly offset: number
  readonly end: number
  /** Whether it is a viewer, who requests what it needs next itself. */
  readonly isViewer: boolean
  /** Leaves a fetch that has failed, so that its failure isn't the consumer's. `false` if the consumer waits for it. */
  readonly disregards: (fetch: Fetch) => boolean
  /** Called when nothing is being fetched ahead, and nothing will be before the consumer moves on. */
  readonly onIdle?: () => void
}

/** What a read-ahead needs of its surroundings. */
export interface AheadSupply {
  /** Whether the chunk with the byte at `offset` would be kept, and the disk keeps up. */
  readonly hasRoomAhead: (download: Download, offset: number) => boolean
  /** How far a range is cached or in memory without a gap: the start of the first missing chunk, or its end. */
  readonly cachedTo: (download: Download, range: ByteRange) => number
  /** Starts a fetch that `ahead` follows, of a range up to the next cached chunk. Viewers' requests go first. */
  readonly startAhead: (ahead: ReadAhead, download: Download, range: ByteRange) => Fetch
  /** Calls `work` after some time, unless the returned function is called before. */
  readonly after: (millis: number, work: () => void) => () => void
}

/**
 * Fills the cache ahead of a consumer, up to the bytes of its route's policy. It follows the fetches that bring these bytes, so that they
 * go on, and starts those that are missing, several at a time if the policy says so. It pauses while the cache can't keep chunks. If chunks are evicted before their viewer comes,
 * it goes half as far, and then further again with each chunk that is used. What it has fetched when the origin fails is a buffer: it tries
 * again until the consumer leaves.
 */
export class ReadAhead {
  readonly #consumer: Consumer
  readonly #supply: AheadSupply
  /** How far it goes, in bytes, if nothing is evicted. */
  readonly #most: number
  /** How many fetches run at a time, and how much each brings. */
  readonly #parallel: number
  readonly #stretch: number
  readonly #followed = new Set<Fetch>()
  /** How far it goes now. */
  #window: number
  /** Up to where chunks were cached without a gap, at the last look. */
  #reached = 0
  /** The chunk of the consumer at the last look. */
  #index: number
  /** The chunk of the consumer when chunks ahead of it had been evicted. */
  #evictedAt: number | undefined
  /** Whether it fetches until the window is full, rather than waits until half of it is used. */
  #isFilling = true
  #failures = 0
  #cancelRetry: (() => void) | undefined
  #isClosed = false

  /** `maxBytes` is how far it goes ahead at most, in bytes, regardless of the policy. */
  constructor(consumer: Consumer, policy: RoutePolicy, supply: AheadSupply, maxBytes: number) {
    const { representation } = consumer.download
    this.#consumer = consumer
    this.#supply = supply
    const { chunkSize, size } = representation
    this.#parallel = policy.parallel
    this.#stretch = this.#parallel === 1
      ? Number.POSITIVE_INFINITY
      : Math.max(chunkSize, STRETCH_BYTES - STRETCH_BYTES % chunkSize)
    const least = this.#parallel === 1 ? 0 : this.#parallel * this.#stretch * STRETCHES_AHEAD
    this.#most = Math.min(Math.max(policy.readAhead, least), size, maxBytes)
    this.#window = this.#most
    this.#index = indexAt(consumer.offset, chunkSize)
  }

  get source(): Source {
    return this.#consumer.source
  }

  /** Whether the byte at `position` should be fetched now. */
  wants(position: number): boolean {
    return position < this.#limit && this.#supply.hasRoomAhead(this.#consumer.download, position)
  }

  /** Notes that the consumer has moved on. */
  advanced(): void {
    const { download: { representation: { chunkSize } }, offset } = this.#consumer
    const index = indexAt(offset, chunkSize)
    if (index === this.#index) return
    this.#window = Math.min(this.#most, this.#window + (index - this.#index) * chunkSize * REGROWTH)
    this.#index = index
    this.look()
    for (const fetch of this.#followed) fetch.wake?.()
  }

  /** Leaves the fetch that would bring the byte at `offset` but waits behind viewers' requests: the consumer sends its own. */
  makeWay(offset: number): void {
    for (const fetch of this.#followed) {
      if (fetch.isQueued && fetch.position <= offset && offset < fetch.end) this.#unfollow(fetch)
    }
  }

  /** Notes that a fetch that it follows has ended. */
  ended(fetch: Fetch, failure: OriginError | undefined): void {
    this.#followed.delete(fetch)
    if (this.#isClosed) return
    if (failure === undefined && this.#hasKept(fetch)) {
      // Without a viewer, nothing else limits what is fetched again.
      if (this.#consumer.isViewer) this.#failures = 0
      return this.look()
    }
    if (failure !== undefined && !this.#consumer.disregards(fetch)) return
    if (failure === undefined || isTransient(failure)) return this.#retryLater()
    this.close()
    this.#consumer.onIdle?.()
  }

  /** Stops. The fetches that nobody else wants end. */
  close(): void {
    this.#isClosed = true
    this.#cancelRetry?.()
    this.#cancelRetry = undefined
    for (const fetch of this.#followed) this.#unfollow(fetch)
  }

  /** Follows or starts what brings the missing bytes in the window. Called when the consumer has joined a fetch, too. */
  look(): void {
    const { download, end, isViewer, offset, onIdle } = this.#consumer
    const { chunkSize, ranges, size } = download.representation
    if (!this.#isWaiting) this.#shrinkIfEvicted()
    let at = offset
    while (!this.#isWaiting && this.#followed.size < this.#parallel) {
      at = this.#supply.cachedTo(download, { start: at, end: this.#limit })
      if (at >= this.#limit) break
      const coming = download.fetches.bringing(at)
      if (coming !== undefined) {
        if (!coming.isFill) this.#follow(coming)
        at = Math.max(Math.min(coming.end, this.#stretchEnd(at)), roundUp(at + 1, chunkSize, size))
      } else if (isViewer && indexAt(at, chunkSize) === indexAt(offset, chunkSize)) {
        // The viewer is about to request it, and perhaps what follows.
        break
      } else {
        // Until the consumer moves on, they would be evicted again.
        if (this.#evictedAt === this.#index) break
        if (ranges === "none" || (!this.#isFilling && at - offset >= this.#window / 2)) break
        if (!this.wants(at)) return isViewer ? undefined : this.#retryLater()
        this.#isFilling = true
        const range = { start: at, end: Math.min(roundUp(end, chunkSize, size), this.#stretchEnd(at)) }
        const started = this.#supply.startAhead(this, download, range)
        if (started.isActive) this.#followed.add(started)
        at = started.end
      }
    }
    this.#isFilling &&= this.#followed.size > 0
    if (!this.#isWaiting && this.#followed.size === 0) onIdle?.()
  }

  /** Whether it does nothing, for now or for good. */
  get #isWaiting(): boolean {
    return this.#isClosed || this.#cancelRetry !== undefined
  }

  #stretchEnd(offset: number): number {
    return this.#parallel === 1 ? Number.POSITIVE_INFINITY : (indexAt(offset, this.#stretch) + 1) * this.#stretch
  }

  /** The end of the bytes that it fetches. */
  get #limit(): number {
    const { end, offset } = this.#consumer
    return Math.min(end, offset + this.#window)
  }

  /** Goes less far if chunks that were cached ahead of the consumer no longer are. */
  #shrinkIfEvicted(): void {
    const { download, isViewer, offset } = this.#consumer
    const { chunkSize } = download.representation
    const start = isViewer ? (indexAt(offset, chunkSize) + 1) * chunkSize : offset
    const limit = this.#limit
    const cached = start < limit ? this.#supply.cachedTo(download, { start, end: limit }) : start
    if (cached < Math.min(this.#reached, limit)) {
      this.#window = Math.max(this.#window / 2, READ_AHEAD_BYTES)
      this.#evictedAt = this.#index
      // What comes after the gap would be evicted, too.
      for (const fetch of this.#followed) if (fetch.position > cached + chunkSize) this.#unfollow(fetch)
    }
    this.#reached = cached
  }

  /** Whether the cache has the last chunk that a fetch has brought. Else the same would be fetched again and again. */
  #hasKept({ download, firstChunk, position }: Fetch): boolean {
    const { chunkSize, size } = download.representation
    const last = indexAt(position - (position === size ? 1 : chunkSize), chunkSize)
    const { end, start } = span(last, chunkSize, size)
    return last >= firstChunk && this.#supply.cachedTo(download, { start, end }) === end
  }

  #follow(fetch: Fetch): void {
    this.#followed.add(fetch)
    fetch.follow(this)
  }

  #unfollow(fetch: Fetch): void {
    this.#followed.delete(fetch)
    fetch.unfollow(this)
  }

  #retryLater(): void {
    if (!this.#consumer.isViewer && this.#failures >= MAX_UNWATCHED_FAILURES) {
      this.close()
      return this.#consumer.onIdle?.()
    }
    const millis = Math.min(RETRY_MILLIS * 2 ** this.#failures, MAX_RETRY_MILLIS)
    this.#failures += 1
    this.#cancelRetry ??= this.#supply.after(millis, () => {
      this.#cancelRetry = undefined
      this.look()
    })
  }
}
