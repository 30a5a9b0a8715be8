import { Config, ConfigProvider, Effect, Layer, Option, Struct } from "effect"
import { CREDENTIAL_FIELDS } from "../domain/Asker.ts"
import { parseRoute } from "../domain/Route.ts"
import { CacheConfig } from "../services/config/CacheConfig.ts"
import { OriginConfig } from "../services/config/OriginConfig.ts"
import { ServerConfig } from "../services/config/ServerConfig.ts"
import { serveConfig } from "../services/config/settings.ts"

const routes = Config.mapEffect(serveConfig.origins, (texts) =>
  Effect.forEach(texts, (text) => {
    const route = parseRoute(text)
    return typeof route === "string"
      ? Effect.fail(new Config.ConfigError(new ConfigProvider.SourceError({ message: route })))
      : Effect.succeed(route)
  }))

const options = Config.all({
  ...Struct.omit(serveConfig, ["host", "port", "origins", "otlp", "workers"]),
  routes,
  adminToken: Config.option(Config.String("SPILLWAY_ADMIN_TOKEN"))
})

/** The options of `spillway serve`, by their variables. */
export const layerOptions: Layer.Layer<CacheConfig | OriginConfig, Config.ConfigError> = Layer.unwrap(
  Effect.map(options, ({ adminToken, allowPrivate, credentialFields, routes, urlHosts, ...options }) =>
    Layer.mergeAll(
      CacheConfig.layer(
        Struct.pick(options, [
          "chunkSize",
          "directory",
          "maxSize",
          "memory",
          "minFree",
          "readDeadline",
          "ttl",
          "ignoreCookies"
        ])
      ),
      OriginConfig.layer({
        ...Struct.pick(options, ["connectTimeout", "firstByteTimeout", "maxRequests", "offline", "silenceTimeout"]),
        credentialFields: [...CREDENTIAL_FIELDS, ...credentialFields],
        origins: { routes, urlHosts, allowPrivate }
      }),
      ServerConfig.layer({
        ...Struct.pick(options, ["headerTimeout", "idleTimeout", "maxConnections", "maxStreams"]),
        adminToken: Option.getOrUndefined(adminToken)
      })
    ))
)

/** Where to listen, by the variables of `spillway serve`. */
export const address: Config.Config<{ readonly host: string; readonly port: number }> = Config.all(
  Struct.pick(serveConfig, ["host", "port"])
)
