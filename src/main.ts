#!/usr/bin/env node
import "./cli/threadPool.ts"
import { NodeRuntime, NodeServices } from "@effect/platform-node"
import { Cause, Console, Effect, Exit, Layer, Logger, References } from "effect"
import { CliError, CliOutput, Command } from "effect/cli"
import { doctor } from "./cli/doctor.ts"
import { fleet, ls, mapCommand, status, why } from "./cli/inspect.ts"
import { pin, purge, unpin } from "./cli/keep.ts"
import { layer as logging } from "./cli/logging.ts"
import { serve } from "./cli/serve.ts"
import { fromConfigError, StartupError } from "./cli/StartupError.ts"
import { verify } from "./cli/verify.ts"
import { warm } from "./cli/warm.ts"
import { logLevelConfig } from "./services/config/settings.ts"
import { version } from "./version.ts"

const spillway = Command.make("spillway").pipe(
  Command.withDescription("A caching reverse proxy for video, audio and large downloads"),
  Command.withSubcommands([serve, status, fleet, ls, mapCommand, why, warm, pin, unpin, purge, verify, doctor])
)

const say = (message: string) => Console.error(`spillway: ${message}`)

/** The flags of `makeSetting` write the whole message themselves. */
const messageOf = (error: CliError.CliError): string =>
  error._tag === "InvalidValue" && error.expected.startsWith("--") ? error.expected : error.message

/** Prints one line about a wrong invocation, not the whole manual. */
const presenter: CliOutput.Presenter = {
  present: (event) =>
    event._tag === "InvalidInvocation"
      ? Effect.forEach(event.errors.slice(0, 1), (error) =>
        say(`${messageOf(error).split("\n")[0]} (see spillway ${event.commandPath.slice(1).join(" ")} --help)`), {
        discard: true
      })
      : CliOutput.defaultPresenter.present(event)
}

const LogLevelFromEnvironment = Layer.effect(
  References.MinimumLogLevel,
  Effect.mapError(logLevelConfig, fromConfigError)
)

const Logging = Layer.mergeAll(logging, Layer.succeed(Logger.LogToStderr, true), LogLevelFromEnvironment)

/**
 * Ends the process. Node waits for the threads of its pool and for `WriterThread`, so a disk that hangs would keep the process alive. Replacing
 * the process doesn't wait.
 */
const end = (code: number, exit: (code: number) => void): void => {
  const held = process.getActiveResourcesInfo().some((resource) => /^(FSReq|MessagePort)/.test(resource))
  if (held && process.execve !== undefined) {
    process.execve(process.execPath, [process.execPath, "-e", `process.exit(${code})`], {})
  }
  exit(code)
}

spillway.pipe(
  Command.run({ version }),
  Effect.provide(Layer.mergeAll(Logging, NodeServices.layer)),
  Effect.provideService(CliOutput.Presenter, presenter),
  Effect.tapCause((cause) => {
    if (Cause.hasInterruptsOnly(cause)) return Effect.void
    const error = Cause.squash(cause)
    if (CliError.isCliError(error)) return Effect.void
    return error instanceof StartupError ? say(error.message) : Effect.logFatal(cause)
  }),
  NodeRuntime.runMain({
    disableErrorReporting: true,
    // A signal is how a server normally ends.
    teardown: (exit, onExit) => end(Exit.isSuccess(exit) || Cause.hasInterruptsOnly(exit.cause) ? 0 : 1, onExit)
  })
)
