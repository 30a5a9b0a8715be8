import { Effect, Schema } from "effect"
import type { Readable, Writable } from "node:stream"
import { pipeline } from "node:stream/promises"

/** A stream did not get from its source to its target. */
export class PourFailed extends Schema.TaggedError<PourFailed>()("PourFailed", { cause: Schema.Defect() }) {}

/**
 * Writes all of `source` to `target` and ends it. If either is gone already, fails later, or the effect is interrupted, both are
 * destroyed. Node's callback `pipeline` throws for a destroyed target, which nobody catches in an event listener.
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
