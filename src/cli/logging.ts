import { Effect, Layer, Logger, LogLevel, References } from "effect"
import { formatJson, formatPretty, RequestLog } from "../http/server/RequestLog.ts"
import { LogWriter } from "./LogWriter.ts"

/**
 * The log of the program: for people on a terminal, and elsewhere one JSON object a line.
 */

const isTerminal = process.stderr.isTTY

/** `text` in ASCII alone: some readers take other characters for the ends of lines, or for commands. */
const ascii = (text: string): string =>
  text.replace(/[\x7f-\uffff]/g, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`)

const jsonLine = Logger.map(
  Logger.formatStructured,
  ({ annotations, cause, level, message, timestamp }) =>
    ascii(JSON.stringify({ timestamp, level, message, ...annotations, cause }))
)

/** What the program logs. Lines that are written behind its back, as at its end, go through `LogWriter` too. */
export const layer: Layer.Layer<LogWriter> = Logger.layer([
  isTerminal
    ? Logger.consolePretty()
    : Effect.map(LogWriter, ({ write }) => Logger.map(jsonLine, (line) => write(line, true)))
]).pipe(Layer.provideMerge(LogWriter.layer))

/** The time as the log has it; written anew when it is another one. */
const makeTimestamp = () => {
  let at = 0
  let text = ""
  return (): string => {
    const now = Date.now()
    if (now !== at) {
      at = now
      text = new Date(now).toISOString()
    }
    return text
  }
}

/** One line for each request, unless the level is above `info`. */
export const layerRequests: Layer.Layer<never, never, LogWriter> = Layer.effect(
  RequestLog,
  Effect.gen(function*() {
    const { write } = yield* LogWriter
    if (LogLevel.isGreaterThan(yield* References.MinimumLogLevel, "Info")) return undefined
    const timestamp = makeTimestamp()
    const format = isTerminal ? formatPretty : formatJson
    return (exchange) => write(format(exchange, timestamp()))
  })
)
