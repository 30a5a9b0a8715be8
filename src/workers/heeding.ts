import { Effect } from "effect"

/** Turns a listener of messages into one that cannot end the process: a defect costs one message, and is logged. */
export const heeding: Effect.Effect<<A>(hear: (message: A) => void) => (message: A) => void> = Effect.map(
  Effect.context(),
  (context) => <A>(hear: (message: A) => void) => (message: A) => {
    try {
      hear(message)
    } catch (defect) {
      Effect.runForkWith(context)(Effect.logError("Defect while another process was heard", defect))
    }
  }
)
