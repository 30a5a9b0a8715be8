import { Effect, Layer, LogLevel, References, type Scope } from "effect"
import * as Fs from "node:fs"
import { errnoOf } from "../domain/CacheError.ts"
import { type Exchange, RequestLog } from "../http/server/RequestLog.ts"
import type { SettingValues } from "../services/config/settings.ts"
import * as Metrics from "../services/observe/pullMetrics.ts"
import { isTerminal } from "./logging.ts"
import * as LogWriter from "./LogWriter.ts"
import { formatCombined, formatJson, formatPretty } from "./requestLines.ts"
import { StartupError } from "./StartupError.ts"

/**
 * The access log: one line for each request, on standard error or in a file of its own.
 */

/** How long lines may still go to a file that has been renamed, in milliseconds. */
const REOPEN_MILLIS = 1000

/** Only the operator may read who requested what. */
const FILE_MODE = 0o640

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

const isSameFile = (a: Fs.Stats, b: Fs.Stats): boolean => a.ino === b.ino && a.dev === b.dev

/**
 * Writes to the end of the file at `path`. When another program has renamed or removed the file, as `logrotate` does, a new one is made. The
 * file closes with the scope.
 */
const openFile = Effect.fnUntraced(
  function*(path: string): Effect.fn.Return<LogWriter.Write, StartupError, Scope.Scope> {
    const open = () => Fs.openSync(path, "a", FILE_MODE)
    let descriptor = yield* Effect.try({
      try: open,
      catch: (error) => new StartupError({ message: `--access-log: cannot write to ${path}: ${errnoOf(error)}` })
    })
    yield* Effect.addFinalizer(() => Effect.sync(() => Fs.closeSync(descriptor)))
    let checkedAt = performance.now()

    /** Calls `then` when `descriptor` is that of the file at `path`, or if that can't be made. */
    const ensureCurrent = (then: () => void): void => {
      if (performance.now() - checkedAt < REOPEN_MILLIS) return then()
      checkedAt = performance.now()
      Fs.fstat(descriptor, (_, opened) =>
        Fs.stat(path, (_, found) => {
          if (opened !== undefined && found !== undefined && isSameFile(opened, found)) return then()
          Fs.open(path, "a", FILE_MODE, (error, fresh) => {
            if (error === null) {
              Fs.close(descriptor)
              descriptor = fresh
            }
            then()
          })
        }))
    }

    return (bytes, done) => ensureCurrent(() => Fs.write(descriptor, bytes, done))
  }
)

/** A writer for the file at `path`. */
const makeFileWriter = Effect.fnUntraced(function*(path: string) {
  const write = yield* openFile(path)
  const writer = yield* Effect.acquireRelease(Effect.sync(() => LogWriter.make(write)), ({ end }) => end)
  yield* Metrics.counter(
    "spillway_access_log_lines_dropped_total",
    "Lines of the access log that its file did not take",
    writer.dropped
  )
  return writer
})

/** Logs each request as `--access-log` says; Spillway's own pages only if the log level is `debug` or below. */
export const layer = (
  { accessLog, accessLogFormat }: Pick<SettingValues, "accessLog" | "accessLogFormat">
): Layer.Layer<never, StartupError, LogWriter.LogWriter> =>
  Layer.effect(
    RequestLog,
    Effect.gen(function*() {
      const level = yield* References.MinimumLogLevel
      const isDebugged = !LogLevel.isGreaterThan(level, "Debug")
      if (accessLog === "off" || (accessLog === "stderr" && LogLevel.isGreaterThan(level, "Info"))) return undefined
      const { write } = accessLog === "stderr"
        ? yield* LogWriter.LogWriter
        : yield* makeFileWriter(accessLog.file)
      const plain = isTerminal && accessLog === "stderr" ? formatPretty : formatJson
      const format = accessLogFormat === "combined" ? formatCombined : plain
      const timestamp = makeTimestamp()
      return (exchange: Exchange) => {
        if (!exchange.isOwnPage || isDebugged) write(format(exchange, timestamp()))
      }
    })
  )
