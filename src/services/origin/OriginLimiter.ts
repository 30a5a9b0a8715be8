import { Effect, type Scope } from "effect"
import { atEnd } from "../../effects/withoutServices.ts"

/** What its holder says of a place at an origin, for the gate to take it back when others wait. */
export interface Place {
  /** For how long the holder has had no use for it, in milliseconds; 0 while it has. */
  idleFor: () => number
  /** How long it may be idle while others wait, in milliseconds. */
  grace: number
  /** Has the holder give it back soon. */
  release: Effect.Effect<void>
}

/** A place that is kept until its scope closes, unless its holder says more. */
export const makePlace = (): Place => ({ idleFor: () => 0, grace: GRACE_MILLIS, release: Effect.void })

/** Lets no more than so many requests to one origin be under way. */
export interface OriginLimiter {
  /**
   * Waits until there is room for one more request to `origin`, and holds it until the scope closes; `false` when there was none
   * in time, or too many wait already. What viewers wait for goes before what is done in the background, and else what came first.
   * While viewers wait, places that are idle are taken back, those that cost their holder least first. Interrupting the caller gives
   * up waiting.
   */
  readonly enter: (
    origin: string,
    background: boolean,
    place?: Place
  ) => Effect.Effect<boolean, never, Scope.Scope>
  /** How many are under way to `origin`, and wait. */
  readonly load: (origin: string) => { readonly active: number; readonly waiting: number }
}

interface Waiter {
  readonly place: Place
  admitted: boolean
  wake: () => void
}

/** The requests at one origin. It exists as long as there are any. */
interface Door {
  readonly places: Set<Place>
  readonly viewers: Set<Waiter>
  readonly background: Set<Waiter>
  isReclaiming: boolean
}

/** How many requests to one origin may wait. */
const MAX_WAITING = 4096

/** How long a place may be idle whose loss harms its holder, while others wait, in milliseconds. */
export const GRACE_MILLIS = 10_000

/** How often to search for idle places while viewers wait, in milliseconds. */
const RECLAIM_MILLIS = 100

/** Has as many idle places given back as viewers wait. */
const reclaim = ({ places, viewers }: Door): Effect.Effect<void> => {
  const idle = [...places]
    .map((place) => ({ place, millis: place.idleFor() }))
    .filter(({ millis, place }) => millis > 0 && millis >= place.grace)
    .toSorted((a, b) => a.place.grace - b.place.grace || b.millis - a.millis)
  return Effect.forEach(idle.slice(0, viewers.size), ({ place }) => place.release, { discard: true })
}

/** Does so until no viewer waits any more. */
const reclaimFor = (door: Door): Effect.Effect<void> =>
  Effect.gen(function*() {
    while (door.viewers.size > 0) {
      yield* reclaim(door)
      yield* Effect.sleep(RECLAIM_MILLIS)
    }
    door.isReclaiming = false
  })

/** A gate with `places` for each origin, for one of which `patience` is waited, in milliseconds. */
export const make = ({ patience, places }: {
  readonly places: number
  readonly patience: number
}): OriginLimiter => {
  const doors = new Map<string, Door>()

  /** Gives the place of one that left to the next. */
  const leave = (origin: string, door: Door, place: Place): void => {
    door.places.delete(place)
    const line = door.viewers.size > 0 ? door.viewers : door.background
    const [next] = line
    if (next !== undefined) {
      line.delete(next)
      door.places.add(next.place)
      next.admitted = true
      next.wake()
      return
    }
    if (door.places.size === 0) doors.delete(origin)
  }

  /** Whether the waiter is let in before its patience ends. */
  const admission = (waiter: Waiter): Effect.Effect<boolean> =>
    Effect.callback<boolean>((resume) => {
      waiter.wake = () => resume(Effect.succeed(true))
      if (waiter.admitted) waiter.wake()
    }).pipe(Effect.timeoutOrElse({ duration: patience, orElse: () => Effect.succeed(false) }))

  return {
    enter: (origin, background, place = makePlace()) =>
      Effect.uninterruptibleMask((restore) =>
        Effect.suspend(() => {
          const door = doors.get(origin) ??
            { places: new Set(), viewers: new Set(), background: new Set(), isReclaiming: false }
          doors.set(origin, door)
          const hold = Effect.as(atEnd(() => leave(origin, door, place)), true)
          if (door.places.size < places) {
            door.places.add(place)
            return hold
          }
          if (door.viewers.size + door.background.size >= MAX_WAITING) return Effect.succeed(false)
          const line = background ? door.background : door.viewers
          const waiter: Waiter = { place, admitted: false, wake: () => {} }
          line.add(waiter)
          const mustReclaim = !background && !door.isReclaiming
          door.isReclaiming ||= mustReclaim
          return (mustReclaim ? Effect.forkDetach(reclaimFor(door)) : Effect.void).pipe(
            Effect.andThen(restore(admission(waiter))),
            // It may be let in in the very moment in which it gives up.
            Effect.onInterrupt(() =>
              Effect.sync(() => waiter.admitted ? leave(origin, door, place) : line.delete(waiter))
            ),
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
      return {
        active: door?.places.size ?? 0,
        waiting: door === undefined ? 0 : door.viewers.size + door.background.size
      }
    }
  }
}
