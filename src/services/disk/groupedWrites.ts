import { Effect } from "effect"
import { DiskLimiter } from "./DiskLimiter.ts"
import { type GroupWatcher, type NewFile, WriterThread } from "./WriterThread.ts"

/** A file that waits to be written. */
interface Waiting {
  readonly file: NewFile
  readonly bytes: number
  readonly resume: (outcome: Outcome) => void
}

/** What became of a file: written, tried without success, or not tried. */
export type Outcome = "Written" | "Failed" | "Untried"

/**
 * Hands files to `WriterThread`, if there is one: those that come in one turn of the event loop, or while others are written, as one group. A
 * group counts as one call to the disk.
 *
 * The function returned tries to write a file. Interruption stops the wait. It doesn't limit how many wait: that is up to its callers.
 */
export const make = Effect.gen(function*() {
  const writer = yield* WriterThread
  const { pass, progressed } = yield* DiskLimiter
  const untried = Effect.succeed<Outcome>("Untried")
  if (writer === undefined) return () => untried
  const run = Effect.runForkWith(yield* Effect.context())
  let waiting: Array<Waiting> = []
  let underWay = 0
  let isSet = false

  const takeGroup = (): ReadonlyArray<Waiting> => {
    let bytes = 0
    const end = waiting.findIndex((next) => (bytes += next.bytes) > writer.maxBytes)
    return waiting.splice(0, end < 0 ? waiting.length : end)
  }

  const handOver = (group: ReadonlyArray<Waiting>): void => {
    const watcher: GroupWatcher = {
      onEnd: (index, isWritten) => group[index]!.resume(isWritten ? "Written" : "Failed"),
      onProgress: progressed
    }
    underWay += 1
    run(pass(writer.write(group.map(({ file }) => file), watcher))).addObserver(() => {
      underWay -= 1
      handOverSoon()
    })
  }

  /** What comes in the same turn of the event loop gets into one group. */
  const handOverSoon = (): void => {
    if (isSet) return
    isSet = true
    queueMicrotask(() => {
      isSet = false
      while (underWay < writer.maxGroups && waiting.length > 0) handOver(takeGroup())
    })
  }

  return (file: NewFile): Effect.Effect<Outcome> => {
    const bytes = file.parts.reduce((sum, { length }) => sum + length, 0)
    if (bytes > writer.maxBytes) return untried
    return Effect.callback((resume) => {
      const entry: Waiting = { file, bytes, resume: (outcome) => resume(Effect.succeed(outcome)) }
      waiting.push(entry)
      handOverSoon()
      return Effect.sync(() => {
        waiting = waiting.filter((other) => other !== entry)
      })
    })
  }
})
