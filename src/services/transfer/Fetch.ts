import { Effect, type Fiber } from "effect"
import type { OriginError } from "../../domain/OriginError.ts"
import type { Representation } from "../../domain/Representation.ts"
import { isSameSource, type Source } from "../origin/askOrigin.ts"
import type { Assemblies, Hold } from "./Assemblies.ts"
import type { Fetches } from "./Fetches.ts"

/**
 * Fetches and their viewers: who wants what, and how far a fetch goes. The state of `Downloader`, which alone changes who takes
 * part.
 */

/** How far a fetch goes ahead of its fastest viewer, in bytes. */
export const READ_AHEAD_BYTES = 1024 ** 2

/** A viewer waits for a fetch that is this close behind its byte rather than start another, in bytes. */
export const JOIN_BYTES = 64 * 1024

/** Somebody who watches a part of a representation. */
export interface Viewer {
  readonly source: Source
  offset: number
  readonly end: number
  fetch: Fetch | undefined
  wake: (() => void) | undefined
  /** The chunk that could not be read from the cache. */
  bypassed: number | undefined
  /** What the fetch of its own source failed with since its last byte. */
  failure: OriginError | undefined
  /** How many fetches of others have failed it since its last byte. */
  letDown: number
  /** The chunks that it needs next. */
  readonly hold: Hold
}

/** What a fetch does. `transition` has what leads from one state to another. */
export type State =
  /** It asks the origin, or reads. `setback`: its source was refused or kept waiting, so viewers of other sources don't wait for it. */
  | { readonly _tag: "Running"; readonly setback: OriginError | undefined }
  /** Its viewers have enough for now. It holds its connection, since the tick `since`. */
  | { readonly _tag: "Throttled"; readonly since: number }
  /** It is about to end, without a failure, and nobody joins it. */
  | { readonly _tag: "Stopping" }
  | { readonly _tag: "Ended"; readonly failure: OriginError | undefined }

/** What happens to a fetch. */
export type Event =
  | { readonly _tag: "SetBack"; readonly error: OriginError }
  /** The origin sends what was requested. */
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
 * The state of a fetch after `event`:
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
export interface Fetch {
  readonly download: Download
  /** The origin as the viewer who started the fetch sees it. */
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
  /** Has the fetch look at what its viewers want, while it waits for that. */
  wake: (() => void) | undefined
  fiber: Fiber.Fiber<unknown, unknown> | undefined
  /** The chunk that it is at, and those before it that its first viewer is on the way to. */
  readonly hold: Hold
}

/** All fetches and viewers of one representation. */
export interface Download {
  representation: Representation
  readonly assemblies: Assemblies
  readonly fetches: Fetches
  readonly viewers: Set<Viewer>
}

/** Whether the fetch has not begun to end. */
const isActive = ({ state }: Fetch): boolean => state._tag === "Running" || state._tag === "Throttled"

/** Whether a viewer may wait for the fetch: it is not held up by what concerns another source than the viewer's. */
export const isOpenTo = (fetch: Fetch, source: Source | undefined): boolean =>
  isActive(fetch) &&
  (fetch.state._tag !== "Running" || fetch.state.setback === undefined || isSameSource(fetch.source, source))

/** What the fetch has failed with, as far as that concerns a viewer who waits for it. */
export const failureFor = ({ source, state }: Fetch, viewer: Viewer): OriginError | undefined => {
  if (state._tag === "Ended") return state.failure
  return state._tag === "Running" && !isSameSource(source, viewer.source) ? state.setback : undefined
}

/** Whether a viewer who needs the byte at `offset` should wait for this fetch than start another. */
export const covers = (fetch: Fetch, offset: number): boolean =>
  fetch.position <= offset && offset < fetch.end && (fetch.sequential || offset - fetch.position <= JOIN_BYTES)

/** Whether the fetch should go on now, wait for its viewers, or end because none is left. */
const demand = (fetch: Fetch): "go" | "wait" | "end" => {
  if (fetch.position < fetch.keepUntil) return "go"
  if (fetch.viewers.size === 0) return "end"
  for (const viewer of fetch.viewers) if (fetch.position < viewer.offset + READ_AHEAD_BYTES) return "go"
  return "wait"
}

const apply = (fetch: Fetch, event: Event): void => {
  fetch.state = transition(fetch.state, event)
}

/** Has the viewer leave its fetch, which ends unless somebody still wants more of it. */
export const leave = (viewer: Viewer): void => {
  const { fetch } = viewer
  if (fetch === undefined) return
  viewer.fetch = undefined
  fetch.viewers.delete(viewer)
  if (!isActive(fetch) || demand(fetch) !== "end") return
  apply(fetch, { _tag: "Abandoned" })
  // Nobody joins it from now on, though it takes a moment to end.
  fetch.fiber?.interruptUnsafe()
}

/** Has the viewer wait for the fetch. */
export const join = (viewer: Viewer, fetch: Fetch): void => {
  if (viewer.fetch === fetch) return
  leave(viewer)
  viewer.fetch = fetch
  fetch.isAwaited = false
  // From now on it continues for its viewers only.
  if (fetch.viewers.size === 0 && !fetch.isFill) fetch.keepUntil = 0
  fetch.viewers.add(viewer)
  fetch.wake?.()
}

/** Has the fetch end: its place at the origin is given back, and its viewers start another when they need more. */
export const yieldPlace = (fetch: Fetch): void => {
  apply(fetch, { _tag: "Yield" })
  if (fetch.state._tag === "Stopping") fetch.fiber?.interruptUnsafe()
}

/** Tells those who wait for the fetch that it is kept waiting, or was refused; viewers of other sources don't wait with it. */
export const setBack = (fetch: Fetch, error: OriginError): void => {
  apply(fetch, { _tag: "SetBack", error })
  for (const viewer of fetch.viewers) if (!isSameSource(viewer.source, fetch.source)) viewer.wake?.()
}

/** Takes note that the origin sends what the fetch has asked for. */
export const answered = (fetch: Fetch): void => apply(fetch, { _tag: "Answered" })

/** The fetches that are throttled, with the number of ticks that have passed. */
export interface Throttled {
  readonly tick: () => number
  readonly enter: (fetch: Fetch) => void
  readonly leave: (fetch: Fetch) => void
}

/** Waits until the fetch should go on, `true`, or end. */
export const awaitDemand = (fetch: Fetch, throttled: Throttled): Effect.Effect<boolean> =>
  Effect.callback((resume) => {
    const look = () => {
      const wanted = demand(fetch)
      if (wanted === "wait") return false
      apply(fetch, { _tag: wanted === "go" ? "Wanted" : "Abandoned" })
      if (fetch.wake !== undefined) leave()
      resume(Effect.succeed(wanted === "go"))
      return true
    }
    const leave = () => {
      fetch.wake = undefined
      throttled.leave(fetch)
    }
    if (look()) return
    apply(fetch, { _tag: "Satisfied", tick: throttled.tick() })
    throttled.enter(fetch)
    fetch.wake = look
    return Effect.sync(leave)
  })

/** Whether the fetch should ask the origin again. */
export const isWanted = (fetch: Fetch): boolean => isActive(fetch) && demand(fetch) !== "end"
