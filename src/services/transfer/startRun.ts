import { Cause, Effect, Exit, FiberSet } from "effect"
import { type ChunkKey, indexAt, roundUp, span } from "../../domain/Chunk.ts"
import { loggable, OriginBodyFailed, type OriginError } from "../../domain/OriginError.ts"
import { type RangeSupport, Representation } from "../../domain/Representation.ts"
import type { ByteRange } from "../../domain/rfc/ByteRange.ts"
import { lean } from "../../effects/lean.ts"
import { Catalog } from "../cache/Catalog.ts"
import { ChunkCache } from "../cache/ChunkCache.ts"
import type { Source } from "../origin/askOrigin.ts"
import { Origin } from "../origin/Origin.ts"
import { type Assemblies, noHold } from "./Assemblies.ts"
import type { ChunkAssembly } from "./ChunkAssembly.ts"
import { type Download, type Run, RUNNING, transition, type Viewer } from "./Run.ts"
import { makeThrottled } from "./throttling.ts"
import { makeTransfer, type OpenTransfer } from "./transferRun.ts"

/** How many chunks ahead a new run looks for one that is there already, to ask the origin for no more than is missing. */
const LOOK_AHEAD_CHUNKS = 256

/** How many fronts of chunks are filled in behind seeking viewers at a time. */
const MAX_FILLS = 8

/**
 * Runs from their start to their end: what arrives is put together to chunks, which go to `ChunkCache` when they are whole. `forget` is
 * called when a run has ended.
 */
export const makeStartRun = Effect.fnUntraced(function*(forget: (download: Download) => void) {
  const origin = yield* Origin
  const catalog = yield* Catalog
  const cache = yield* ChunkCache
  const fork = yield* lean(FiberSet.makeRuntime<never, void, never>())
  let fills = 0

  const keyOf = ({ id, resource }: Representation, index: number): ChunkKey => ({ resource, representation: id, index })

  const hasChunk = (representation: Representation, index: number) => cache.has(keyOf(representation, index))

  /** Where a run that starts at `offset` for a viewer who wants bytes up to `end` meets a chunk that is there. */
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

  const startRun = (
    download: Download,
    source: Source,
    { end, start: from }: ByteRange,
    options: { readonly keepUntil?: number; readonly isFill?: boolean; readonly opened?: OpenTransfer } = {}
  ): Run => {
    const sequential = download.representation.ranges === "none" || ignoresRanges(options.opened)
    const run: Run = {
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
    download.runs.add(run)
    holdFor(run)
    if (run.isFill) fills += 1
    run.fiber = fork(
      transfer(run, options.opened).pipe(
        Effect.onExit((exit) => Effect.sync(() => endRun(run, exit))),
        Effect.ignoreCause
      )
    )
    return run
  }

  const endRun = (run: Run, exit: Exit.Exit<void, OriginError>): void => {
    const { download, hold, state, viewers } = run
    const { assemblies, representation } = download
    run.state = transition(state, { _tag: "End", failure: failureOf(run, exit) })
    if (run.isFill) fills -= 1
    download.runs.remove(run)
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

  /** What viewers are told when a run has ended in such a way. */
  const failureOf = ({ download, position }: Run, exit: Exit.Exit<void, OriginError>): OriginError | undefined => {
    if (Exit.isSuccess(exit)) return undefined
    const error = Cause.findErrorOption(exit.cause)
    const { url } = download.representation
    return error._tag === "Some"
      ? error.value
      : new OriginBodyFailed({ url: loggable(url), offset: position, cause: Cause.squash(exit.cause) })
  }

  /** Has the run hold the chunk that it is at, and those before it that its first viewer is on the way to. */
  const holdFor = ({ download, hold, isAwaited, position }: Run): void => {
    const index = indexAt(position, download.representation.chunkSize)
    const first = isAwaited && hold.last >= hold.first ? hold.first : index
    if (hold.last !== index || hold.first !== first) download.assemblies.move(hold, first, index)
  }

  /** Takes `bytes`, which belong at `run.position`. `false` when the run has met bytes that are there already. */
  const accept = (run: Run, bytes: Uint8Array): boolean => {
    const { assemblies, representation, runs } = run.download
    const { chunkSize, size } = representation
    let rest = bytes.subarray(0, run.end - run.position)
    while (rest.length > 0) {
      const { position } = run
      const index = indexAt(position, chunkSize)
      let assembly = assemblies.get(index)
      let taken: number
      if (assembly === undefined && index !== run.first && hasChunk(representation, index)) {
        if (!run.sequential) return false
        taken = Math.min(rest.length, span(index, chunkSize, size).end - position)
      } else {
        assembly ??= assemblies.begin(index, span(index, chunkSize, size))
        const filled = assembly.filledTo(position)
        if (filled > position) {
          if (!run.sequential) return false
          taken = Math.min(rest.length, filled - position)
        } else {
          taken = Math.min(rest.length, assembly.missingTo(position) - position)
          assembly.write(position, rest.subarray(0, taken))
        }
      }
      runs.move(run, position + taken)
      rest = rest.subarray(taken)
      if (assembly !== undefined) settle(run, assembly)
      holdFor(run)
    }
    for (const viewer of run.viewers) viewer.wake?.()
    return true
  }

  /** Hands over a chunk that is whole; when its tail is but its front is not, has the front filled in behind. */
  const settle = (run: Run, assembly: ChunkAssembly): void => {
    const { download } = run
    const { span, whole } = assembly
    if (whole !== undefined) {
      if (assembly.handedOver) return
      assembly.handedOver = true
      return cache.keep(download.representation, keyOf(download.representation, assembly.index), whole)
    }
    if (run.position < span.end || cache.failure() !== undefined || fills >= MAX_FILLS) return
    const from = assembly.filledTo(span.start)
    // A run that comes from the chunk before it will bring the front.
    if (download.runs.coming(from, download.representation.chunkSize).length > 0) return
    const end = assembly.missingTo(from)
    startRun(download, run.source, { start: from, end }, { keepUntil: end, isFill: true })
  }

  const learn = (download: Download, ranges: RangeSupport): void => {
    // Chunks that come from now on are kept with it, so that it is written to the manifest.
    download.representation = new Representation({ ...download.representation, ranges })
    catalog.learnRanges(download.representation, ranges)
  }

  const makeSequential = (run: Run, fromStart: boolean): void => {
    run.download.runs.move(run, fromStart ? 0 : run.position, true)
    holdFor(run)
  }

  const transfer = makeTransfer(origin, { accept, learn, makeSequential, throttled: makeThrottled(fork) })

  return { endOfMissing, hasChunk, startRun }
})
