import { Clock, Effect, Fiber, Semaphore } from "effect"
import * as Metrics from "../observe/pullMetrics.ts"

/** How many steps a wait is divided into, to see whether the disk makes progress in between. */
const STEPS = 10

/** The part of a step that counts if the step takes too long because the process was held up. */
const LONGEST_STEP = 1.1

/**
 * The calls to the disk: at most `permits` run, the others wait in line. Each runs in a fiber of its own, so that a caller can stop
 * waiting while the call continues.
 */
export const make = Effect.fnUntraced(function*(permits: number) {
  const clock = yield* Clock.Clock
  const semaphore = Semaphore.makeUnsafe(permits)
  let inFlight = 0
  let waiting = 0
  /** Steps that the disk has done: it makes progress while this number grows. */
  let steps = 0

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
      // Immediately, so that `end` runs even if the caller leaves at once.
      return Effect.forkDetach(Effect.ensuring(semaphore.withPermit(begin), end), { startImmediately: true })
    })

  const join = <A, E>(fiber: Fiber.Fiber<A, E>): Effect.Effect<A, E> =>
    Effect.onInterrupt(Fiber.join(fiber), () => Effect.sync(() => fiber.interruptUnsafe()))

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

  return {
    /** Milliseconds of a clock that is never set back. */
    now,
    /** Runs `call` when there is room, and `onEnd` when it has ended or has left the line. */
    start,
    /** Waits for a call. Interruption takes the call out of the line; once it runs, it runs to its end. */
    join,
    /**
     * Waits until `isOver`, checked every tenth of `millis`. It gets the time that has passed, and for how long calls were running
     * without a step of the disk. Returns the latter. `onHeldUp` gets the time in which the process was held up, which doesn't count.
     */
    follow,
    /** Records that the disk has done a step of a call. */
    progressed: () => void (steps += 1),
    steps: () => steps,
    inFlight: () => inFlight,
    waiting: () => waiting
  }
})
