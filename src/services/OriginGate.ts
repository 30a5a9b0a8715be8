import { Effect, type Scope } from "effect"
import { atEnd } from "./lean.ts"

/** Lets no more than so many requests to one origin be under way. */
export interface OriginGate {
  /**
   * Waits until there is room for one more request to `origin`, and holds it until the scope closes; `false` when there was none
   * in time, or too many wait already. What viewers wait for goes before what is done in the background, and else what came first. Interrupting the caller
   * gives up waiting.
   */
  readonly enter: (origin: string, background: boolean) => Effect.Effect<boolean, never, Scope.Scope>
  /** How many are under way to `origin`, and wait. */
  readonly load: (origin: string) => { readonly active: number; readonly waiting: number }
}

interface Waiter {
  admitted: boolean
  wake: () => void
}

/** What goes on at one origin. It exists for as long as anything does. */
interface Door {
  active: number
  readonly viewers: Set<Waiter>
  readonly background: Set<Waiter>
}

/** How many requests to one origin may wait. */
const MAX_WAITING = 4096

/** A gate with `places` for each origin, for one of which `patience` is waited, in milliseconds. */
export const make = ({ patience, places }: {
  readonly places: number
  readonly patience: number
}): OriginGate => {
  const doors = new Map<string, Door>()

  /** Gives the place of one that left to the next. */
  const leave = (origin: string, door: Door): void => {
    const line = door.viewers.size > 0 ? door.viewers : door.background
    const [next] = line
    if (next !== undefined) {
      line.delete(next)
      next.admitted = true
      next.wake()
      return
    }
    door.active -= 1
    if (door.active === 0) doors.delete(origin)
  }

  /** Whether the waiter is let in before its patience ends. */
  const admission = (waiter: Waiter): Effect.Effect<boolean> =>
    Effect.callback<boolean>((resume) => {
      waiter.wake = () => resume(Effect.succeed(true))
      if (waiter.admitted) waiter.wake()
    }).pipe(Effect.timeoutOrElse({ duration: patience, orElse: () => Effect.succeed(false) }))

  return {
    enter: (origin, background) =>
      Effect.uninterruptibleMask((restore) =>
        Effect.suspend(() => {
          const door = doors.get(origin) ?? { active: 0, viewers: new Set(), background: new Set() }
          doors.set(origin, door)
          const hold = Effect.as(atEnd(() => leave(origin, door)), true)
          if (door.active < places) {
            door.active += 1
            return hold
          }
          if (door.viewers.size + door.background.size >= MAX_WAITING) return Effect.succeed(false)
          const line = background ? door.background : door.viewers
          const waiter: Waiter = { admitted: false, wake: () => {} }
          line.add(waiter)
          return restore(admission(waiter)).pipe(
            // It may be let in in the very moment in which it gives up.
            Effect.onInterrupt(() => Effect.sync(() => waiter.admitted ? leave(origin, door) : line.delete(waiter))),
            Effect.flatMap(() => {
              if (waiter.admitted) return hold
              line.delete(waiter)
              return Effect.succeed(false)
            })
          )
        })
      ),
    load: (origin) => {
      const door = doors.get(origin)
      return { active: door?.active ?? 0, waiting: door === undefined ? 0 : door.viewers.size + door.background.size }
    }
  }
}
