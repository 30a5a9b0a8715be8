import { Effect, type Scope } from "effect"
import { type ChildProcess, spawn } from "node:child_process"
import { fileURLToPath } from "node:url"

/** The real program, as a child process. */
export interface Program {
  /** Where it listens. */
  readonly url: string
  readonly process: ChildProcess
  /** All it has printed so far. */
  readonly stdout: () => string
  readonly stderr: () => string
  /** Sends a signal and waits for the end: the exit code, or the signal's name. */
  readonly stop: (signal?: NodeJS.Signals) => Effect.Effect<number | string>
}

export const main = fileURLToPath(new URL("../../src/main.ts", import.meta.url))

export interface ProgramOptions {
  readonly env?: Record<string, string>
  /** What goes before `node src/main.ts …` on the command line, such as `unshare` and its flags. */
  readonly prefix?: ReadonlyArray<string>
}

/** How long the program may take to listen. */
const START_TIMEOUT = "20 seconds"

/** Starts `spillway serve ARGS` and waits until it listens; it is ended with the scope. */
export const startProgram = (
  args: ReadonlyArray<string>,
  options: ProgramOptions = {}
): Effect.Effect<Program, Error, Scope.Scope> =>
  Effect.gen(function*() {
    const [command, ...rest] = [...options.prefix ?? [], process.execPath, main, "serve", "--port", "0", ...args]
    const child = spawn(command!, rest, {
      env: { ...process.env, ...options.env },
      stdio: ["ignore", "pipe", "pipe"]
    })
    let stdout = ""
    let stderr = ""
    const ended = new Promise<number | string>((resolve) => {
      child.on("error", (error) => resolve(error.message))
      child.on("close", (code, signal) => resolve(code ?? signal ?? "unknown"))
    })
    const stop = (signal: NodeJS.Signals = "SIGTERM") =>
      Effect.promise(() => {
        if (child.exitCode === null && child.signalCode === null) child.kill(signal)
        return ended
      })
    yield* Effect.addFinalizer(() => stop("SIGKILL"))
    child.stderr.on("data", (data: Buffer) => stderr += data.toString())
    const url = yield* Effect.callback<string, Error>((resume) => {
      child.stdout.on("data", (data: Buffer) => {
        stdout += data.toString()
        const match = /listening on (http:\/\/[^\s,]+)/.exec(stdout)
        if (match !== null) resume(Effect.succeed(match[1]!))
      })
      void ended.then((code) => resume(Effect.fail(new Error(`spillway ended with ${code}: ${stdout}${stderr}`))))
    }).pipe(
      Effect.timeout(START_TIMEOUT),
      Effect.mapError((error) => new Error(`${error.message}\n${stdout}${stderr}`))
    )
    return { url, process: child, stdout: () => stdout, stderr: () => stderr, stop }
  })
