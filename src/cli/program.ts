import "./threadPool.ts"
import "./heap.ts"
import { NodeServices } from "@effect/platform-node"
import { Cause, Console, Effect, Layer, Logger, References } from "effect"
import { CliError, CliOutput, Command } from "effect/cli"
import { logLevelConfig } from "../services/config/settings.ts"
import { version } from "../version.ts"
import { checkConfig } from "./checkConfig.ts"
import { config } from "./config.ts"
import { doctor } from "./doctor.ts"
import { fleet, ls, mapCommand, status, why } from "./inspect.ts"
import { pin, purge, unpin } from "./keep.ts"
import { layer as logging } from "./logging.ts"
import { runMain } from "./runMain.ts"
import { demo, serve } from "./serve.ts"
import { fromConfigError, StartupError } from "./StartupError.ts"
import { top } from "./top.ts"
import { verify } from "./verify.ts"
import { warm } from "./warm.ts"

const spillway = Command.make("spillway").pipe(
  Command.withDescription("A caching reverse proxy for video, audio and large downloads"),
  Command.withSubcommands([
    serve,
    demo,
    status,
    config,
    top,
    fleet,
    ls,
    mapCommand,
    why,
    warm,
    pin,
    unpin,
    purge,
    verify,
    doctor,
    checkConfig
  ])
)

/** Prints a message, whose lines are about one thing each. */
const say = (message: string) => Console.error(message.replace(/^/gm, "spillway: "))

/** What is wrong, in one line. The flags of `makeSetting` write the whole message themselves. */
const messageOf = (error: CliError.CliError): string => {
  switch (error._tag) {
    case "InvalidValue":
      return error.expected.startsWith("--") ? error.expected : error.message
    case "UnknownSubcommand":
      return `there is no command ${error.subcommand}${didYouMean(error.suggestions)}`
    case "UnrecognizedOption":
      return `there is no flag ${error.option}${didYouMean(error.suggestions)}`
    default:
      return error.message
  }
}

const didYouMean = ([first]: ReadonlyArray<string>): string => first === undefined ? "" : `; did you mean ${first}?`

/** Prints one line about a wrong invocation, not the whole manual. */
const presenter: CliOutput.Presenter = {
  present: (event) =>
    event._tag === "InvalidInvocation"
      ? Effect.forEach(event.errors.slice(0, 1), (error) =>
        say(`${messageOf(error).split("\n")[0]} (see ${event.commandPath.join(" ")} --help)`), {
        discard: true
      })
      : CliOutput.defaultPresenter.present(event)
}

const LogLevelFromEnvironment = Layer.effect(
  References.MinimumLogLevel,
  Effect.mapError(logLevelConfig, fromConfigError)
)

const Logging = Layer.mergeAll(logging, Layer.succeed(Logger.LogToStderr, true), LogLevelFromEnvironment)

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
  runMain({ disableErrorReporting: true })
)
