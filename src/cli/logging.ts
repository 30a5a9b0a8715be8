import { Effect, Layer, Logger, LogLevel, References } from "effect"
import { formatJson, formatPretty, RequestLog } from "../http/server/RequestLog.ts"
import { LogWriter } from "./LogWriter.ts"

/**
 * The log of the program: text on a terminal, one JSON object per line elsewhere.
 */

const isTerminal = process.stderr.isTTY

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

/** The current time as ISO 8601. The text is reused within a millisecond. */
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

/** Logs one line per request, unless the log level is above `info`. */
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
