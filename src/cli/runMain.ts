import { Cause, Exit, Runtime } from "effect"
import { CliError } from "effect/cli"
import cluster from "node:cluster"
import { constants } from "node:os"
import { INVALID_INVOCATION, StartupError } from "./StartupError.ts"

/**
 * Runs the program to its end. The first SIGINT or SIGTERM interrupts it, and the second one ends the process at once.
 */

/** `npm run` forwards a signal that the terminal has sent already. Signals that follow so closely count as one, in milliseconds. */
const SAME_SIGNAL_MILLIS = 250

/**
 * Ends the process. Node waits for the threads of its pool, for `WriterThread` and for `ReaderThread`, so a disk that hangs would keep the process
 * alive. Replacing the process doesn't wait.
 */
const end = (code: number, exit: (code: number) => void): void => {
  const held = process.getActiveResourcesInfo().some((resource) => /^(FSReq|MessagePort)/.test(resource))
  if (held && process.execve !== undefined) {
    process.execve(process.execPath, [process.execPath, "-e", `process.exit(${code})`], {})
  }
  exit(code)
}

/** The exit code that shells give to a program that `signal` has ended. */
const codeOf = (signal: NodeJS.Signals): number => 128 + constants.signals[signal]

/**
 * Runs an effect as the program. The exit code is 0 for success, `INVALID_INVOCATION` for an error of the command line, and 1 for other
 * failures unless a `StartupError` has another one. For an interruption, it is `process.exitCode` if the program has set it, or else 128
 * plus the number of the signal.
 */
export const runMain = Runtime.makeRunMain(({ fiber }) => {
  let first: { readonly signal: NodeJS.Signals; readonly at: number } | undefined

  const onSignal = (signal: NodeJS.Signals): void => {
    const at = performance.now()
    if (first === undefined) {
      first = { signal, at }
      return fiber.interruptUnsafe(fiber.id)
    }
    // Workers get a signal from the terminal and one from the owner, and end with the owner.
    if (at - first.at > SAME_SIGNAL_MILLIS && !cluster.isWorker) end(codeOf(signal), process.exit)
  }

  const codeAtEnd = (exit: Exit.Exit<unknown, unknown>): number => {
    if (Exit.isSuccess(exit)) return 0
    if (!Cause.hasInterruptsOnly(exit.cause)) {
      const error = Cause.squash(exit.cause)
      if (CliError.isCliError(error)) return INVALID_INVOCATION
      return error instanceof StartupError ? error.exitCode ?? 1 : 1
    }
    return Number(process.exitCode ?? (first === undefined ? 1 : codeOf(first.signal)))
  }

  fiber.addObserver((exit) => {
    const code = codeAtEnd(exit)
    end(code, (code) => {
      if (first !== undefined || code !== 0) process.exit(code)
    })
  })
  process.on("SIGINT", onSignal)
  process.on("SIGTERM", onSignal)
})
