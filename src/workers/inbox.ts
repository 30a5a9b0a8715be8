import { Context, Effect, type Scope } from "effect"
import type { ConfigSource, ToWorker } from "./messages.ts"

/**
 * The messages of the owner, which begin to arrive before the services of a worker are there.
 */

/** Takes over a configuration that the owner has replaced. */
export class Reconfigure extends Context.Reference<(source: ConfigSource | undefined) => void>(
  "spillway/workers/Reconfigure",
  { defaultValue: () => () => {} }
) {}

const early: Array<ToWorker> = []

const keep = (message: ToWorker): void => void early.push(message)

/** Calls `hear` for each message until the scope closes, beginning with those that have arrived. */
export const heed = (hear: (message: ToWorker) => void): Effect.Effect<void, never, Scope.Scope> =>
  Effect.asVoid(Effect.acquireRelease(
    Effect.sync(() => {
      process.on("message", hear)
      process.off("message", keep)
      early.splice(0).forEach(hear)
    }),
    () => Effect.sync(() => process.off("message", hear))
  ))

/** The configuration with which this process starts, the first message. Those after it wait for `heed`. */
export const firstConfiguration: Effect.Effect<ConfigSource | undefined> = Effect.callback((resume) => {
  const begin = (message: ToWorker): void => {
    // Without any listener, Node would lose what has arrived at once.
    process.on("message", keep)
    process.off("message", begin)
    if (message._tag === "Configure") resume(Effect.succeed(message.source))
  }
  process.on("message", begin)
})
