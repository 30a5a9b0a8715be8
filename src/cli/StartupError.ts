import { type Config, Schema } from "effect"

/** A command cannot do its work. The message is one line for the user; the exit code is 1. */
export class StartupError extends Schema.TaggedError<StartupError>()("StartupError", { message: Schema.String }) {}

/** A variable has a value that cannot be used. */
export const fromConfigError = ({ cause }: Config.ConfigError): StartupError =>
  new StartupError({ message: cause.message })
