import { Context, Effect, Layer } from "effect"
import { write as writeFile } from "node:fs"

/**
 * Lines to the standard error output, without ever waiting for anyone who reads them: they are gathered and written in the
 * background, one write at a time. When too many wait, more are dropped, and counted.
 */
export class LogWriter extends Context.Service<LogWriter, {
  /** Takes a line, without its end. An urgent one is written at once, if nothing is being written. */
  readonly write: (line: string, isUrgent?: boolean) => void
  /** How many lines were dropped. */
  readonly dropped: () => number
}>()("spillway/cli/LogWriter") {
  /** To the standard error output. What waits at the end of the program is written, for at most `END_TIMEOUT`. */
  static readonly layer: Layer.Layer<LogWriter> = Layer.effect(
    LogWriter,
    Effect.acquireRelease(Effect.sync(() => make(writeTo(process.stderr.fd))), ({ end }) => end)
  )
}

/** How long lines wait for others to be written with them, in milliseconds. */
const GATHER_MILLIS = 100

/** So much is written at once without waiting for more, in characters. */
const GATHER_LENGTH = 64 * 1024

/** How much may wait, in characters, before lines are dropped. */
const MAX_LENGTH = 1024 * 1024

/** How long the end of the program waits for what is not written yet. */
const END_TIMEOUT = "1 second"

/** Writes as much of `bytes` as it can, and returns the number of bytes, or the error that prevented the write. */
export type Write = (bytes: Uint8Array, done: (error: NodeJS.ErrnoException | null, written: number) => void) => void

// Node's own streams wait for anyone who reads from a pipe; a thread of its pool does not keep anybody else from working.
const writeTo = (descriptor: number): Write => (bytes, done) => writeFile(descriptor, bytes, done)

/** The writer over `write`, and its end. */
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
        // The reader is slow, and the descriptor does not wait for it.
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
