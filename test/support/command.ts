import { Effect } from "effect"
import { execFile } from "node:child_process"
import * as Fs from "node:fs"
import { delimiter, join } from "node:path"

/** Where a command is, or `undefined`. */
export const find = (command: string): string | undefined =>
  (process.env["PATH"] ?? "").split(delimiter).map((directory) => join(directory, command)).find((path) => {
    try {
      Fs.accessSync(path, Fs.constants.X_OK)
      return true
    } catch {
      return false
    }
  })

/** A command that has ended; its `code` is -1 when it did not end by itself. */
export interface Ended {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

const MAX_OUTPUT_BYTES = 16 * 1024 ** 2

/** Runs a command to its end, its standard input empty; it is killed when nobody waits for it any more. */
export const run = (command: string, args: ReadonlyArray<string>): Effect.Effect<Ended> =>
  Effect.callback((resume) => {
    const child = execFile(command, args, { maxBuffer: MAX_OUTPUT_BYTES }, (error, stdout, stderr) => {
      const code = error === null ? 0 : typeof error.code === "number" ? error.code : -1
      resume(Effect.succeed({ code, stdout, stderr }))
    })
    child.stdin?.end()
    return Effect.sync(() => child.kill("SIGKILL"))
  })
