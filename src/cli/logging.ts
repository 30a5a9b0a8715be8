import { Effect, Layer, Logger } from "effect"
import { LogWriter } from "./LogWriter.ts"

/**
 * The log of the program: text on a terminal, one JSON object per line elsewhere.
 */

/** Whether people read the log as it is written. */
export const isTerminal = process.stderr.isTTY

/** `text` as ASCII: some readers interpret other characters as line ends or control sequences. */
const ascii = (text: string): string =>
  text.replace(/[\x7f-\uffff]/g, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`)

const jsonLine = Logger.map(
  Logger.formatStructured,
  ({ annotations, cause, level, message, timestamp }) =>
    ascii(JSON.stringify({ timestamp, level, message, ...annotations, cause }))
)

/** The loggers of the program, and `LogWriter`, which request log lines use too. */
export const layer: Layer.Layer<LogWriter> = Logger.layer([
  isTerminal
    ? Logger.consolePretty()
    : Effect.map(LogWriter, ({ write }) => Logger.map(jsonLine, (line) => write(line, true)))
]).pipe(Layer.provideMerge(LogWriter.layer))
