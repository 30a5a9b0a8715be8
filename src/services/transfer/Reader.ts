import { Cause, Effect, Exit, Stream } from "effect"
import { indexAt, roundUp } from "../../domain/Chunk.ts"
import { loggable, OriginBodyFailed, type OriginError } from "../../domain/OriginError.ts"
import { isSingle } from "../../domain/Representation.ts"
import type { ByteRange } from "../../domain/rfc/ByteRange.ts"
import { READ_AHEAD_BYTES } from "../../domain/RoutePolicy.ts"
import type { HandedPieces } from "../cache/ChunkMemory.ts"
import type { Source } from "../origin/askOrigin.ts"
import { noHold } from "./Assemblies.ts"
import { chooseFetch } from "./chooseFetch.ts"
import type { Download } from "./Download.ts"
import type { Fetch } from "./Fetch.ts"
import type { Consumer, ReadAhead } from "./ReadAhead.ts"

/** Where a reader gets what isn't in memory. */
interface Supply {
  /** Whether `ChunkCache` has a chunk. */
  readonly hasChunk: (download: Download, index: number) => boolean
  /** Starts a fetch at the reader's next byte. */
  readonly startFetch: (reader: Reader) => Fetch
}

/**
 * One viewer's position in a representation. It keeps the fetch that it has joined alive, even while its viewer reads from the cache,
 * until `close`.
 */
export class Reader implements Consumer {
  readonly isViewer = true
  readonly download: Download
  readonly source: Source
  /** The next byte that the viewer needs; `end` when it has everything. */
  offset: number
  readonly end: number
  /** The fetch that it waits for. Set by `Fetch.join` and `leave`. */
  fetch: Fetch | undefined
  /** What fetches for it further ahead than `READ_AHEAD_BYTES`, if its route says so. Closed with the reader. */
  ahead: ReadAhead | undefined
  /** Has the reader look for bytes again, while it waits. */
  wake: (() => void) | undefined
  /** What a fetch with its own source has failed with since its last byte. */
  ownFailure: OriginError | undefined
  /** How many fetches with other sources have failed it since its last byte. */
  foreignFailures = 0
  /**
   * The bytes from `offset` on; call `advance` for each piece. Ends at `end`, or earlier if `ChunkCache` has the next byte. Transient
   * failures of the origin are retried from the exact byte. Bytes of another representation are never emitted.
   */
  readonly stream: Stream.Stream<Uint8Array, OriginError>
  /** It failed because the only transfer of a `Single` representation has ended. */
  isWithoutTransfer = false
  /** Whether the last piece of `stream` came from another node of a fleet. */
  isFromPeer = false
  /** The chunk that couldn't be read from the cache. */
  #bypassed: number | undefined
  /** The chunks that it needs next. */
  readonly #hold = noHold()
  readonly #supply: Supply
  readonly #handed: HandedPieces

  constructor(download: Download, source: Source, { end, start }: ByteRange, supply: Supply, handed: HandedPieces) {
    this.download = download
    this.source = source
    this.offset = start
    this.end = end
    this.#supply = supply
    this.#handed = handed
    this.stream = Stream.fromPull(Effect.succeed(this.#next()))
    download.readers.add(this)
    this.#holdAhead()
    download.onReader?.()
  }

  /** Moves on by bytes that have been sent to the viewer, whether they came from `stream` or the cache. */
  advance(bytes: number): void {
    this.offset += bytes
    this.ownFailure = undefined
    this.foreignFailures = 0
    this.#holdAhead()
    const { ahead, fetch } = this
    ahead?.advanced()
    if (fetch?.wake !== undefined && fetch.position < this.offset + READ_AHEAD_BYTES) fetch.wake()
  }

  disregards(fetch: Fetch): boolean {
    if (fetch !== this.fetch) return true
    if (this.wake !== undefined) return false
    fetch.leave(this)
    return true
  }

  /** Fetches the chunk at `offset` although `ChunkCache` has it: it couldn't be read. */
  bypassCache(): void {
    this.#bypassed = indexAt(this.offset, this.download.representation.chunkSize)
  }

  /** Leaves the fetch. A fetch that has delivered everything to its reader completes the last chunk; one that is cut off doesn't. */
  close(isComplete: boolean): void {
    const { download, end, fetch, offset } = this
    if (isComplete && fetch !== undefined && offset >= end) {
      fetch.keepUntil = Math.max(fetch.keepUntil, roundUp(offset, download.representation.chunkSize, fetch.end))
    }
    this.ahead?.close()
    fetch?.leave(this)
    download.readers.delete(this)
    download.assemblies.move(this.#hold, 0, -1)
  }

  /** Leaves its complete chunks to the cache, which has them, so that a slow viewer doesn't keep them in memory. */
  releaseCached(): void {
    const { assemblies } = this.download
    for (let index = this.#hold.first; index <= this.#hold.last; index++) {
      if (assemblies.get(index)?.isHandedOver && this.#supply.hasChunk(this.download, index)) assemblies.drop(index)
    }
  }

  /** Holds the chunks that it is about to need, so that readers right behind a fetch need no cache. */
  #holdAhead(): void {
    const { assemblies, representation: { chunkSize } } = this.download
    const hold = this.#hold
    if (this.offset >= this.end) return assemblies.move(hold, 0, -1)
    const first = indexAt(this.offset, chunkSize)
    const last = indexAt(Math.min(this.offset + READ_AHEAD_BYTES, this.end - 1), chunkSize)
    if (hold.first !== first || hold.last !== last) assemblies.move(hold, first, last)
  }

  /** Joins the fetch that is about to bring the byte at `offset`, behind those in memory: it would end if nobody had joined it by then. */
  #joinAhead(offset: number): void {
    if (this.fetch !== undefined || offset >= this.end) return
    this.download.fetches.approaching(offset).find((fetch) => fetch.isOpenTo(this.source))?.join(this)
  }

  #next(): Effect.Effect<readonly [Uint8Array], OriginError | Cause.Done> {
    return Effect.callback((resume) => {
      const look = () => {
        const outcome = this.#poll()
        if (outcome === undefined) return false
        this.wake = undefined
        resume(outcome)
        return true
      }
      if (look()) return
      this.wake = look
      this.fetch?.onAwaited?.()
      return Effect.sync(() => this.wake = undefined)
    })
  }

  /** The next bytes, the end or a failure; `undefined` if it has to wait for its fetch. */
  #poll(): Exit.Exit<readonly [Uint8Array], OriginError | Cause.Done> | undefined {
    const { download, end, offset } = this
    if (offset >= end) return Exit.fail(Cause.Done())
    const index = indexAt(offset, download.representation.chunkSize)
    const assembly = download.assemblies.get(index)
    const filled = assembly === undefined ? offset : Math.min(assembly.filledTo(offset), end)
    if (filled > offset) {
      this.#joinAhead(filled)
      this.isFromPeer = assembly!.isFromPeer
      return Exit.succeed([this.#handed.next(assembly!.read(offset, filled), offset)])
    }
    // A fetch has completed the chunk, so its viewer continues from the cache.
    if (assembly === undefined && index !== this.#bypassed && this.#supply.hasChunk(download, index)) {
      return Exit.fail(Cause.Done())
    }
    const chosen = chooseFetch(this)
    if (chosen !== undefined && "failure" in chosen) return Exit.fail(chosen.failure)
    if (chosen === undefined && isSingle(download.representation)) {
      this.isWithoutTransfer = true
      const url = loggable(download.representation.url)
      return Exit.fail(new OriginBodyFailed({ url, offset, cause: "the only transfer of these bytes has ended" }))
    }
    if (chosen === undefined) this.ahead?.makeWay(offset)
    const fetch = chosen ?? this.#supply.startFetch(this)
    fetch.join(this)
    this.ahead?.look()
    return undefined
  }
}
