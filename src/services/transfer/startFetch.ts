import { Effect, type Exit, FiberSet } from "effect"
import { indexAt, roundUp } from "../../domain/Chunk.ts"
import type { OriginError } from "../../domain/OriginError.ts"
import { isSingle } from "../../domain/Representation.ts"
import type { ByteRange } from "../../domain/rfc/ByteRange.ts"
import { withoutServices } from "../../effects/withoutServices.ts"
import { ChunkCache } from "../cache/ChunkCache.ts"
import type { Source } from "../origin/askOrigin.ts"
import { makeAssembleChunks } from "./assembleChunks.ts"
import { ignoresRanges } from "./checkResponse.ts"
import type { Download } from "./Download.ts"
import { Fetch, type FetchOptions } from "./Fetch.ts"
import { makeFetchLoop, type OpenResponse } from "./fetchLoop.ts"
import type { ReadAhead } from "./ReadAhead.ts"
import type { Reader } from "./Reader.ts"
import { makeAwaitDemand } from "./throttling.ts"
import { transferFailure } from "./transferFailure.ts"

/** How many chunks ahead a new fetch looks for one that is cached, so that it requests no more than is missing. */
const LOOK_AHEAD_CHUNKS = 256

/** How many fronts of chunks are filled in behind seeking viewers at a time. */
const MAX_FILLS = 8

/** How long the bytes of a `Single` representation that arrived before its first reader wait for it, in milliseconds. */
const FIRST_READER_MILLIS = 1000

/**
 * Waits for the first reader of a transfer that has ended before it. The cache may be unable to keep the bytes, and nothing brings those of a
 * `Single` representation again.
 */
const awaitReader = ({ download }: Fetch): Effect.Effect<void> =>
  Effect.callback<void>((resume) => {
    if (download.readers.size > 0) return resume(Effect.void)
    const onReader = () => resume(Effect.void)
    download.onReader = onReader
    return Effect.sync(() => download.onReader = undefined)
  }).pipe(Effect.timeoutOption(FIRST_READER_MILLIS), Effect.asVoid)

/** Makes the functions that start a fetch, each in a fiber of its own. `forget` is called with the download when a fetch has ended. */
export const makeStartFetch = Effect.fnUntraced(function*(forget: (download: Download) => void) {
  const cache = yield* ChunkCache
  const fork = yield* withoutServices(FiberSet.makeRuntime<never, void, never>())
  let fills = 0

  const startFill = ({ download, source }: Fetch, missing: ByteRange): void => {
    if (fills < MAX_FILLS) start(download, source, missing, { keepUntil: missing.end, isFill: true })
  }

  const fetchLoop = yield* makeFetchLoop(yield* makeAssembleChunks(startFill), makeAwaitDemand(fork))

  const end = (fetch: Fetch, exit: Exit.Exit<void, OriginError>): void => {
    const { download, followers, isStopping, position, readers } = fetch
    if (fetch.isFill) fills -= 1
    download.fetches.remove(fetch)
    const failure = transferFailure(exit, download.representation.url, position)
    fetch.finish(failure)
    for (const follower of followers) follower.ended(fetch, isStopping ? undefined : failure)
    if (isStopping) { for (const reader of readers) reader.releaseCached() }
    for (const reader of readers) reader.wake?.()
    forget(download)
  }

  /** Starts a fetch of `range`. It ends unless a reader joins it, or its options say more. */
  const start = (
    download: Download,
    source: Source,
    range: ByteRange,
    { open, ...options }: FetchOptions & { readonly open?: OpenResponse }
  ): Fetch => {
    const sequential = download.representation.ranges === "none" ||
      (open !== undefined && ignoresRanges(open.response, open.mode))
    const fetch = new Fetch(download, source, range, { ...options, sequential, awaitsReader: open !== undefined })
    download.fetches.add(fetch)
    fetch.holdChunks()
    if (fetch.isFill) fills += 1
    fetch.fiber = fork(
      fetchLoop(fetch, open).pipe(
        Effect.andThen(open !== undefined && isSingle(download.representation) ? awaitReader(fetch) : Effect.void),
        Effect.onExit((exit) => Effect.sync(() => end(fetch, exit))),
        Effect.ignoreCause
      )
    )
    return fetch
  }

  /** A range to where it meets a cached chunk. */
  const toCached = (download: Download, range: ByteRange): ByteRange => {
    const { chunkSize } = download.representation
    const first = indexAt(range.start, chunkSize) + 1
    for (let index = first; index < first + LOOK_AHEAD_CHUNKS && index * chunkSize < range.end; index++) {
      if (cache.has(download.keyOf(index))) return { start: range.start, end: index * chunkSize }
    }
    return range
  }

  /** Starts a fetch at the reader's next byte, to where it meets a cached chunk. */
  const startAt = ({ download, end, offset, source }: Reader): Fetch => {
    const { chunkSize, size } = download.representation
    return start(download, source, toCached(download, { start: offset, end: roundUp(end, chunkSize, size) }), {})
  }

  /** Starts a fetch for a read-ahead, to where it meets a cached chunk. */
  const startAhead = (follower: ReadAhead, download: Download, range: ByteRange): Fetch =>
    start(download, follower.source, toCached(download, range), { follower })

  return { start, startAt, startAhead }
})
