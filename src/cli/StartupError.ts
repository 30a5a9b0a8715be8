import { type Config, Schema } from "effect"

/** A command cannot do its work. The message is one line for the user. */
export class StartupError extends Schema.TaggedError<StartupError>()("StartupError", {
  message: Schema.String,
  /** 1 by default. */
  exitCode: Schema.optionalKey(Schema.Int)
}) {}

/** A variable has a value that cannot be used. */
export const fromConfigError = ({ cause }: Config.ConfigError): StartupError =>
  new StartupError({ message: cause.message })
