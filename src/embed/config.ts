import { Config, ConfigProvider, Effect, Layer, Struct } from "effect"
import { parseRoute } from "../domain/Route.ts"
import * as Cache from "../services/config/CacheConfig.ts"
import * as Origin from "../services/config/OriginConfig.ts"
import * as Server from "../services/config/ServerConfig.ts"
import { programSettings, serveConfig } from "../services/config/settings.ts"

const parseRoutes = Effect.forEach((text: string) => {
  const route = parseRoute(text)
  return typeof route === "string"
    ? Effect.fail(new Config.ConfigError(new ConfigProvider.SourceError({ message: route })))
    : Effect.succeed(route)
})

/** The options of `spillway serve`, from its environment variables. */
export const layerOptions: Layer.Layer<Cache.CacheConfig | Origin.OriginConfig, Config.ConfigError> = Layer.unwrap(
  Effect.gen(function*() {
    const settings = yield* Config.all(Struct.omit(serveConfig, programSettings))
    const routes = yield* parseRoutes(settings.origins)
    return Layer.mergeAll(
      Cache.CacheConfig.layer(Cache.fromSettings(settings)),
      Origin.OriginConfig.layer(Origin.fromSettings(settings, routes)),
      Server.ServerConfig.layer(Server.fromSettings(settings))
    )
  })
)

/** The address to listen on, from the environment variables of `spillway serve`. */
export const address: Config.Config<{ readonly host: string; readonly port: number }> = Config.all(
  Struct.pick(serveConfig, ["host", "port"])
)
