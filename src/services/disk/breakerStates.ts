import { type CacheError, type CacheFailure, isFromWriting, isOfOneFile, objectOf } from "../../domain/CacheError.ts"

/**
 * The states of the disk breaker, without effects.
 *
 *                     the disk failed, or 3 files in a row
 *        ┌────────┐ ─────────────────────────────────────────► ┌───────────────────────────┐ ──┐
 *        │ Usable │                                            │ Full | ReadOnly | Failing │   │ another cause
 *        └────────┘ ◄───────────────────────────────────────── └───────────────────────────┘ ◄─┘
 *          │    ▲                  a probe succeeded
 *          └────┘ one file failed: examine the disk
 *
 *     state     cause               read  write  error
 *     Usable                        yes   yes
 *     Full      ENOSPC, EDQUOT      yes   no     DiskFull
 *     ReadOnly  EROFS, EACCES …     yes   no     PermissionDenied
 *     Failing   EIO, TIMEOUT …      no    no     IoError
 *
 * The same cause again changes nothing. While the breaker is open, each probe doubles the pause before the next one. The pause
 * starts anew only after the disk was usable for some time.
 */
export type DiskState =
  | { readonly _tag: "Usable" }
  | {
    readonly _tag: "Full" | "ReadOnly" | "Failing"
    /** The cause. */
    readonly error: CacheFailure
    /** When this cause was found, in milliseconds since 1970. */
    readonly since: number
  }

/** What was being done to the disk. */
export type Direction = "read" | "write"

/** What the breaker knows. */
export interface Breaker {
  readonly state: DiskState
  /** When the disk last became usable, in milliseconds since 1970. */
  readonly usableSince: number
  /** How long to wait before the next probe, in milliseconds. */
  readonly pause: number
  /** The files and directories that have failed since the last success, each with the time. */
  readonly suspects: Readonly<Record<Direction, ReadonlyMap<string, number>>>
}

export type Event =
  /** A call to the disk failed. The cause may be one file, or the whole disk. */
  | { readonly _tag: "Failed"; readonly error: CacheError }
  /** The whole cache can't be used: a first probe failed, the lock is lost, the store can't be listed. */
  | { readonly _tag: "Broken"; readonly error: CacheError }
  /** A file was read or written. */
  | { readonly _tag: "Succeeded"; readonly direction: Direction }
  /** A probe of an open breaker ended. */
  | { readonly _tag: "ProbeFailed"; readonly error: CacheError }
  | { readonly _tag: "ProbeSucceeded" }

export interface Transition {
  readonly next: Breaker
  /** What follows: `Opened` and `Closed` report a new state or cause, `Examine` asks for a probe. */
  readonly output: "None" | "Opened" | "Closed" | "Examine"
}

/** How many files or directories have to fail in a row, and within how many milliseconds, until the disk counts as failing. */
export const SUSPECTS = { objects: 3, millis: 10_000 }

/**
 * The first and the longest pause between probes, and how long the disk has to be usable until the pause starts anew. All in
 * milliseconds.
 */
export const PROBE_INTERVAL = { shortest: 250, longest: 5000, forgiven: 30_000 }

const none: ReadonlyMap<string, number> = new Map()

/** The breaker at the start. */
export const initial: Breaker = {
  state: { _tag: "Usable" },
  usableSince: Number.NEGATIVE_INFINITY,
  pause: PROBE_INTERVAL.shortest,
  suspects: { read: none, write: none }
}

const tags = { DiskFull: "Full", PermissionDenied: "ReadOnly", IoError: "Failing" } as const

const unchanged = (breaker: Breaker): Transition => ({ next: breaker, output: "None" })

const isCause = (state: DiskState, error: CacheFailure): boolean =>
  state._tag === tags[error._tag] && state.error.errno === error.errno

const open = (breaker: Breaker, error: CacheError, now: number): Transition => {
  // A busy disk works.
  if (error._tag === "DiskBusy" || isCause(breaker.state, error)) return unchanged(breaker)
  const startsAnew = breaker.state._tag === "Usable" && now - breaker.usableSince > PROBE_INTERVAL.forgiven
  const pause = startsAnew ? PROBE_INTERVAL.shortest : breaker.pause
  return { next: { ...breaker, pause, state: { _tag: tags[error._tag], error, since: now } }, output: "Opened" }
}

const close = (breaker: Breaker, now: number): Transition =>
  breaker.state._tag === "Usable"
    ? unchanged(breaker)
    : { next: { ...breaker, state: initial.state, usableSince: now }, output: "Closed" }

const suspect = (breaker: Breaker, error: CacheError, now: number): Transition => {
  if (breaker.state._tag === "Failing") return unchanged(breaker)
  const direction = isFromWriting(error) ? "write" : "read"
  const failed = [...breaker.suspects[direction], [objectOf(error), now] as const]
  const recent = new Map(failed.filter(([, at]) => now - at <= SUSPECTS.millis))
  const isDisk = recent.size >= SUSPECTS.objects
  const next = { ...breaker, suspects: { ...breaker.suspects, [direction]: isDisk ? none : recent } }
  return isDisk ? open(next, error, now) : { next, output: "Examine" }
}

const clear = (breaker: Breaker, direction: Direction): Transition =>
  unchanged(
    breaker.suspects[direction].size === 0
      ? breaker
      : { ...breaker, suspects: { ...breaker.suspects, [direction]: none } }
  )

const afterProbe = (breaker: Breaker): Breaker => ({
  ...breaker,
  pause: Math.min(2 * breaker.pause, PROBE_INTERVAL.longest)
})

/** What `event` makes of the breaker at the time `now`, in milliseconds since 1970. */
export const transition = (breaker: Breaker, event: Event, now: number): Transition => {
  switch (event._tag) {
    case "Failed":
      return isOfOneFile(event.error) ? suspect(breaker, event.error, now) : open(breaker, event.error, now)
    case "Broken":
      return open(breaker, event.error, now)
    case "Succeeded":
      return clear(breaker, event.direction)
    case "ProbeFailed":
      return open(afterProbe(breaker), event.error, now)
    case "ProbeSucceeded":
      return close(afterProbe(breaker), now)
  }
}
