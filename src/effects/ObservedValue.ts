import { Effect, PubSub, Stream } from "effect"

/** How many changes a watcher may lag behind before it misses some. */
const LAG = 16

/**
 * A value that can be read at any time and watched: `changes` emits the current value, then each change. Slow watchers miss changes, but
 * never the last one. Setting the current value again has no effect.
 */
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
