import { Cause, Effect, Exit, FiberSet } from "effect"
import { type ChunkKey, indexAt, roundUp, span } from "../../domain/Chunk.ts"
import { loggable, OriginBodyFailed, type OriginError } from "../../domain/OriginError.ts"
import { type RangeSupport, Representation } from "../../domain/Representation.ts"
import type { ByteRange } from "../../domain/rfc/ByteRange.ts"
import { withoutServices } from "../../effects/withoutServices.ts"
import { Catalog } from "../cache/Catalog.ts"
import { ChunkCache } from "../cache/ChunkCache.ts"
import type { Source } from "../origin/askOrigin.ts"
import { Origin } from "../origin/Origin.ts"
import { type Assemblies, noHold } from "./Assemblies.ts"
import type { ChunkAssembly } from "./ChunkAssembly.ts"
import { type Download, type Fetch, RUNNING, transition, type Viewer } from "./Fetch.ts"
import { makeFetchLoop, type OpenTransfer } from "./fetchLoop.ts"
import { makeThrottled } from "./throttling.ts"

/** How many chunks ahead a new fetch looks for one that is there already, to ask the origin for no more than is missing. */
const LOOK_AHEAD_CHUNKS = 256

/** How many fronts of chunks are filled in behind seeking viewers at a time. */
const MAX_FILLS = 8

/**
 * Fetches from their start to their end: what arrives is put together to chunks, which go to `ChunkCache` when they are whole. `forget` is
 * called when a fetch has ended.
 */
export const makeStartFetch = Effect.fnUntraced(function*(forget: (download: Download) => void) {
  const origin = yield* Origin
  const catalog = yield* Catalog
  const cache = yield* ChunkCache
  const fork = yield* withoutServices(FiberSet.makeRuntime<never, void, never>())
  let fills = 0

  const keyOf = ({ id, resource }: Representation, index: number): ChunkKey => ({ resource, representation: id, index })

  const hasChunk = (representation: Representation, index: number) => cache.has(keyOf(representation, index))

  /** Where a fetch that starts at `offset` for a viewer who wants bytes up to `end` meets a chunk that is there. */
  const endOfMissing = (representation: Representation, offset: number, end: number): number => {
    const { chunkSize, size } = representation
    const rounded = roundUp(end, chunkSize, size)
    const first = indexAt(offset, chunkSize) + 1
    for (let index = first; index < first + LOOK_AHEAD_CHUNKS && index * chunkSize < rounded; index++) {
      if (hasChunk(representation, index)) return index * chunkSize
    }
    return rounded
  }

  /** Whether the answer shows an origin without ranges: it sent everything to a request for a range. */
  const ignoresRanges = (opened: OpenTransfer | undefined): boolean =>
    opened?.asked === "plain" && opened.response.status === 200 &&
    opened.response.headers["accept-ranges"]?.toLowerCase() !== "bytes"

  const startFetch = (
    download: Download,
    source: Source,
    { end, start: from }: ByteRange,
    options: { readonly keepUntil?: number; readonly isFill?: boolean; readonly opened?: OpenTransfer } = {}
  ): Fetch => {
    const sequential = download.representation.ranges === "none" || ignoresRanges(options.opened)
    const fetch: Fetch = {
      download,
      source,
      first: indexAt(from, download.representation.chunkSize),
      position: sequential ? 0 : from,
      end,
      sequential,
      viewers: new Set(),
      keepUntil: options.keepUntil ?? 0,
      isFill: options.isFill ?? false,
      isAwaited: options.opened !== undefined,
      state: RUNNING,
      wake: undefined,
      fiber: undefined,
      hold: noHold()
    }
    download.fetches.add(fetch)
    holdFor(fetch)
    if (fetch.isFill) fills += 1
    fetch.fiber = fork(
      transfer(fetch, options.opened).pipe(
        Effect.onExit((exit) => Effect.sync(() => endFetch(fetch, exit))),
        Effect.ignoreCause
      )
    )
    return fetch
  }

  const endFetch = (fetch: Fetch, exit: Exit.Exit<void, OriginError>): void => {
    const { download, hold, state, viewers } = fetch
    const { assemblies, representation } = download
    fetch.state = transition(state, { _tag: "End", failure: failureOf(fetch, exit) })
    if (fetch.isFill) fills -= 1
    download.fetches.remove(fetch)
    assemblies.move(hold, 0, -1)
    // What slow viewers have not taken yet is left to the cache, when it has that.
    if (state._tag === "Stopping") { for (const viewer of viewers) leaveToCache(representation, assemblies, viewer) }
    for (const viewer of viewers) viewer.wake?.()
    forget(download)
  }

  const leaveToCache = (representation: Representation, assemblies: Assemblies, { hold }: Viewer): void => {
    for (let index = hold.first; index <= hold.last; index++) {
      if (assemblies.get(index)?.handedOver && hasChunk(representation, index)) assemblies.drop(index)
    }
  }

  /** The error for viewers when a fetch has ended in such a way. */
  const failureOf = ({ download, position }: Fetch, exit: Exit.Exit<void, OriginError>): OriginError | undefined => {
    if (Exit.isSuccess(exit)) return undefined
    const error = Cause.findErrorOption(exit.cause)
    const { url } = download.representation
    return error._tag === "Some"
      ? error.value
      : new OriginBodyFailed({ url: loggable(url), offset: position, cause: Cause.squash(exit.cause) })
  }

  /** Has the fetch hold the chunk that it is at, and those before it that its first viewer is on the way to. */
  const holdFor = ({ download, hold, isAwaited, position }: Fetch): void => {
    const index = indexAt(position, download.representation.chunkSize)
    const first = isAwaited && hold.last >= hold.first ? hold.first : index
    if (hold.last !== index || hold.first !== first) download.assemblies.move(hold, first, index)
  }

  /** Takes `bytes`, which belong at `fetch.position`. `false` when the fetch has met bytes that are there already. */
  const accept = (fetch: Fetch, bytes: Uint8Array): boolean => {
    const { assemblies, representation, fetches } = fetch.download
    const { chunkSize, size } = representation
    let rest = bytes.subarray(0, fetch.end - fetch.position)
    while (rest.length > 0) {
      const { position } = fetch
      const index = indexAt(position, chunkSize)
      let assembly = assemblies.get(index)
      let taken: number
      if (assembly === undefined && index !== fetch.first && hasChunk(representation, index)) {
        if (!fetch.sequential) return false
        taken = Math.min(rest.length, span(index, chunkSize, size).end - position)
      } else {
        assembly ??= assemblies.begin(index, span(index, chunkSize, size))
        const filled = assembly.filledTo(position)
        if (filled > position) {
          if (!fetch.sequential) return false
          taken = Math.min(rest.length, filled - position)
        } else {
          taken = Math.min(rest.length, assembly.missingTo(position) - position)
          assembly.write(position, rest.subarray(0, taken))
        }
      }
      fetches.move(fetch, position + taken)
      rest = rest.subarray(taken)
      if (assembly !== undefined) settle(fetch, assembly)
      holdFor(fetch)
    }
    for (const viewer of fetch.viewers) viewer.wake?.()
    return true
  }

  /** Hands over a chunk that is whole; when its tail is but its front is not, starts a fetch of the front. */
  const settle = (fetch: Fetch, assembly: ChunkAssembly): void => {
    const { download } = fetch
    const { span, whole } = assembly
    if (whole !== undefined) {
      if (assembly.handedOver) return
      assembly.handedOver = true
      return cache.keep(download.representation, keyOf(download.representation, assembly.index), whole)
    }
    if (fetch.position < span.end || cache.failure() !== undefined || fills >= MAX_FILLS) return
    const from = assembly.filledTo(span.start)
    // A fetch that comes from the chunk before it will bring the front.
    if (download.fetches.coming(from, download.representation.chunkSize).length > 0) return
    const end = assembly.missingTo(from)
    startFetch(download, fetch.source, { start: from, end }, { keepUntil: end, isFill: true })
  }

  const learn = (download: Download, ranges: RangeSupport): void => {
    // Chunks that come from now on are kept with it, so that it is written to the manifest.
    download.representation = new Representation({ ...download.representation, ranges })
    catalog.learnRanges(download.representation, ranges)
  }

  const makeSequential = (fetch: Fetch, fromStart: boolean): void => {
    fetch.download.fetches.move(fetch, fromStart ? 0 : fetch.position, true)
    holdFor(fetch)
  }

  const transfer = makeFetchLoop(origin, { accept, learn, makeSequential, throttled: makeThrottled(fork) })

  return { endOfMissing, hasChunk, startFetch }
})
