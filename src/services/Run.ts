import { Effect, type Fiber } from "effect"
import type { OriginError } from "../domain/OriginError.ts"
import type { Representation } from "../domain/Representation.ts"
import type { Source } from "./askOrigin.ts"
import type { ChunkAssembly } from "./ChunkAssembly.ts"

/**
 * Runs and their viewers: who wants what, how far a run goes, and which finished chunks stay at hand. The state of
 * `Downloader`, which alone changes who takes part.
 */

/** How far a run goes ahead of its fastest viewer, in bytes. */
const READ_AHEAD_BYTES = 1024 ** 2

/** A viewer waits for a run that is this close behind its byte rather than start another, in bytes. */
const JOIN_BYTES = 64 * 1024

/** Somebody who watches a part of a representation. */
export interface Viewer {
  readonly source: Source
  offset: number
  readonly end: number
  run: Run | undefined
  wake: (() => void) | undefined
  /** The chunk that could not be read from the cache. */
  distrusted: number | undefined
}

/** One origin request for a contiguous stretch of missing chunks, and those who share it. */
export interface Run {
  readonly download: Download
  /** The origin as the viewer sees it for whom the run was started. */
  readonly source: Source
  /** The chunk that it was started for. */
  readonly first: number
  /** The next byte to arrive. */
  position: number
  readonly end: number
  /** Its origin sends everything from the first byte on, so that it serves viewers at any later place. */
  sequential: boolean
  readonly viewers: Set<Viewer>
  /** It goes on to here even if nobody is left to watch. */
  keepUntil: number
  readonly isFill: boolean
  active: boolean
  failure: OriginError | undefined
  wake: (() => void) | undefined
  fiber: Fiber.Fiber<unknown, unknown> | undefined
}

/** All that goes on for one representation. */
export interface Download {
  representation: Representation
  readonly assemblies: Map<number, ChunkAssembly>
  readonly runs: Set<Run>
  readonly viewers: Set<Viewer>
}

/** Whether the run should go on now, wait for its viewers, or end because none is left. */
export const demand = (run: Run): "go" | "wait" | "end" => {
  if (run.position < run.keepUntil) return "go"
  if (run.viewers.size === 0) return "end"
  for (const viewer of run.viewers) if (run.position < viewer.offset + READ_AHEAD_BYTES) return "go"
  return "wait"
}

/** Waits until the run should go on, or end. */
export const awaitDemand = (run: Run): Effect.Effect<"go" | "end"> =>
  Effect.callback((resume) => {
    const look = () => {
      const wanted = demand(run)
      if (wanted === "wait") return false
      run.wake = undefined
      resume(Effect.succeed(wanted))
      return true
    }
    if (look()) return
    run.wake = look
    return Effect.sync(() => run.wake = undefined)
  })

/** Tells a run that what its viewers want has changed. */
export const reconsider = (run: Run): void => {
  if (demand(run) === "end") {
    // Nobody joins it from now on, though it takes a moment to end.
    run.active = false
    run.fiber?.interruptUnsafe()
  } else run.wake?.()
}

/** Whether a viewer who needs the byte at `offset` had better wait for this run than start another. */
export const covers = (run: Run, offset: number): boolean =>
  run.active && run.position <= offset && offset < run.end &&
  (run.sequential || offset - run.position <= JOIN_BYTES)

/** The run for a viewer who needs the byte at `offset`. */
export const findRun = (download: Download, offset: number): Run | undefined => {
  for (const run of download.runs) if (covers(run, offset)) return run
  return undefined
}

/**
 * Lets go of chunks that no run works on and no viewer is about to need: viewers right behind a run need neither tier of the
 * cache, and get what has arrived of a chunk that nobody completes.
 */
export const sweep = ({ assemblies, runs, viewers }: Download): void => {
  for (const { handedOver, index, span } of assemblies.values()) {
    // Whoever the first run was started for is on the way.
    let wanted = handedOver && viewers.size === 0 && runs.size > 0
    for (const { offset } of viewers) wanted ||= offset < span.end && offset + READ_AHEAD_BYTES >= span.start
    if (!handedOver) { for (const { end, position } of runs) wanted ||= position < span.end && end > span.start }
    if (!wanted) assemblies.delete(index)
  }
}
