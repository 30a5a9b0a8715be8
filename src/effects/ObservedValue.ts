import { Effect, PubSub, Stream } from "effect"

/** A value that can be read at any time, and watched: a watcher gets the value as it is, then each change. */
export interface ObservedValue<A> {
  readonly current: () => A
  /** Slow watchers miss changes, never the last one. */
  readonly changes: Stream.Stream<A>
}

/** How many changes a watcher may lag behind before it misses some. */
const LAG = 16

/** An `Observed` that its owner can set; setting the same value again changes nothing. */
export const make = Effect.fnUntraced(function*<A>(initial: A) {
  let value = initial
  const pubsub = yield* PubSub.sliding<A>({ capacity: LAG, replay: 1 })
  yield* PubSub.publish(pubsub, initial)
  return {
    current: () => value,
    changes: Stream.fromPubSub(pubsub),
    set: (next: A) =>
      Effect.suspend(() => {
        if (next === value) return Effect.void
        value = next
        return Effect.asVoid(PubSub.publish(pubsub, next))
      })
  }
})
