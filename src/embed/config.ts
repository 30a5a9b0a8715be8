import { Config, Effect, Layer, Struct } from "effect"
import * as Cache from "../services/config/CacheConfig.ts"
import * as Origin from "../services/config/OriginConfig.ts"
import * as Server from "../services/config/ServerConfig.ts"
import { programSettings, serveConfig } from "../services/config/settings.ts"

/** The options of `spillway serve`, from its environment variables. */
export const layerOptions: Layer.Layer<Cache.CacheConfig | Origin.OriginConfig, Config.ConfigError> = Layer.unwrap(
  Effect.gen(function*() {
    const settings = yield* Config.all(Struct.omit(serveConfig, programSettings))
    return Layer.mergeAll(
      Cache.CacheConfig.layer(Cache.fromSettings(settings)),
      Origin.OriginConfig.layer(Origin.fromSettings(settings)),
      Server.ServerConfig.layer(Server.fromSettings(settings))
    )
  })
)

/** The address to listen on, from the environment variables of `spillway serve`. */
export const address: Config.Config<{ readonly host: string; readonly port: number }> = Config.all(
  Struct.pick(serveConfig, ["host", "port"])
)
