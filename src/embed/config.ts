import { Config, Effect, Layer, Option, Struct } from "effect"
import * as Cache from "../services/config/CacheConfig.ts"
import { EffectiveConfig, type ValueSources } from "../services/config/EffectiveConfig.ts"
import { variableOf } from "../services/config/makeSetting.ts"
import * as Origin from "../services/config/OriginConfig.ts"
import * as Server from "../services/config/ServerConfig.ts"
import { fileSettings, programSettings, serveConfig } from "../services/config/settings.ts"

/** The options whose variables are set. */
const setVariables = Effect.forEach(
  Object.values(fileSettings),
  ({ key, name }) =>
    Effect.map(Config.option(Config.String(variableOf(name))), (text) => Option.isSome(text) ? [[key, "variable"]] : [])
).pipe(Effect.map((entries): ValueSources => Object.fromEntries(entries.flat())))

/** The options of `spillway serve`, from its environment variables. */
export const layerOptions: Layer.Layer<Cache.CacheConfig | Origin.OriginConfig, Config.ConfigError> = Layer.unwrap(
  Effect.gen(function*() {
    const settings = yield* Config.all(Struct.omit(serveConfig, programSettings))
    return Layer.mergeAll(
      Cache.CacheConfig.layer(Cache.fromSettings(settings)),
      Origin.OriginConfig.layer(Origin.fromSettings(settings)),
      EffectiveConfig.layer(settings, yield* setVariables),
      Server.ServerConfig.layer(Server.fromSettings(settings))
    )
  })
)

/** The address to listen on, from the environment variables of `spillway serve`. */
export const address: Config.Config<{ readonly host: string; readonly port: number }> = Config.all(
  Struct.pick(serveConfig, ["host", "port"])
)
