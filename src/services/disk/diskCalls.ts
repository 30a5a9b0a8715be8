import { Effect, type Exit } from "effect"
import { LinkedList, type Member } from "../../effects/LinkedList.ts"
import { monotonicMillis } from "../../effects/monotonic.ts"
import * as Metrics from "../observe/pullMetrics.ts"
import { Patience } from "./Patience.ts"

/** A call that waits in line. */
interface Waiting extends Member<Waiting> {
  readonly begin: () => void
}

const hasBegun = (): boolean => false

/**
 * The calls to the disk: at most `permits` run, the others wait in line. Each runs in a fiber of its own, so that a caller can stop
 * waiting while the call continues.
 */
export const make = Effect.fnUntraced(function*(permits: number) {
  const run = Effect.runForkWith(yield* Effect.context())
  const line = new LinkedList<Waiting>()
  let inFlight = 0
  let waiting = 0
  /** Steps that the disk has done: it makes progress while this number grows. */
  let steps = 0
  let isDraining = false

  yield* Metrics.gauge("spillway_disk_calls", "Calls to the disk under way", () => inFlight, { state: "running" })
  yield* Metrics.gauge("spillway_disk_calls", "Calls to the disk under way", () => waiting, { state: "waiting" })

  const now = yield* monotonicMillis

  const patience = new Patience({
    now,
    steps: () => steps,
    inFlight: () => inFlight,
    after: (millis, then) => {
      const fiber = run(Effect.sleep(millis))
      let isStopped = false
      fiber.addObserver(() => {
        if (!isStopped) then()
      })
      return () => {
        isStopped = true
        fiber.interruptUnsafe()
      }
    }
  })

  const hasRoom = (): boolean => inFlight < permits

  /** Begins what there is room for, one after the other, since a call may end at once. */
  const drain = (): void => {
    if (isDraining) return
    isDraining = true
    for (let next = line.first; next !== undefined && hasRoom(); next = line.first) {
      line.remove(next)
      waiting -= 1
      next.begin()
    }
    isDraining = false
  }

  const begin = <A, E>(call: Effect.Effect<A, E>, onEnd: (exit: Exit.Exit<A, E>) => void): void => {
    inFlight += 1
    run(call).addObserver((exit) => {
      inFlight -= 1
      steps += 1
      onEnd(exit)
      drain()
    })
  }

  const start = <A, E>(call: Effect.Effect<A, E>, onEnd: (exit: Exit.Exit<A, E>) => void): () => boolean => {
    if (hasRoom() && line.first === undefined) {
      begin(call, onEnd)
      return hasBegun
    }
    let isWaiting = true
    const member: Waiting = {
      before: undefined,
      behind: undefined,
      begin: () => {
        isWaiting = false
        begin(call, onEnd)
      }
    }
    line.push(member)
    waiting += 1
    drain()
    return () => {
      if (!isWaiting) return false
      isWaiting = false
      line.remove(member)
      waiting -= 1
      return true
    }
  }

  return {
    /** Milliseconds of a clock that is never set back. */
    now,
    /**
     * Runs `call` when there is room, and `onEnd` when it has ended. The function returned takes it out of the line. It returns `false` if
     * the call has begun. Then it runs to its end.
     */
    start,
    /** Watches those who wait for a call. */
    patience,
    /** Records that the disk has done a step of a call. */
    progressed: () => void (steps += 1),
    steps: () => steps,
    inFlight: () => inFlight,
    waiting: () => waiting
  }
})
