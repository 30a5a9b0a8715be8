import { Schema } from "effect"

/** What keeps a command from doing its work, in one line for the person who gave it. The program ends with 1. */
export class StartupError extends Schema.TaggedError<StartupError>()("StartupError", { message: Schema.String }) {}
