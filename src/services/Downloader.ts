import { Cause, Context, Effect, Exit, FiberSet, Layer, type Scope, Stream } from "effect"
import type { ByteRange } from "../domain/ByteRange.ts"
import { type ChunkKey, indexAt, roundUp, span } from "../domain/Chunk.ts"
import { loggable, OriginBodyFailed, type OriginError } from "../domain/OriginError.ts"
import { type RangeSupport, Representation } from "../domain/Representation.ts"
import type { Source } from "./askOrigin.ts"
import { Catalog } from "./Catalog.ts"
import { ChunkAssembly } from "./ChunkAssembly.ts"
import { ChunkCache } from "./ChunkCache.ts"
import { atEnd, lean } from "./lean.ts"
import { Origin } from "./Origin.ts"
import { covers, type Download, findRun, reconsider, type Run, sweep, type Viewer } from "./Run.ts"
import { makeTransfer, type OpenTransfer } from "./transferRun.ts"

/**
 * One viewer's place in a representation. It keeps the run that it has joined alive, also while the viewer reads from the
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
  readonly distrust: () => void
}

/**
 * Bytes from the origin to any number of viewers, in memory. A *run* is one origin request for a contiguous stretch of
 * missing chunks. Viewers join the run that is about to deliver their byte, or start one at that very byte; each gets
 * bytes as they arrive. A run keeps a bounded distance ahead of its fastest viewer, stops at bytes that are already
 * there, and ends when its last viewer has left. A finished chunk is handed to `ChunkCache`, once.
 */
export class Downloader extends Context.Service<Downloader, {
  /** A viewer of `range`, until the scope closes: it joins the transfer that is about to deliver its next byte, or starts one. */
  readonly view: (
    representation: Representation,
    range: ByteRange,
    source: Source
  ) => Effect.Effect<View, never, Scope.Scope>
  /**
   * Makes a run of an answer that has been asked for already; it goes on to the end of its first chunk without viewers.
   * `false`, and nothing is done, when a run for these bytes is under way.
   */
  readonly adopt: (
    representation: Representation,
    transfer: OpenTransfer,
    range: ByteRange,
    source: Source
  ) => boolean
  /** Whether a viewer who asks for the byte at `offset` now would share a run that is under way. */
  readonly isRunning: (representation: Representation, offset: number) => boolean
}>()("spillway/services/Downloader") {
  static readonly layer: Layer.Layer<Downloader, never, Catalog | ChunkCache | Origin> = Layer.effect(
    Downloader,
    Effect.suspend(() => make)
  )
}

/** How many chunks ahead a new run looks for one that is there already, to ask the origin for no more than is missing. */
const LOOK_AHEAD_CHUNKS = 256

/** How many fronts of chunks are filled in behind seeking viewers at a time. */
const MAX_FILLS = 8

const make = Effect.gen(function*() {
  const origin = yield* Origin
  const catalog = yield* Catalog
  const cache = yield* ChunkCache
  const fork = yield* lean(FiberSet.makeRuntime<never, void, never>())
  const downloads = new Map<string, Download>()
  let fills = 0

  const downloadOf = (representation: Representation): Download => {
    const known = downloads.get(representation.id)
    if (known !== undefined) return known
    const created: Download = { representation, assemblies: new Map(), runs: new Set(), viewers: new Set() }
    downloads.set(representation.id, created)
    return created
  }

  const forget = (download: Download): void => {
    if (download.viewers.size === 0 && download.runs.size === 0) downloads.delete(download.representation.id)
  }

  const keyOf = ({ id, resource }: Representation, index: number): ChunkKey => ({ resource, representation: id, index })

  const hasChunk = (representation: Representation, index: number) => cache.has(keyOf(representation, index))

  // --- runs -------------------------------------------------------------------------------------------------------

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

  const startRun = (
    download: Download,
    source: Source,
    { end, start: from }: ByteRange,
    options: { readonly keepUntil?: number; readonly isFill?: boolean; readonly opened?: OpenTransfer } = {}
  ): Run => {
    const sequential = download.representation.ranges === "none"
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
      active: true,
      failure: undefined,
      wake: undefined,
      fiber: undefined
    }
    download.runs.add(run)
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
    const { download } = run
    run.active = false
    if (run.isFill) fills -= 1
    if (Exit.isFailure(exit)) {
      const error = Cause.findErrorOption(exit.cause)
      run.failure = error._tag === "Some"
        ? error.value
        : new OriginBodyFailed({
          url: loggable(download.representation.url),
          offset: run.position,
          cause: Cause.squash(exit.cause)
        })
    }
    download.runs.delete(run)
    sweep(download)
    for (const viewer of run.viewers) viewer.wake?.()
    forget(download)
  }

  /** Takes `bytes`, which belong at `run.position`. `false` when the run has met bytes that are there already. */
  const accept = (run: Run, bytes: Uint8Array): boolean => {
    const { assemblies, representation } = run.download
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
        if (assembly === undefined) {
          assembly = new ChunkAssembly(index, span(index, chunkSize, size))
          assemblies.set(index, assembly)
        }
        const filled = assembly.filledTo(position)
        if (filled > position) {
          if (!run.sequential) return false
          taken = Math.min(rest.length, filled - position)
        } else {
          taken = Math.min(rest.length, assembly.missingTo(position) - position)
          assembly.write(position, rest.subarray(0, taken))
        }
      }
      run.position += taken
      rest = rest.subarray(taken)
      if (assembly !== undefined) settle(run, assembly)
    }
    for (const viewer of run.viewers) viewer.wake?.()
    return true
  }

  /** Hands over a chunk that is whole; where its tail is but its front is not, has the front filled in behind. */
  const settle = (run: Run, assembly: ChunkAssembly): void => {
    const { download } = run
    const { span, whole } = assembly
    if (whole !== undefined) {
      if (assembly.handedOver) return
      assembly.handedOver = true
      cache.keep(download.representation, keyOf(download.representation, assembly.index), whole)
      return sweep(download)
    }
    if (run.position < span.end || cache.failure() !== undefined || fills >= MAX_FILLS) return
    const from = assembly.filledTo(span.start)
    const end = assembly.missingTo(from)
    const underWay = [...download.runs].some((other) => other.position <= from && other.end > from)
    if (!underWay) startRun(download, run.source, { start: from, end }, { keepUntil: end, isFill: true })
  }

  const learn = (download: Download, ranges: RangeSupport): void => {
    // Chunks that come from now on are kept with it, so that it is written to the manifest.
    download.representation = new Representation({ ...download.representation, ranges })
    catalog.learnRanges(download.representation, ranges)
  }

  const transfer = makeTransfer(origin, accept, learn)

  // --- viewers ----------------------------------------------------------------------------------------------------

  const leave = (viewer: Viewer): void => {
    const { run } = viewer
    viewer.run = undefined
    run?.viewers.delete(viewer)
    if (run?.active) reconsider(run)
  }

  const join = (viewer: Viewer, run: Run): void => {
    if (viewer.run === run) return
    leave(viewer)
    viewer.run = run
    // From now on it goes on for its viewers only.
    if (run.viewers.size === 0 && !run.isFill) run.keepUntil = 0
    run.viewers.add(viewer)
    if (run.wake !== undefined) run.wake()
  }

  /** What a viewer gets next, or `undefined` when it has to wait for its run. */
  const poll = (download: Download, viewer: Viewer): Exit.Exit<Uint8Array, OriginError | Cause.Done> | undefined => {
    const { representation } = download
    const { end, offset } = viewer
    if (offset >= end) return Exit.fail(Cause.Done())
    const index = indexAt(offset, representation.chunkSize)
    const assembly = download.assemblies.get(index)
    const filled = assembly === undefined ? offset : Math.min(assembly.filledTo(offset), end)
    if (filled > offset) return Exit.succeed(assembly!.read(offset, filled))
    // It has been finished, by this run or another: whoever reads the cache goes on from there.
    if (assembly === undefined && index !== viewer.distrusted && hasChunk(representation, index)) {
      return Exit.fail(Cause.Done())
    }
    const run = viewer.run?.active && covers(viewer.run, offset) ? viewer.run : findRun(download, offset)
    if (run !== undefined) {
      join(viewer, run)
      return undefined
    }
    const failure = viewer.run?.failure
    if (failure !== undefined) return Exit.fail(failure)
    const missing = { start: offset, end: endOfMissing(representation, offset, end) }
    join(viewer, startRun(download, viewer.source, missing))
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
    return findRun(download, offset) !== undefined || (assembly !== undefined && assembly.filledTo(offset) > offset)
  }

  const view = Effect.fnUntraced(function*(representation: Representation, range: ByteRange, source: Source) {
    const download = downloadOf(representation)
    const viewer: Viewer = {
      source,
      offset: range.start,
      end: range.end,
      run: undefined,
      wake: undefined,
      distrusted: undefined
    }
    download.viewers.add(viewer)
    yield* atEnd((exit) => {
      const { run } = viewer
      // Who has seen all it wanted leaves a chunk that is worth finishing; who goes away in the middle does not.
      if (Exit.isSuccess(exit) && run !== undefined && viewer.offset >= viewer.end) {
        run.keepUntil = Math.max(run.keepUntil, roundUp(viewer.offset, representation.chunkSize, run.end))
      }
      leave(viewer)
      download.viewers.delete(viewer)
      forget(download)
    })
    const pull = next(download, viewer)
    return {
      offset: () => viewer.offset,
      advance: (bytes) => {
        viewer.offset += bytes
        viewer.run?.wake?.()
      },
      stream: Stream.fromPull(Effect.succeed(pull)),
      distrust: () => void (viewer.distrusted = indexAt(viewer.offset, representation.chunkSize))
    } satisfies View
  })

  return Downloader.of({
    view,
    adopt: (representation, opened, range, source) => {
      if (isRunning(representation, range.start)) return false
      const keepUntil = roundUp(range.start + 1, representation.chunkSize, range.end)
      startRun(downloadOf(representation), source, range, { keepUntil, opened })
      return true
    },
    isRunning
  })
})
