import { Context, Effect, Exit, Layer, Option } from "effect"
import { type CacheError, DiskBusy, IoError } from "../../domain/CacheError.ts"
import { poolSize } from "../../effects/poolSize.ts"
import * as Metrics from "../observe/pullMetrics.ts"
import * as DiskCalls from "./diskCalls.ts"
import { LateReads } from "./LateReads.ts"
import type { Wait } from "./Patience.ts"
import { ReadLatency } from "./ReadLatency.ts"

/** Gets what a call ended with. */
export type OnEnd<A> = (exit: Exit.Exit<A, CacheError>) => void

const nothing = (): void => {}

const waitFor = (millis: number, isOver: Wait["isOver"]): Wait => ({
  millis,
  isOver,
  since: 0,
  isWaiting: false,
  before: undefined,
  behind: undefined
})

/**
 * Limits the calls to the disk. All calls pass through here. A disk that hangs holds a thread of Node's pool for each call that is
 * under way. When it holds all of them, nothing else runs: no other file, no name resolution. So calls get only a part of the pool.
 * Each call runs apart from its caller, who can stop waiting at any time.
 *
 * The limiter also tells a busy disk from one that hangs. On a busy disk calls take long, but they end one after the other. On a disk
 * that hangs, calls are under way and none ends. Time in which the event loop was held up doesn't count: no call could be observed to end
 * then, and the origin would be no faster.
 *
 * @since 0.1.0
 * @category services
 */
export class DiskLimiter extends Context.Service<DiskLimiter, {
  /** Runs `call` when there is room. Interruption stops the wait; a call that has begun runs to its end. */
  readonly pass: <A, E>(call: Effect.Effect<A, E>) => Effect.Effect<A, E>
  /**
   * The same for a viewer, who has another source and waits at most `millis`. Fails with `DiskBusy`, at once if the call would
   * probably be late, and with `IoError` and the errno `TIMEOUT` if the disk hangs. While a late call for `file` runs, no other
   * begins for that file. The next viewer gets the error of the late call.
   */
  readonly passWithin: <A>(
    millis: number,
    file: string,
    call: Effect.Effect<A, CacheError>
  ) => Effect.Effect<A, CacheError>
  /**
   * The same without a fiber that waits: `onEnd` gets what `passWithin` ends with, perhaps before this returns. The function returned
   * stops the wait.
   */
  readonly startWithin: <A>(
    millis: number,
    file: string,
    call: Effect.Effect<A, CacheError>,
    onEnd: OnEnd<A>
  ) => () => void
  /** Whether `passWithin` would fail at once. */
  readonly isBusy: (millis: number) => boolean
  /** Records that the disk has done a step of a call. */
  readonly progressed: () => void
  /** Waits until calls have been under way for `millis` without a step of the disk. */
  readonly stalled: (millis: number) => Effect.Effect<void>
  /** How many calls are under way. */
  readonly inFlight: () => number
}>()("spillway/services/disk/DiskLimiter") {
  /**
   * Lets half of Node's thread pool through, at least two calls.
   *
   * @since 0.1.0
   * @category layers
   */
  static readonly layer: Layer.Layer<DiskLimiter> = Layer.effect(
    DiskLimiter,
    Effect.suspend(() => make(Math.max(2, Math.floor(poolSize() / 2))))
  )
}

/** The part of a viewer's patience in which a disk that doesn't hang makes progress. */
const QUIET = 0.8

const make = Effect.fnUntraced(function*(permits: number) {
  const calls = yield* DiskCalls.make(permits)
  const { now, patience } = calls
  const latency = new ReadLatency()
  const lateReads = new LateReads()
  /** Viewers' calls that aren't late: all of them, and those that run. */
  let viewers = 0
  let running = 0
  /** Found while all viewers were refused. Holds until the disk does a step. */
  let hang: { readonly error: CacheError; readonly steps: number } | undefined

  const countBusy = yield* Metrics.counters(
    "spillway_disk_busy_reads_total",
    "Reads that the origin did for a busy disk: refused at once, or late",
    "reason",
    ["refused", "late"]
  )

  const isBusy = (millis: number): boolean =>
    latency.isTooLong(Math.max(1, (calls.inFlight() + calls.waiting() + 1) / permits), millis, now())

  const busy = (reason: "refused" | "late", file: string) => {
    countBusy(reason)
    return new DiskBusy({ errno: reason === "late" ? "TIMEOUT" : "BUSY", operation: "read", path: file })
  }

  /** Runs a viewer's call. Calls `onEnd` when it has ended, or when it is late. The function returned stops the wait. */
  const attempt = <A>(
    millis: number,
    file: string,
    call: Effect.Effect<A, CacheError>,
    onEnd: OnEnd<A>
  ): () => void => {
    let began = 0
    let isUnderWay = false
    let isLate = false
    let isHung = false
    const watched = Effect.suspend(() => {
      began = patience.time()
      // It has waited too long, and would only make others wait.
      if (running > 0 && latency.isTooLong(1, millis - (began - wait.since), now())) {
        return Effect.fail(busy("refused", file))
      }
      isUnderWay = true
      running += 1
      return call
    })
    const ended = (exit: Exit.Exit<A, CacheError>): void => {
      if (isUnderWay) {
        isUnderWay = false
        if (isHung) latency.recovered(now())
        else latency.ended(Math.min(patience.time() - began, millis), now())
        if (!isLate) running -= 1
      }
      if (isLate) return lateReads.ended(file, Option.getOrUndefined(Exit.findErrorOption(exit)))
      viewers -= 1
      patience.end(wait)
      onEnd(exit)
    }
    const giveUp = (quiet: number): void => {
      isHung = quiet >= millis * QUIET
      viewers -= 1
      if (!leave()) {
        isLate = true
        running -= 1
        lateReads.add(file)
        latency.late(millis, now())
      }
      onEnd(Exit.fail(
        isHung ? new IoError({ errno: "TIMEOUT", operation: "read", path: file }) : busy("late", file)
      ))
    }
    const wait = waitFor(millis, (passed, quiet) => {
      if (passed < millis) return false
      giveUp(quiet)
      return true
    })
    viewers += 1
    patience.begin(wait)
    const leave = calls.start(watched, ended)
    return () => {
      patience.end(wait)
      if (leave()) viewers -= 1
    }
  }

  /** Runs a call in the background, to find out how the disk is while all viewers are refused. */
  const explore = (millis: number, file: string, call: Effect.Effect<unknown, CacheError>): void => {
    attempt(millis, file, call, (exit) => {
      const error = Option.getOrUndefined(Exit.findErrorOption(exit))
      if (error === undefined) return
      if (error.errno === "TIMEOUT" && error._tag === "IoError") hang = { error, steps: calls.steps() }
      else if (error._tag !== "DiskBusy") lateReads.ended(file, error)
    })
  }

  const startWithin = <A>(
    millis: number,
    file: string,
    call: Effect.Effect<A, CacheError>,
    onEnd: OnEnd<A>
  ): () => void => {
    const refuse = (error: CacheError) => {
      onEnd(Exit.fail(error))
      return nothing
    }
    if (hang?.steps === calls.steps()) return refuse(hang.error)
    const known = lateReads.takeError(file)
    if (known !== undefined) return refuse(known)
    const isLate = lateReads.isRunning(file)
    if (!isLate && !isBusy(millis)) return attempt(millis, file, call, onEnd)
    if (!isLate && viewers === 0) explore(millis, file, call)
    return refuse(busy("refused", file))
  }

  return DiskLimiter.of({
    pass: (call) =>
      Effect.callback((resume) => {
        const leave = calls.start(call, resume)
        return Effect.sync(() => void leave())
      }),
    startWithin,
    passWithin: (millis, file, call) =>
      Effect.callback((resume) => Effect.sync(startWithin(millis, file, call, resume))),
    isBusy,
    progressed: calls.progressed,
    stalled: (millis) =>
      Effect.callback((resume) => {
        const wait = waitFor(millis, (_, quiet) => {
          if (quiet < millis) return false
          resume(Effect.void)
          return true
        })
        patience.begin(wait)
        return Effect.sync(() => patience.end(wait))
      }),
    inFlight: calls.inFlight
  })
})
