import { type Config, Schema } from "effect"

/** A command cannot do its work. The message is one line for the user. */
export class StartupError extends Schema.TaggedError<StartupError>()("StartupError", {
  message: Schema.String,
  /** 1 by default. */
  exitCode: Schema.optionalKey(Schema.Int)
}) {}

/** The exit code if what the user wrote is wrong, so that the same invocation can't succeed. */
export const INVALID_INVOCATION = 2

/** The command line, a variable or the configuration file is wrong. Nothing has been done. */
export const invalidInvocation = (message: string): StartupError =>
  new StartupError({ message, exitCode: INVALID_INVOCATION })

/** A variable has a value that cannot be used. */
export const fromConfigError = ({ cause }: Config.ConfigError): StartupError => invalidInvocation(cause.message)
