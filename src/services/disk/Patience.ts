import { LinkedList, type Member } from "../../effects/LinkedList.ts"

/** How many steps a wait is divided into, to see whether the disk makes progress in between. */
const STEPS = 10

/** The part of a step that counts if the step takes too long because the process was held up. */
const LONGEST_STEP = 1.1

/** Something that waits for the disk. All times are in milliseconds. */
export interface Wait extends Member<Wait> {
  /** How long it waits, unless `isOver` says something else. It is checked every tenth of that time, and at its end. */
  readonly millis: number
  /**
   * Gets the time that has passed, and for how long of that calls were running without a step of the disk. If it returns true, the wait has
   * ended.
   */
  readonly isOver: (passed: number, quiet: number) => boolean
  /** When it began, by `Patience.time`. */
  since: number
  isWaiting: boolean
}

/** What the waits need to know. */
interface Watched {
  readonly now: () => number
  /** Grows with each step of the disk. */
  readonly steps: () => number
  readonly inFlight: () => number
  /** Calls `then` after `millis` unless the function returned is called before. */
  readonly after: (millis: number, then: () => void) => () => void
}

/**
 * All who wait for the disk, watched by one timer. It runs only while there are any. Time in which the process was held up doesn't count.
 */
export class Patience {
  readonly #watched: Watched
  readonly #waits = new LinkedList<Wait>()
  #heldUp = 0
  /** The last look at the disk. */
  #looked = 0
  #seen = 0
  /** For how long calls have been running without a step of the disk. */
  #quiet = 0
  #alarm: { readonly at: number; readonly stop: () => void } | undefined

  constructor(watched: Watched) {
    this.#watched = watched
  }

  /** A clock that stands still while the process is held up, as far as that has been noticed. */
  time(): number {
    return this.#watched.now() - this.#heldUp
  }

  /** Begins to watch a wait. */
  begin(wait: Wait): void {
    const now = this.#watched.now()
    if (this.#waits.first === undefined) this.#look(now)
    wait.since = now - this.#heldUp
    wait.isWaiting = true
    this.#waits.push(wait)
    const sooner = now + wait.millis / STEPS
    if (this.#alarm === undefined || this.#alarm.at > sooner) this.#set(sooner, now)
  }

  /** Ends a wait. Does nothing if it has ended. */
  end(wait: Wait): void {
    if (!wait.isWaiting) return
    wait.isWaiting = false
    this.#waits.remove(wait)
  }

  #set(at: number, now: number): void {
    this.#alarm?.stop()
    this.#alarm = { at, stop: this.#watched.after(at - now, () => this.#ring(at)) }
  }

  #look(now: number): void {
    this.#looked = now
    this.#seen = this.#watched.steps()
    this.#quiet = 0
  }

  #ring(at: number): void {
    this.#alarm = undefined
    const { inFlight, now, steps } = this.#watched
    const rung = now()
    const elapsed = rung - this.#looked
    const spent = Math.min(elapsed, LONGEST_STEP * (at - this.#looked))
    this.#heldUp += elapsed - spent
    const quiet = inFlight() > 0 && this.#seen === steps() ? this.#quiet + spent : 0
    this.#look(rung)
    this.#quiet = quiet
    let next = Infinity
    // One that is over may end others.
    for (const wait of Array.from(this.#waits)) {
      if (!wait.isWaiting) continue
      const passed = this.time() - wait.since
      if (wait.isOver(passed, Math.min(passed, quiet))) {
        this.end(wait)
        continue
      }
      const untilEnd = passed < wait.millis ? Math.max(1, wait.millis - passed) : Infinity
      next = Math.min(next, wait.millis / STEPS, untilEnd)
    }
    // Those who began to wait meanwhile may have set it.
    if (next < Infinity && this.#alarm === undefined) this.#set(rung + next, rung)
  }
}
