import { Cause, Context, Effect, Exit, Layer, type Scope, Stream } from "effect"
import { indexAt, roundUp } from "../../domain/Chunk.ts"
import type { OriginError } from "../../domain/OriginError.ts"
import type { Representation } from "../../domain/Representation.ts"
import type { ByteRange } from "../../domain/rfc/ByteRange.ts"
import { atEnd } from "../../effects/withoutServices.ts"
import type { Catalog } from "../cache/Catalog.ts"
import type { ChunkCache } from "../cache/ChunkCache.ts"
import type { Source } from "../origin/askOrigin.ts"
import type { Origin } from "../origin/Origin.ts"
import { Assemblies, noHold } from "./Assemblies.ts"
import { chooseFetch } from "./chooseFetch.ts"
import { type Download, isOpenTo, join, leave, READ_AHEAD_BYTES, type Viewer } from "./Fetch.ts"
import { Fetches } from "./Fetches.ts"
import type { OpenTransfer } from "./fetchLoop.ts"
import { makeStartFetch } from "./startFetch.ts"

/**
 * One viewer's place in a representation. It keeps the fetch that it has joined alive, also while the viewer reads from the
 * cache, until its scope closes.
 */
export interface View {
  /** The next byte that the viewer needs; the range's end when it has everything. */
  readonly offset: () => number
  /** Moves on by bytes that have left towards the viewer, wherever they came from. */
  readonly advance: (bytes: number) => void
  /**
   * The bytes from `offset` on, to be followed by `advance`. Ends where the range does, or early, where `ChunkCache` has the
   * bytes by then. Transient failures of the origin are tried again from the exact byte; bytes of another representation are
   * never emitted.
   */
  readonly stream: Stream.Stream<Uint8Array, OriginError>
  /** Has the chunk at `offset` fetched though `ChunkCache` says that it has it: it could not be read. */
  readonly bypassCache: () => void
}

/**
 * Bytes from the origin to any number of viewers, in memory. A *fetch* is one origin request for a contiguous stretch of
 * missing chunks. Viewers join the fetch that is about to deliver their byte, or start one at that very byte; each gets
 * bytes as they arrive. A fetch keeps a bounded distance ahead of its fastest viewer, stops at bytes that are already
 * there, and ends when its last viewer has left, or when all have taken nothing for some seconds. A viewer whom the fetch of
 * another viewer has failed tries its own. A finished chunk is handed to `ChunkCache`, once.
 */
export class Downloader extends Context.Service<Downloader, {
  /** A viewer of `range`, until the scope closes: it joins the transfer that is about to deliver its next byte, or starts one. */
  readonly view: (
    representation: Representation,
    range: ByteRange,
    source: Source
  ) => Effect.Effect<View, never, Scope.Scope>
  /**
   * Makes a fetch of an answer that has been requested already. Without viewers it goes on to the end of the chunk that holds the byte
   * at `wanted`, which its viewer is about to ask for. `false`, and nothing is done, when a fetch for these bytes is under way.
   */
  readonly adopt: (
    representation: Representation,
    transfer: OpenTransfer,
    range: ByteRange,
    source: Source,
    wanted?: number
  ) => boolean
  /** Whether a viewer who asks for the byte at `offset` now would share a fetch that is under way. */
  readonly isRunning: (representation: Representation, offset: number) => boolean
}>()("spillway/services/transfer/Downloader") {
  static readonly layer: Layer.Layer<Downloader, never, Catalog | ChunkCache | Origin> = Layer.effect(
    Downloader,
    Effect.suspend(() => make)
  )
}

const make = Effect.gen(function*() {
  const downloads = new Map<string, Download>()
  const downloadOf = (representation: Representation): Download => {
    const known = downloads.get(representation.id)
    if (known !== undefined) return known
    const fetches = new Fetches(representation.chunkSize)
    const created: Download = { representation, assemblies: new Assemblies(), fetches, viewers: new Set() }
    downloads.set(representation.id, created)
    return created
  }

  const forget = (download: Download): void => {
    if (download.viewers.size === 0 && download.fetches.size === 0) downloads.delete(download.representation.id)
  }

  const { endOfMissing, hasChunk, startFetch } = yield* makeStartFetch(forget)

  /** Has the viewer hold the chunks that it is about to need: viewers right behind a fetch need neither tier of the cache. */
  const holdAhead = ({ assemblies, representation: { chunkSize } }: Download, { end, hold, offset }: Viewer): void => {
    if (offset >= end) return assemblies.move(hold, 0, -1)
    const first = indexAt(offset, chunkSize)
    const last = indexAt(Math.min(offset + READ_AHEAD_BYTES, end - 1), chunkSize)
    if (hold.first !== first || hold.last !== last) assemblies.move(hold, first, last)
  }

  /** What a viewer gets next, or `undefined` when it has to wait for its fetch. */
  const poll = (download: Download, viewer: Viewer): Exit.Exit<Uint8Array, OriginError | Cause.Done> | undefined => {
    const { representation } = download
    const { end, offset } = viewer
    if (offset >= end) return Exit.fail(Cause.Done())
    const index = indexAt(offset, representation.chunkSize)
    const assembly = download.assemblies.get(index)
    const filled = assembly === undefined ? offset : Math.min(assembly.filledTo(offset), end)
    if (filled > offset) return Exit.succeed(assembly!.read(offset, filled))
    // It has been finished, by this fetch or another: anyone who reads the cache continues from there.
    if (assembly === undefined && index !== viewer.bypassed && hasChunk(representation, index)) {
      return Exit.fail(Cause.Done())
    }
    const chosen = chooseFetch(download, viewer)
    if (chosen !== undefined && "failure" in chosen) return Exit.fail(chosen.failure)
    const missing = () => ({ start: offset, end: endOfMissing(representation, offset, end) })
    join(viewer, chosen ?? startFetch(download, viewer.source, missing()))
    return undefined
  }

  const next = (download: Download, viewer: Viewer): Effect.Effect<readonly [Uint8Array], OriginError | Cause.Done> =>
    Effect.callback((resume) => {
      const look = () => {
        const outcome = poll(download, viewer)
        if (outcome === undefined) return false
        viewer.wake = undefined
        resume(Exit.map(outcome, (bytes) => [bytes] as const))
        return true
      }
      if (look()) return
      viewer.wake = look
      return Effect.sync(() => viewer.wake = undefined)
    })

  const isRunning = (representation: Representation, offset: number): boolean => {
    const download = downloads.get(representation.id)
    if (download === undefined) return false
    const assembly = download.assemblies.get(indexAt(offset, representation.chunkSize))
    const isComing = download.fetches.coming(offset).some((fetch) => isOpenTo(fetch, undefined))
    return isComing || (assembly !== undefined && assembly.filledTo(offset) > offset)
  }

  const view = Effect.fnUntraced(function*(representation: Representation, range: ByteRange, source: Source) {
    const download = downloadOf(representation)
    const viewer: Viewer = {
      source,
      offset: range.start,
      end: range.end,
      fetch: undefined,
      wake: undefined,
      bypassed: undefined,
      failure: undefined,
      letDown: 0,
      hold: noHold()
    }
    download.viewers.add(viewer)
    holdAhead(download, viewer)
    yield* atEnd((exit) => {
      const { fetch } = viewer
      // Who has seen all it wanted leaves a chunk that is worth finishing; who goes away in the middle does not.
      if (Exit.isSuccess(exit) && fetch !== undefined && viewer.offset >= viewer.end) {
        fetch.keepUntil = Math.max(fetch.keepUntil, roundUp(viewer.offset, representation.chunkSize, fetch.end))
      }
      leave(viewer)
      download.viewers.delete(viewer)
      download.assemblies.move(viewer.hold, 0, -1)
      forget(download)
    })
    const pull = next(download, viewer)
    return {
      offset: () => viewer.offset,
      advance: (bytes) => {
        viewer.offset += bytes
        viewer.failure = undefined
        viewer.letDown = 0
        holdAhead(download, viewer)
        const { fetch } = viewer
        if (fetch?.wake !== undefined && fetch.position < viewer.offset + READ_AHEAD_BYTES) fetch.wake()
      },
      stream: Stream.fromPull(Effect.succeed(pull)),
      bypassCache: () => void (viewer.bypassed = indexAt(viewer.offset, representation.chunkSize))
    } satisfies View
  })

  return Downloader.of({
    view,
    adopt: (representation, opened, range, source, wanted = range.start) => {
      if (isRunning(representation, range.start)) return false
      const keepUntil = roundUp(Math.max(range.start, wanted) + 1, representation.chunkSize, range.end)
      startFetch(downloadOf(representation), source, range, { keepUntil, opened })
      return true
    },
    isRunning
  })
})
