import { Clock, Context, Effect, Exit, Fiber, Layer, Option, Semaphore } from "effect"
import { type CacheError, DiskBusy, IoError } from "../../domain/CacheError.ts"
import * as Metrics from "../observe/pullMetrics.ts"

/**
 * The only door to the disk. A disk that hangs holds a thread of Node's pool for each call that is under way, and when it
 * has them all nothing else runs: no other file, no name resolution. So no more calls are let through than a part of the
 * pool, and each runs apart from anyone who waits for it, who can give up waiting at any time.
 *
 * The gate also tells a busy disk from one that hangs. On a busy disk calls take long, but one after the other completes. A disk
 * hangs when calls are under way and none completes. Time is counted as far as the event loop turns: while the process itself is
 * held up, it can't observe that calls complete, and the origin would not be faster.
 */
export class DiskLimiter extends Context.Service<DiskLimiter, {
  /** Runs `call` when there is room. Interrupting the caller gives up waiting; a call that has begun goes on to its end. */
  readonly pass: <A, E>(call: Effect.Effect<A, E>) => Effect.Effect<A, E>
  /**
   * The same for a viewer, who has another source and waits at most `millis`. Fails with `DiskBusy`, at once when the call would
   * probably be late; and with `IoError` and the errno `TIMEOUT` when the disk hangs. When a call for `file` is late, the file is
   * not read again before that call ends, and the next viewer gets its error.
   */
  readonly passWithin: <A>(
    millis: number,
    file: string,
    call: Effect.Effect<A, CacheError>
  ) => Effect.Effect<A, CacheError>
  /** Whether `passWithin` would fail at once. */
  readonly isBusy: (millis: number) => boolean
  /** Takes note that the disk has done a step of a call. */
  readonly progressed: () => void
  /** Waits until calls have been under way for `millis`, and the disk has not done a step of any. */
  readonly stalled: (millis: number) => Effect.Effect<void>
  /** How many calls are under way. */
  readonly inFlight: () => number
}>()("spillway/services/disk/DiskLimiter") {
  /** Lets half of Node's thread pool through, at least two calls. */
  static readonly layer: Layer.Layer<DiskLimiter> = Layer.effect(
    DiskLimiter,
    Effect.suspend(() => make(Math.max(2, Math.floor(poolSize() / 2))))
  )
}

/** The number of threads in Node's pool: four unless `UV_THREADPOOL_SIZE` says otherwise. */
const poolSize = (): number => Number(process.env["UV_THREADPOOL_SIZE"]) || 4

/** The part of a viewer's patience that a read may be expected to take, so that most reads that are begun are in time. */
const EXPECTED = 0.9

/** The part of a viewer's patience in which a disk that does not hang does something. */
const QUIET = 0.8

/** How many steps a wait is divided into, to see whether the disk does anything meanwhile. */
const STEPS = 10

/** How much of a step counts when it takes longer than it should: the process was held up. */
const LONGEST_STEP = 1.1

/** How much the last call counts in the mean duration of calls. */
const WEIGHT = 1 / 4

/** For how long, in milliseconds, it is believed how long calls take; then a viewer's call finds out. */
const BELIEVED_MILLIS = 5000

/** How many errors are kept for viewers to come. */
const MAX_ERRORS = 64

const make = Effect.fnUntraced(function*(permits: number) {
  const clock = yield* Clock.Clock
  const semaphore = Semaphore.makeUnsafe(permits)
  let inFlight = 0
  let waiting = 0
  let steps = 0
  /** Viewers' calls that are not late: in line or under way, those under way, and how long such calls take, in milliseconds; a late one counts as if it had ended then. */
  let viewers = 0
  let running = 0
  let duration = 0
  /** When `duration` was last changed. */
  let learnt = Number.NEGATIVE_INFINITY
  /** Files whose calls are late: "running", or the error with which they have ended. */
  const late = new Map<string, CacheError | "running">()
  /** Found while all viewers were refused; true as long as no step is done. */
  let hang: { readonly error: CacheError; readonly steps: number } | undefined

  const countBusy = yield* Metrics.counters(
    "spillway_disk_busy_reads_total",
    "Reads that the origin did for a busy disk: refused at once, or late",
    "reason",
    ["refused", "late"]
  )
  yield* Metrics.gauge("spillway_disk_calls", "Calls to the disk under way", () => inFlight, { state: "running" })
  yield* Metrics.gauge("spillway_disk_calls", "Calls to the disk under way", () => waiting, { state: "waiting" })

  const now = (): number => Number(clock.monotonicTimeNanosUnsafe()) / 1e6

  const start = <A, E>(call: Effect.Effect<A, E>, onEnd: () => void = () => {}): Effect.Effect<Fiber.Fiber<A, E>> =>
    Effect.suspend(() => {
      let isWaiting = true
      waiting += 1
      const leaveLine = () => {
        if (isWaiting) waiting -= 1
        isWaiting = false
      }
      const begin = Effect.suspend(() => {
        leaveLine()
        inFlight += 1
        return Effect.ensuring(
          Effect.uninterruptible(call),
          Effect.sync(() => {
            inFlight -= 1
            steps += 1
          })
        )
      })
      const end = Effect.sync(() => {
        leaveLine()
        onEnd()
      })
      // At once, so that `end` is done however soon the caller leaves.
      return Effect.forkDetach(Effect.ensuring(semaphore.withPermit(begin), end), { startImmediately: true })
    })

  const join = <A, E>(fiber: Fiber.Fiber<A, E>): Effect.Effect<A, E> =>
    Effect.onInterrupt(Fiber.join(fiber), () => Effect.sync(() => fiber.interruptUnsafe()))

  /**
   * Waits until `isOver`, which is given how much time has passed, and for how long nothing has been done although calls were
   * under way. `onHeldUp` gets the time that is not counted.
   */
  const follow = (
    millis: number,
    isOver: (passed: number, quiet: number) => boolean,
    onHeldUp: (millis: number) => void = () => {}
  ): Effect.Effect<number> =>
    Effect.suspend(() => {
      const step = millis / STEPS
      let [before, seen, passed, quiet] = [now(), steps, 0, 0]
      const next: Effect.Effect<number> = Effect.flatMap(Effect.sleep(step), () => {
        const at = now()
        const spent = Math.min(at - before, LONGEST_STEP * step)
        if (at - before > spent) onHeldUp(at - before - spent)
        before = at
        passed += spent
        quiet = inFlight > 0 && seen === steps ? quiet + spent : 0
        seen = steps
        return isOver(passed, quiet) ? Effect.succeed(quiet) : next
      })
      return next
    })

  const isTooLate = (turns: number, millis: number): boolean =>
    duration * turns > millis * EXPECTED && now() - learnt < BELIEVED_MILLIS

  const learn = (millis: number): void => {
    duration = millis
    learnt = now()
  }

  const isBusy = (millis: number): boolean => isTooLate(Math.max(1, (inFlight + waiting + 1) / permits), millis)

  const busy = (reason: "refused" | "late", file: string) => {
    countBusy(reason)
    return new DiskBusy({ errno: reason === "late" ? "TIMEOUT" : "BUSY", operation: "read", path: file })
  }

  const remember = (file: string, outcome: CacheError | undefined): void => {
    late.delete(file)
    if (outcome === undefined) return
    late.set(file, outcome)
    const errors = [...late].filter(([, error]) => error !== "running")
    if (errors.length > MAX_ERRORS) late.delete(errors[0]![0])
  }

  /** Runs a viewer's call, and waits for it as long as the viewer does. */
  const attempt = <A>(millis: number, file: string, call: Effect.Effect<A, CacheError>): Effect.Effect<A, CacheError> =>
    Effect.suspend(() => {
      let heldUp = 0
      /** The time of this call's own, which stands still while the process is held up. */
      const time = () => now() - heldUp
      const asked = time()
      let isLate = false
      let isHung = false
      let isUnderWay = false
      const watched = Effect.suspend(() => {
        const began = time()
        // It has waited for too long, and would only keep others waiting.
        if (running > 0 && isTooLate(1, millis - (began - asked))) return Effect.fail(busy("refused", file))
        isUnderWay = true
        running += 1
        return Effect.onExit(call, (exit) =>
          Effect.sync(() => {
            isUnderWay = false
            if (!isLate) running -= 1
            // How long a disk hung tells nothing of how fast it is now.
            learn(isHung ? 0 : duration + (Math.min(time() - began, millis) - duration) * WEIGHT)
            if (isLate) remember(file, Option.getOrUndefined(Exit.findErrorOption(exit)))
          }))
      })
      const patience = follow(millis, (passed) => passed >= millis, (more) => void (heldUp += more))
      const giveUp = Effect.flatMap(patience, (quiet) => {
        isHung = quiet >= millis * QUIET
        if (isUnderWay) {
          isLate = true
          viewers -= 1
          running -= 1
          late.set(file, "running")
          // The next viewers need not find out by waiting.
          learn(millis)
        }
        return Effect.fail(
          isHung
            ? new IoError({ errno: "TIMEOUT", operation: "read", path: file })
            : busy("late", file)
        )
      })
      viewers += 1
      const end = () => {
        if (!isLate) viewers -= 1
      }
      return Effect.flatMap(start(watched, end), (fiber) => Effect.raceFirst(join(fiber), giveUp))
    })

  /** A call for nobody, to find out how the disk is doing while all viewers are refused. */
  const explore = (millis: number, file: string, call: Effect.Effect<unknown, CacheError>): Effect.Effect<unknown> =>
    attempt(millis, file, call).pipe(
      Effect.catch((error) =>
        Effect.sync(() => {
          if (error.errno === "TIMEOUT" && error._tag === "IoError") hang = { error, steps }
          else if (error._tag !== "DiskBusy") remember(file, error)
        })
      ),
      Effect.forkDetach({ startImmediately: true })
    )

  const passWithin = <A>(
    millis: number,
    file: string,
    call: Effect.Effect<A, CacheError>
  ): Effect.Effect<A, CacheError> =>
    Effect.suspend(() => {
      if (hang?.steps === steps) return Effect.fail(hang.error)
      const known = late.get(file)
      if (known !== undefined && known !== "running") {
        late.delete(file)
        return Effect.fail(known)
      }
      if (known === undefined && !isBusy(millis)) return attempt(millis, file, call)
      const refused = Effect.suspend(() => Effect.fail(busy("refused", file)))
      return known === undefined && viewers === 0 ? Effect.andThen(explore(millis, file, call), refused) : refused
    })

  return DiskLimiter.of({
    pass: (call) => Effect.flatMap(start(call), join),
    passWithin,
    isBusy,
    progressed: () => void (steps += 1),
    stalled: (millis) => Effect.asVoid(follow(millis, (_, quiet) => quiet >= millis)),
    inFlight: () => inFlight
  })
})
