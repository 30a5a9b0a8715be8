import { Effect, type Scope } from "effect"
import { atEnd } from "../../effects/withoutServices.ts"

/** One request's share of an origin's concurrency limit. Its holder updates it, so that the limiter can reclaim it while others wait. */
export interface Slot {
  /** How long the holder hasn't used it, in milliseconds; 0 while it does. */
  idleFor: () => number
  /** How long it may be idle while others wait before it is reclaimed, in milliseconds. */
  grace: number
  /** Asks the holder to end the request soon. */
  release: Effect.Effect<void>
}

/** A slot that is never idle, until its holder sets more. */
export const makeSlot = (): Slot => ({ idleFor: () => 0, grace: GRACE_MILLIS, release: Effect.void })

/** Limits the concurrent requests to each origin. */
export interface OriginLimiter {
  /**
   * Waits for a slot at `origin` and holds it until the scope closes. `false` if none was free in time, or too many requests wait
   * already. Viewers' requests go before background requests, then first come, first served. While viewers wait, idle slots are
   * reclaimed, those with the shortest grace first. Interrupting the caller ends the wait.
   */
  readonly enter: (
    origin: string,
    background: boolean,
    slot?: Slot
  ) => Effect.Effect<boolean, never, Scope.Scope>
  /** How many requests to `origin` are active, and how many wait. */
  readonly load: (origin: string) => { readonly active: number; readonly waiting: number }
}

interface Waiter {
  readonly slot: Slot
  admitted: boolean
  wake: () => void
}

/** The requests to one origin. It exists while there are any. */
interface Queue {
  readonly slots: Set<Slot>
  readonly viewers: Set<Waiter>
  readonly background: Set<Waiter>
  isReclaiming: boolean
}

/** How many requests to one origin may wait: of viewers, and in the background. */
const MAX_WAITING = 4096
const MAX_WAITING_BACKGROUND = 1024

/** How long a slot whose loss harms its holder may be idle while others wait, in milliseconds. */
export const GRACE_MILLIS = 10_000

/** How often idle slots are reclaimed while viewers wait, in milliseconds. */
const RECLAIM_MILLIS = 100

/** Reclaims as many idle slots as viewers wait. */
const reclaim = ({ slots, viewers }: Queue): Effect.Effect<void> => {
  const idle = [...slots]
    .map((slot) => ({ slot, millis: slot.idleFor() }))
    .filter(({ millis, slot }) => millis > 0 && millis >= slot.grace)
    .toSorted((a, b) => a.slot.grace - b.slot.grace || b.millis - a.millis)
  return Effect.forEach(idle.slice(0, viewers.size), ({ slot }) => slot.release, { discard: true })
}

/** Does so repeatedly until no viewer waits. */
const reclaimFor = (queue: Queue): Effect.Effect<void> =>
  Effect.gen(function*() {
    while (queue.viewers.size > 0) {
      yield* reclaim(queue)
      yield* Effect.sleep(RECLAIM_MILLIS)
    }
    queue.isReclaiming = false
  })

/** A limiter with `limit` slots for each origin. A request waits for one for at most `timeout` milliseconds. */
export const make = ({ limit, timeout }: {
  readonly limit: number
  readonly timeout: number
}): OriginLimiter => {
  const queues = new Map<string, Queue>()

  /** Passes a free slot to the next waiter. */
  const leave = (origin: string, queue: Queue, slot: Slot): void => {
    queue.slots.delete(slot)
    const line = queue.viewers.size > 0 ? queue.viewers : queue.background
    const [next] = line
    if (next !== undefined) {
      line.delete(next)
      queue.slots.add(next.slot)
      next.admitted = true
      next.wake()
      return
    }
    if (queue.slots.size === 0) queues.delete(origin)
  }

  /** Whether the waiter is admitted in time. */
  const admission = (waiter: Waiter): Effect.Effect<boolean> =>
    Effect.callback<boolean>((resume) => {
      const wake = () => resume(Effect.succeed(true))
      waiter.wake = wake
      if (waiter.admitted) wake()
    }).pipe(Effect.timeoutOrElse({ duration: timeout, orElse: () => Effect.succeed(false) }))

  return {
    enter: (origin, background, slot = makeSlot()) =>
      Effect.uninterruptibleMask((restore) =>
        Effect.suspend(() => {
          const queue = queues.get(origin) ??
            { slots: new Set(), viewers: new Set(), background: new Set(), isReclaiming: false }
          queues.set(origin, queue)
          const hold = Effect.as(atEnd(() => leave(origin, queue, slot)), true)
          if (queue.slots.size < limit) {
            queue.slots.add(slot)
            return hold
          }
          const line = background ? queue.background : queue.viewers
          if (line.size >= (background ? MAX_WAITING_BACKGROUND : MAX_WAITING)) return Effect.succeed(false)
          const waiter: Waiter = { slot, admitted: false, wake: () => {} }
          line.add(waiter)
          const mustReclaim = !background && !queue.isReclaiming
          queue.isReclaiming ||= mustReclaim
          return (mustReclaim ? Effect.forkDetach(reclaimFor(queue)) : Effect.void).pipe(
            Effect.andThen(restore(admission(waiter))),
            // It may be admitted at the moment of its interruption.
            Effect.onInterrupt(() =>
              Effect.sync(() => waiter.admitted ? leave(origin, queue, slot) : line.delete(waiter))
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
      const queue = queues.get(origin)
      return {
        active: queue?.slots.size ?? 0,
        waiting: queue === undefined ? 0 : queue.viewers.size + queue.background.size
      }
    }
  }
}
