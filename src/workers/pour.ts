import { Effect, Schema } from "effect"
import type { Readable, Writable } from "node:stream"
import { pipeline } from "node:stream/promises"

/** Copying a stream failed. */
class PourFailed extends Schema.TaggedError<PourFailed>()("PourFailed", { cause: Schema.Defect() }) {}

/**
 * Writes all of `source` to `target` and ends it. If either is destroyed or fails, or the effect is interrupted, both are destroyed.
 * Node's callback `pipeline` is not used: it throws for a destroyed target, which would be uncaught in an event listener.
 */
export const pour = (source: Readable, target: Writable): Effect.Effect<void, PourFailed> =>
  Effect.tryPromise({
    try: (signal) => pipeline(source, target, { signal }),
    catch: (cause) => new PourFailed({ cause })
  }).pipe(Effect.tapError(() =>
    Effect.sync(() => {
      source.destroy()
      target.destroy()
    })
  ))
