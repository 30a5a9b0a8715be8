import { Effect } from "effect"

/** Wraps a message listener so that a defect in it is logged and costs one message, instead of ending the process. */
export const heeding: Effect.Effect<<A>(hear: (message: A) => void) => (message: A) => void> = Effect.map(
  Effect.context(),
  (context) => <A>(hear: (message: A) => void) => (message: A) => {
    try {
      hear(message)
    } catch (defect) {
      Effect.runForkWith(context)(Effect.logError("Defect while handling a message of another process", defect))
    }
  }
)
