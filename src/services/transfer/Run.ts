import { Effect, type Fiber } from "effect"
import type { OriginError } from "../../domain/OriginError.ts"
import type { Representation } from "../../domain/Representation.ts"
import { isSameSource, type Source } from "../origin/askOrigin.ts"
import type { Assemblies, Hold } from "./Assemblies.ts"
import type { Runs } from "./Runs.ts"

/**
 * Runs and their viewers: who wants what, and how far a run goes. The state of `Downloader`, which alone changes who takes
 * part.
 */

/** How far a run goes ahead of its fastest viewer, in bytes. */
export const READ_AHEAD_BYTES = 1024 ** 2

/** A viewer waits for a run that is this close behind its byte rather than start another, in bytes. */
export const JOIN_BYTES = 64 * 1024

/** Somebody who watches a part of a representation. */
export interface Viewer {
  readonly source: Source
  offset: number
  readonly end: number
  run: Run | undefined
  wake: (() => void) | undefined
  /** The chunk that could not be read from the cache. */
  distrusted: number | undefined
  /** What the run of its own source failed with since its last byte. */
  failure: OriginError | undefined
  /** How many runs of others have failed it since its last byte. */
  letDown: number
  /** The chunks that it needs next. */
  readonly hold: Hold
}

/** What a run does. `transition` has what leads from one state to another. */
export type State =
  /** It asks the origin, or reads. `setback`: its source was refused or kept waiting, so viewers of other sources don't wait for it. */
  | { readonly _tag: "Running"; readonly setback: OriginError | undefined }
  /** Its viewers have enough for now. It holds its connection, since the tick `since`. */
  | { readonly _tag: "Throttled"; readonly since: number }
  /** It is about to end, without a failure, and nobody joins it. */
  | { readonly _tag: "Stopping" }
  | { readonly _tag: "Ended"; readonly failure: OriginError | undefined }

/** What happens to a run. */
export type Event =
  | { readonly _tag: "SetBack"; readonly error: OriginError }
  /** The origin sends what was asked for. */
  | { readonly _tag: "Answered" }
  /** All viewers have enough for now. */
  | { readonly _tag: "Satisfied"; readonly tick: number }
  /** A viewer wants more. */
  | { readonly _tag: "Wanted" }
  /** Its place at the origin is wanted, or it has been throttled for long. */
  | { readonly _tag: "Yield" }
  /** Nobody is left who wants more. */
  | { readonly _tag: "Abandoned" }
  | { readonly _tag: "End"; readonly failure: OriginError | undefined }

export const RUNNING: State = { _tag: "Running", setback: undefined }
const STOPPING: State = { _tag: "Stopping" }

/**
 * The state of a run after `event`:
 *
 *     Running ⇄ Throttled     by `Satisfied` and `Wanted`
 *     Throttled → Stopping    by `Yield`
 *     Running, Throttled → Stopping    by `Abandoned`
 *     any → Ended             by `End`
 */
export const transition = (state: State, event: Event): State => {
  switch (event._tag) {
    case "SetBack":
      return state._tag === "Running" ? { _tag: "Running", setback: event.error } : state
    case "Answered":
      return state._tag === "Running" ? RUNNING : state
    case "Satisfied":
      return state._tag === "Running" ? { _tag: "Throttled", since: event.tick } : state
    case "Wanted":
      return state._tag === "Throttled" ? RUNNING : state
    case "Yield":
      return state._tag === "Throttled" ? STOPPING : state
    case "Abandoned":
      return state._tag === "Running" || state._tag === "Throttled" ? STOPPING : state
    case "End":
      // What stops has no failure, however its request ended.
      if (state._tag === "Ended") return state
      return { _tag: "Ended", failure: state._tag === "Stopping" ? undefined : event.failure }
  }
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
  /** Its first viewer is on the way. */
  isAwaited: boolean
  state: State
  /** Has the run look at what its viewers want, while it waits for that. */
  wake: (() => void) | undefined
  fiber: Fiber.Fiber<unknown, unknown> | undefined
  /** The chunk that it is at, and those before it that its first viewer is on the way to. */
  readonly hold: Hold
}

/** All that goes on for one representation. */
export interface Download {
  representation: Representation
  readonly assemblies: Assemblies
  readonly runs: Runs
  readonly viewers: Set<Viewer>
}

/** Whether the run has not begun to end. */
const isActive = ({ state }: Run): boolean => state._tag === "Running" || state._tag === "Throttled"

/** Whether a viewer may wait for the run: it is not held up by what concerns another source than the viewer's. */
export const isOpenTo = (run: Run, source: Source | undefined): boolean =>
  isActive(run) &&
  (run.state._tag !== "Running" || run.state.setback === undefined || isSameSource(run.source, source))

/** What the run has failed with, as far as that concerns a viewer who waits for it. */
export const failureFor = ({ source, state }: Run, viewer: Viewer): OriginError | undefined => {
  if (state._tag === "Ended") return state.failure
  return state._tag === "Running" && !isSameSource(source, viewer.source) ? state.setback : undefined
}

/** Whether a viewer who needs the byte at `offset` had better wait for this run than start another. */
export const covers = (run: Run, offset: number): boolean =>
  run.position <= offset && offset < run.end && (run.sequential || offset - run.position <= JOIN_BYTES)

/** Whether the run should go on now, wait for its viewers, or end because none is left. */
const demand = (run: Run): "go" | "wait" | "end" => {
  if (run.position < run.keepUntil) return "go"
  if (run.viewers.size === 0) return "end"
  for (const viewer of run.viewers) if (run.position < viewer.offset + READ_AHEAD_BYTES) return "go"
  return "wait"
}

const apply = (run: Run, event: Event): void => {
  run.state = transition(run.state, event)
}

/** Has the viewer leave its run, which ends unless somebody still wants more of it. */
export const leave = (viewer: Viewer): void => {
  const { run } = viewer
  if (run === undefined) return
  viewer.run = undefined
  run.viewers.delete(viewer)
  if (!isActive(run) || demand(run) !== "end") return
  apply(run, { _tag: "Abandoned" })
  // Nobody joins it from now on, though it takes a moment to end.
  run.fiber?.interruptUnsafe()
}

/** Has the viewer wait for the run. */
export const join = (viewer: Viewer, run: Run): void => {
  if (viewer.run === run) return
  leave(viewer)
  viewer.run = run
  run.isAwaited = false
  // From now on it goes on for its viewers only.
  if (run.viewers.size === 0 && !run.isFill) run.keepUntil = 0
  run.viewers.add(viewer)
  run.wake?.()
}

/** Has the run end: its place at the origin is given back, and its viewers start another when they need more. */
export const yieldPlace = (run: Run): void => {
  apply(run, { _tag: "Yield" })
  if (run.state._tag === "Stopping") run.fiber?.interruptUnsafe()
}

/** Tells those who wait for the run that it is kept waiting, or was refused; viewers of other sources don't wait with it. */
export const setBack = (run: Run, error: OriginError): void => {
  apply(run, { _tag: "SetBack", error })
  for (const viewer of run.viewers) if (!isSameSource(viewer.source, run.source)) viewer.wake?.()
}

/** Takes note that the origin sends what the run has asked for. */
export const answered = (run: Run): void => apply(run, { _tag: "Answered" })

/** The runs that are throttled, with the number of ticks that have passed. */
export interface Throttled {
  readonly tick: () => number
  readonly enter: (run: Run) => void
  readonly leave: (run: Run) => void
}

/** Waits until the run should go on, `true`, or end. */
export const awaitDemand = (run: Run, throttled: Throttled): Effect.Effect<boolean> =>
  Effect.callback((resume) => {
    const look = () => {
      const wanted = demand(run)
      if (wanted === "wait") return false
      apply(run, { _tag: wanted === "go" ? "Wanted" : "Abandoned" })
      if (run.wake !== undefined) leave()
      resume(Effect.succeed(wanted === "go"))
      return true
    }
    const leave = () => {
      run.wake = undefined
      throttled.leave(run)
    }
    if (look()) return
    apply(run, { _tag: "Satisfied", tick: throttled.tick() })
    throttled.enter(run)
    run.wake = look
    return Effect.sync(leave)
  })

/** Whether the run should ask the origin again. */
export const isWanted = (run: Run): boolean => isActive(run) && demand(run) !== "end"
