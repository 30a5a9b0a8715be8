import { Effect, Schema, type Scope } from "effect"
import { type ChildProcess, spawn } from "node:child_process"
import { createHash } from "node:crypto"
import { get, type IncomingHttpHeaders, type IncomingMessage } from "node:http"
import { setTimeout } from "node:timers/promises"
import { fileURLToPath } from "node:url"
import { story } from "./cacheStatus.ts"
import { PATIENCE_MILLIS } from "./patience.ts"

/** The real program, as a child process. */
export interface Program {
  /** Where it listens. */
  readonly url: string
  readonly process: ChildProcess
  /** What it has printed so far. */
  readonly stdout: () => string
  readonly stderr: () => string
  /** What it has logged so far besides requests. */
  readonly remarks: () => string
  /** All it has printed so far. */
  readonly printed: () => string
  /** Sends a signal and waits for the end: the exit code, or the signal's name. */
  readonly stop: (signal?: NodeJS.Signals) => Effect.Effect<number | string>
}

/** The program did not come to listen. */
export class ProgramFailed extends Schema.TaggedError<ProgramFailed>()("ProgramFailed", { message: Schema.String }) {}

/** The built program: what is shipped is what is tested. */
export const main = fileURLToPath(new URL("../../dist/bin/spillway.js", import.meta.url))

export interface ProgramOptions {
  readonly env?: Record<string, string>
  /** What goes before `node dist/bin/spillway.js …` on the command line, such as `unshare` and its flags. */
  readonly prefix?: ReadonlyArray<string>
  /** `serve` if omitted. */
  readonly command?: "serve" | "demo"
}

const launch = (args: ReadonlyArray<string>, { env, prefix = [] }: ProgramOptions) =>
  Effect.gen(function*() {
    const [command, ...rest] = [...prefix, process.execPath, main, ...args]
    const child = spawn(command!, rest, { env: { ...process.env, ...env }, stdio: ["ignore", "pipe", "pipe"] })
    let stdout = ""
    let stderr = ""
    child.stdout.on("data", (data: Buffer) => stdout += data.toString())
    child.stderr.on("data", (data: Buffer) => stderr += data.toString())
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
    return { process: child, stdout: () => stdout, stderr: () => stderr, stop, ended }
  })

/** Starts the program and waits until it listens; it is ended with the scope. */
export const startProgram = (
  args: ReadonlyArray<string>,
  options: ProgramOptions = {}
): Effect.Effect<Program, ProgramFailed, Scope.Scope> =>
  Effect.gen(function*() {
    const port = options.env?.["SPILLWAY_PORT"] === undefined ? ["--port", "0"] : []
    const child = yield* launch([options.command ?? "serve", ...port, ...args], options)
    const failed = (why: string) => new ProgramFailed({ message: `${why}\n${child.stdout()}${child.stderr()}` })
    const url = yield* Effect.callback<string, ProgramFailed>((resume) => {
      const look = () => {
        const match = /listening on (http:\/\/[^\s,]+)/.exec(child.stdout())
        if (match !== null) resume(Effect.succeed(match[1]!))
      }
      child.process.stdout!.on("data", look)
      look()
      void child.ended.then((code) => resume(Effect.fail(failed(`spillway ended with ${code}`))))
    }).pipe(
      Effect.timeoutOrElse({ duration: PATIENCE_MILLIS, orElse: () => Effect.fail(failed("spillway does not listen")) })
    )
    return {
      url,
      process: child.process,
      stdout: child.stdout,
      stderr: child.stderr,
      remarks: () => child.stderr().replace(/^.*"message":"request".*\n?/gm, ""),
      printed: () => child.stdout() + child.stderr(),
      stop: child.stop
    }
  })

/** Runs `spillway ARGS` to its end. */
export const runProgram = (args: ReadonlyArray<string>, options: ProgramOptions = {}) =>
  Effect.scoped(Effect.gen(function*() {
    const child = yield* launch(args, options)
    const code = yield* Effect.promise(() => child.ended).pipe(
      Effect.timeoutOrElse({
        duration: PATIENCE_MILLIS,
        orElse: () => Effect.die(`spillway does not end\n${child.stdout()}${child.stderr()}`)
      })
    )
    return { code, stdout: child.stdout(), stderr: child.stderr() }
  }))

/** Waits in real time until `check` is true, and dies when that takes too long. */
export const eventually = <E, R>(what: string, check: Effect.Effect<boolean, E, R>): Effect.Effect<void, E, R> =>
  Effect.gen(function*() {
    const deadline = performance.now() + PATIENCE_MILLIS
    while (!(yield* check)) {
      if (performance.now() > deadline) return yield* Effect.die(`waited in vain for ${what}`)
      yield* Effect.promise(() => setTimeout(20))
    }
  })

/** How often `text` is in what a program has printed. */
export const occurrences = (printed: string, text: string): number => printed.split(text).length - 1

/** A response that did not come, or was cut off. */
export class ViewFailed extends Schema.TaggedError<ViewFailed>()("ViewFailed", {
  /** Body bytes that had arrived, and the hash of them. */
  received: Schema.Int,
  sha256: Schema.String,
  message: Schema.String
}) {}

/** A response that is whole. */
export interface View {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  /** Body bytes. */
  readonly size: number
  readonly sha256: string
}

/** A response whose body is read as far as is asked for, and no further. */
export interface Viewer {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  /** Body bytes read so far. */
  readonly received: () => number
  /** Waits until so many bytes of the body are read, or all; then pauses. */
  readonly readTo: (bytes: number) => Effect.Effect<void, ViewFailed>
  /** The body to its end. */
  readonly rest: Effect.Effect<View, ViewFailed>
}

const consume = (response: IncomingMessage): Viewer => {
  const hash = createHash("sha256")
  const status = response.statusCode!
  const { headers } = response
  let received = 0
  let goal = 0
  let failure: string | undefined
  let look = () => {}
  response.pause()
  response.on("data", (data: Buffer) => {
    hash.update(data)
    received += data.length
    look()
  })
  response.on("error", (error) => failure = error.message)
  response.on("close", () => {
    if (!response.complete) failure ??= "cut"
    look()
  })
  const digest = () => hash.copy().digest("hex")
  const readTo = (bytes: number) =>
    Effect.callback<void, ViewFailed>((resume) => {
      goal = bytes
      look = () => {
        if (received >= goal) response.pause()
        else if (failure !== undefined) {
          return resume(Effect.fail(new ViewFailed({ received, sha256: digest(), message: failure })))
        } else if (!response.closed) return
        resume(Effect.void)
      }
      response.resume()
      look()
    })
  const rest = Effect.map(readTo(Number.POSITIVE_INFINITY), () => ({
    status,
    headers,
    size: received,
    sha256: digest()
  }))
  return { status, headers, received: () => received, readTo, rest }
}

/** Sends a request on a connection of its own, and waits for the head of the answer; leaves with the scope. */
export const openView = (
  url: string,
  headers: Record<string, string> = {}
): Effect.Effect<Viewer, ViewFailed, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.callback<IncomingMessage, ViewFailed>((resume) => {
      const request = get(url, { agent: false, headers }, (response) => resume(Effect.succeed(response)))
      request.on("error", ({ message }) => resume(Effect.fail(new ViewFailed({ received: 0, sha256: "", message }))))
      return Effect.sync(() => request.destroy())
    }),
    (response) => Effect.sync(() => response.destroy())
  ).pipe(Effect.map(consume))

/** The whole answer. */
export const view = (url: string, headers?: Record<string, string>): Effect.Effect<View, ViewFailed> =>
  Effect.scoped(Effect.flatMap(openView(url, headers), ({ rest }) => rest))

/** Waits until what `url` names is answered from the cache alone. */
export const eventuallyHit = (url: string): Effect.Effect<void, ViewFailed> =>
  eventually(`a hit on ${url}`, Effect.map(view(url), ({ headers }) => story(headers) === "spillway; hit"))

/** Keeps the file at `path` from being evicted, as soon as anything of it is cached. */
export const pin = ({ url }: Program, path: string): Effect.Effect<void> =>
  eventually(
    `${path} to be pinned`,
    Effect.promise(async () => {
      const body = JSON.stringify({ url: path })
      const headers = { "content-type": "application/json" }
      return (await fetch(`${url}/_spillway/api/pin`, { method: "PUT", body, headers })).ok
    })
  )
