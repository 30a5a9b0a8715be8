import { ByteSize, Clock, Effect } from "effect"
import { fit } from "./text.ts"

/** Shows the progress of long work on standard error: a bar on a terminal, a line for each tenth elsewhere. */
interface Progress {
  /** Counts one more item; `bytes` is the total so far. */
  readonly advance: (bytes: number) => Effect.Effect<void>
  /** Prints a line in between. */
  readonly note: (line: string) => Effect.Effect<void>
  readonly end: Effect.Effect<void>
}

const WIDTH = 30

/** The shortest time between two drawings of the bar, in milliseconds. */
const REDRAW_MILLIS = 100

export const make = Effect.fnUntraced(function*(total: number, items: string) {
  const clock = yield* Clock.Clock
  const terminal = process.stderr.isTTY === true
  const started = clock.currentTimeMillisUnsafe()
  let done = 0
  let drawn = 0
  let tenth = 0

  const write = (text: string): void => void process.stderr.write(text)

  const text = (bytes: number): string => {
    const seconds = Math.max(0.001, (clock.currentTimeMillisUnsafe() - started) / 1000)
    const rate = ByteSize.format(ByteSize.bytes(Math.round(bytes / seconds)))
    const left = done === 0 ? "" : `, ${Math.ceil((seconds / done) * (total - done))} s left`
    return `${done}/${total} ${items}, ${rate}/s${left}`
  }

  return {
    advance: (bytes) =>
      Effect.sync(() => {
        done += 1
        const now = clock.currentTimeMillisUnsafe()
        if (terminal && (now - drawn >= REDRAW_MILLIS || done === total)) {
          drawn = now
          const filled = Math.round((done / total) * WIDTH)
          write(
            `\r${
              fit(`[${"#".repeat(filled)}${".".repeat(WIDTH - filled)}] ${text(bytes)}`, process.stderr.columns)
            }\u001b[K`
          )
        }
        if (!terminal && Math.floor((done / total) * 10) > tenth) {
          tenth = Math.floor((done / total) * 10)
          write(`${text(bytes)}\n`)
        }
      }),
    note: (line) => Effect.sync(() => write(`${terminal ? "\r\u001b[K" : ""}${line}\n`)),
    end: Effect.sync(() => write(terminal && total > 0 ? "\n" : ""))
  } satisfies Progress
})
