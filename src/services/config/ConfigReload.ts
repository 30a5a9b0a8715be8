import { Context, type Effect, Schema } from "effect"

/** What a reload has done. */
export interface Reloaded {
  /** How many routes there are now. */
  readonly routes: number
  /** The changed options that have an effect after a restart only, by their names in the file. */
  readonly restart: ReadonlyArray<string>
}

/** The configuration was not replaced. The message says why, with a line for each mistake. */
export class ReloadRefused extends Schema.TaggedError<ReloadRefused>()("ReloadRefused", { message: Schema.String }) {}

/** Reads the configuration file again. Requests that have begun keep their routes. All processes take it over, or none does. */
export class ConfigReload extends Context.Reference<Effect.Effect<Reloaded, ReloadRefused>>(
  "spillway/services/config/ConfigReload",
  { defaultValue: () => new ReloadRefused({ message: "The program was started without a configuration file" }) }
) {}
