import { Context, Effect, Layer } from "effect"
import { write as writeFile } from "node:fs"

/**
 * Writes lines to standard error without waiting for the reader. Lines are batched and written in the background, one write at a time.
 * If too many are waiting, further lines are dropped and counted.
 */
export class LogWriter extends Context.Service<LogWriter, {
  /** Takes a line without its line end. An urgent line is written at once, unless a write is running. */
  readonly write: (line: string, isUrgent?: boolean) => void
  /** The number of dropped lines. */
  readonly dropped: () => number
}>()("spillway/cli/LogWriter") {
  /** Writes to standard error. At the end of the program, waiting lines are written within `END_TIMEOUT`. */
  static readonly layer: Layer.Layer<LogWriter> = Layer.effect(
    LogWriter,
    Effect.acquireRelease(Effect.sync(() => make(writeTo(process.stderr.fd))), ({ end }) => end)
  )
}

/** The time that lines wait for others, to be written together, in milliseconds. */
const GATHER_MILLIS = 100

/** A batch of this size is written without waiting for more lines, in characters. */
const GATHER_LENGTH = 64 * 1024

/** The limit on waiting text, in characters. Lines beyond it are dropped. */
const MAX_LENGTH = 1024 * 1024

/** The time that the end of the program waits for unwritten lines. */
const END_TIMEOUT = "1 second"

/** Writes as many of `bytes` as it can, and passes their number, or an error, to `done`. */
export type Write = (bytes: Uint8Array, done: (error: NodeJS.ErrnoException | null, written: number) => void) => void

// Node's own streams block on a slow pipe; a thread of its pool doesn't block anything else.
const writeTo = (descriptor: number): Write => (bytes, done) => writeFile(descriptor, bytes, done)

/** A writer that uses `write`, and an effect that ends it. */
export const make = (write: Write): LogWriter["Service"] & { readonly end: Effect.Effect<void> } => {
  let text = ""
  let lines = 0
  let underWay = 0
  let dropped = 0
  let timer: NodeJS.Timeout | undefined
  let onIdle = () => {}

  const start = (): void => {
    clearTimeout(timer)
    timer = undefined
    if (underWay > 0) return
    if (text === "") return onIdle()
    let bytes: Uint8Array = Buffer.from(text)
    const count = lines
    underWay = text.length
    text = ""
    lines = 0
    const go = (): void =>
      write(bytes, (error, written) => {
        // The reader is slow, and the descriptor is non-blocking.
        if (error?.code === "EAGAIN") return void setTimeout(go, GATHER_MILLIS)
        if (error !== null) dropped += count
        else if (written < bytes.length) {
          bytes = bytes.subarray(written)
          return go()
        }
        underWay = 0
        start()
      })
    go()
  }

  return {
    write: (line, isUrgent = false) => {
      if (text.length + underWay + line.length > MAX_LENGTH) {
        dropped += 1
        return
      }
      text += `${line}\n`
      lines += 1
      if (underWay > 0) return
      if (isUrgent || text.length >= GATHER_LENGTH) start()
      else timer ??= setTimeout(start, GATHER_MILLIS).unref()
    },
    dropped: () => dropped,
    end: Effect.callback<void>((resume) => {
      onIdle = () => resume(Effect.void)
      start()
    }).pipe(Effect.timeout(END_TIMEOUT), Effect.ignore)
  }
}
