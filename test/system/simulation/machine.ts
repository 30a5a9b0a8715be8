import { Clock, Context, Duration, Effect, Logger, Random as EffectRandom, Scheduler } from "effect"
import type * as Random from "./random.ts"

/**
 * A computer on which nothing happens by itself. Fibers and sleeps of its processes lie in two queues, and `run` takes one
 * after another: no timer, no event loop and no promise is involved, so that the same seed gives the same run, and a
 * process that is killed stops between two instructions, with no finalizer run.
 */
export interface Machine {
  /** Milliseconds since 1970. */
  readonly now: () => number
  /** Sets the clocks of processes ahead, or back, by so many milliseconds. Time goes on as it did. */
  readonly setClock: (by: number) => void
  /** When clocks showed a time that was at most `millis` before the one that they show at `time`. */
  readonly shownWithin: (time: number, millis: number) => ReadonlyArray<Period>
  /** How many pieces of work have been done. */
  readonly turns: () => number
  /** Calls `f` at a time to come, whatever process runs then. */
  readonly at: (time: number, f: () => void) => void
  readonly startProcess: (random: Random.Random, onError: (message: string) => void) => Process
  /** Works until `time`, or until `done` holds. */
  readonly run: (time: number, done?: () => boolean) => void
}

/** From one time to another, both inclusive. */
export type Period = readonly [from: number, to: number]

export interface Process {
  /** What fibers need to run on this machine: scheduler, clock, randomness, a log. */
  readonly context: Context.Context<never>
  readonly kill: () => void
  /** Nothing of it runs until `resume`. */
  readonly suspend: () => void
  readonly resume: () => void
  /** Has `f` run as work of this process: while it is suspended, later; after its end, never. */
  readonly post: (f: () => void) => void
  /** How many fibers sleep. */
  readonly sleeping: () => number
}

/** Whether a process is suspended, and what it will do then. */
interface Hold {
  held: Array<Task> | undefined
}

interface Task {
  readonly process: Hold
  readonly run: () => void
}

interface Timer extends Task {
  readonly time: number
}

/** More work than this at one instant is a loop that waits for nothing. */
const MAX_TURNS_AT_ONCE = 200_000

const world: Hold = { held: undefined }

/**
 * `order` decides which of the fibers that are ready runs next: the one that has waited longest, or any. `afterTurn` is
 * called after each piece of work.
 */
export const make = (
  random: Random.Random,
  order: "first" | "any",
  afterTurn: () => void,
  onLivelock: () => void
): Machine => {
  let now = Date.UTC(2026, 0, 1)
  /** How far clocks were ahead since when. */
  const clocks: Array<{ readonly from: number; readonly ahead: number }> = [{ from: -Infinity, ahead: 0 }]
  let ahead = 0
  let turns = 0
  let ready: Array<Task> = []
  let head = 0
  /** The next one last. */
  let timers: Array<Timer> = []

  const take = (): Task => {
    if (order === "any" && ready.length - head > 1) {
      const index = random.int(head, Math.min(ready.length - 1, head + 7))
      const task = ready[index]!
      ready[index] = ready[head]!
      ready[head] = task
    }
    const task = ready[head++]!
    if (head > 64 && head * 2 > ready.length) {
      ready = ready.slice(head)
      head = 0
    }
    return task
  }

  const addTimer = (timer: Timer): void => {
    let low = 0
    let high = timers.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (timers[middle]!.time > timer.time) low = middle + 1
      else high = middle
    }
    timers.splice(low, 0, timer)
  }

  const startProcess = (random: Random.Random, onError: (message: string) => void): Process => {
    const process: Hold = { held: undefined }
    let alive = true

    const post = (run: () => void): void => {
      if (alive) ready.push({ process, run })
    }

    const scheduler: Scheduler.Scheduler = {
      executionMode: "async",
      shouldYield: (fiber) => fiber.currentOpCount >= 2048,
      makeDispatcher: () => ({
        scheduleTask: post,
        flush: () => {}
      })
    }

    const millis = () => now + ahead
    const nanosOf = (millis: number) => BigInt(Math.round(millis)) * 1_000_000n
    const nanos = () => nanosOf(millis())
    const monotonic = () => nanosOf(now)
    const clock: Clock.Clock = {
      currentTimeMillisUnsafe: millis,
      currentTimeNanosUnsafe: nanos,
      monotonicTimeNanosUnsafe: monotonic,
      currentTimeMillis: Effect.sync(millis),
      currentTimeNanos: Effect.sync(nanos),
      monotonicTimeNanos: Effect.sync(monotonic),
      sleep: (duration) => {
        const length = Math.ceil(Duration.toMillis(duration))
        return length <= 0 ? Effect.yieldNow : Effect.callback<void>((resume) => {
          if (!alive || length === Infinity) return
          const timer = { process, time: now + length, run: () => resume(Effect.void) }
          addTimer(timer)
          return Effect.sync(() => {
            const index = timers.indexOf(timer)
            if (index >= 0) timers.splice(index, 1)
          })
        })
      }
    }

    const loggers = new Set([
      Logger.make<unknown, void>(({ cause, logLevel, message }) => {
        if (logLevel === "Error" || logLevel === "Fatal") onError(`${String(message)} ${String(cause)}`)
      })
    ])

    return {
      context: Context.make(Scheduler.Scheduler, scheduler).pipe(
        Context.add(Clock.Clock, clock),
        Context.add(EffectRandom.Random, {
          nextDoubleUnsafe: random.next,
          nextIntUnsafe: () => random.int(-(2 ** 31), 2 ** 31 - 1)
        }),
        Context.add(Logger.CurrentLoggers, loggers)
      ),
      kill: () => {
        alive = false
        ready = ready.slice(head).filter((task) => task.process !== process)
        head = 0
        timers = timers.filter((timer) => timer.process !== process)
        process.held = undefined
      },
      suspend: () => void (process.held ??= []),
      resume: () => {
        for (const task of process.held ?? []) ready.push(task)
        process.held = undefined
      },
      post,
      sleeping: () => timers.filter((timer) => timer.process === process).length
    }
  }

  return {
    now: () => now,
    setClock: (by) => {
      ahead += by
      clocks.push({ from: now, ahead })
    },
    shownWithin: (time, millis) => {
      const shown = time + clocks.findLast(({ from }) => from <= time)!.ahead
      return clocks.flatMap(({ ahead, from }, i): ReadonlyArray<Period> => {
        const period: Period = [
          Math.max(from, shown - millis - ahead),
          Math.min(clocks[i + 1]?.from ?? time, shown - ahead)
        ]
        return period[0] <= period[1] ? [period] : []
      })
    },
    turns: () => turns,
    at: (time, run) => addTimer({ process: world, time: Math.max(time, now), run }),
    startProcess,
    run: (time, done = () => false) => {
      let atOnce = 0
      while (!done()) {
        let task: Task
        if (head < ready.length) task = take()
        else {
          const next = timers.at(-1)
          if (next === undefined || next.time > time) {
            now = time
            return
          }
          if (next.time > now) {
            now = next.time
            atOnce = 0
          }
          timers.pop()
          task = next
        }
        if (task.process.held !== undefined) {
          task.process.held.push(task)
          continue
        }
        turns += 1
        atOnce += 1
        if (atOnce > MAX_TURNS_AT_ONCE) return onLivelock()
        task.run()
        afterTurn()
      }
    }
  }
}
