import { Effect, FileSystem, type LogLevel, Option, Path, Struct } from "effect"
import { parseRoute, type Route } from "../domain/Route.ts"
import * as Cache from "../services/config/CacheConfig.ts"
import { type ConfigFile, parseConfig } from "../services/config/ConfigFile.ts"
import * as Origins from "../services/config/OriginConfig.ts"
import type { CacheRules } from "../services/config/routeSection.ts"
import { SecretSource } from "../services/config/SecretSource.ts"
import { defaultSettings, serveConfig, type SettingValues } from "../services/config/settings.ts"
import { fromConfigError, StartupError } from "./StartupError.ts"

/**
 * The options of a run: flags override environment variables, which override the configuration file, which overrides the defaults.
 */

/** What the command line and the environment say. */
export interface Given {
  /** `undefined` if neither the flag nor the variable is given. */
  readonly flags: { readonly [Name in keyof SettingValues]?: SettingValues[Name] | undefined }
  /** The argument. */
  readonly origin: Option.Option<string>
}

/** The options of a run. */
export interface ServeSettings extends SettingValues {
  readonly routes: ReadonlyArray<Route>
  /** The rules of sections. */
  readonly rules: CacheRules
  readonly logLevel: LogLevel.LogLevel | undefined
}

/** The largest configuration file, in bytes. */
const MAX_CONFIG_BYTES = 1024 ** 2

const noFile: ConfigFile = {
  settings: {},
  routes: [],
  rules: { ttl: [], cacheKey: [], ignoreCookies: [], assumeUnchanged: [] }
}

/** Reads the configuration file at `file`. */
export const readConfig = Effect.fnUntraced(function*(file: string) {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const read = Effect.gen(function*() {
    const { size } = yield* fs.stat(file)
    return Number(size) > MAX_CONFIG_BYTES ? undefined : yield* fs.readFileString(file)
  })
  const text = yield* Effect.mapError(
    read,
    ({ reason }) => new StartupError({ message: `cannot read ${file} (${reason._tag})` })
  )
  if (text === undefined) {
    return yield* new StartupError({ message: `${file} has more than ${MAX_CONFIG_BYTES} bytes` })
  }
  const secrets = yield* SecretSource.make(path.dirname(file))
  return yield* parseConfig(text, file).pipe(
    Effect.provideService(SecretSource, secrets),
    Effect.mapError(({ message }) => new StartupError({ message }))
  )
})

const parseArgument = (text: string): Effect.Effect<Route, StartupError> => {
  const route = parseRoute(text)
  return typeof route === "string" ? Effect.fail(new StartupError({ message: route })) : Effect.succeed(route)
}

const isGiven = (entry: readonly [string, unknown]): boolean => entry[1] !== undefined

/** The options of a run, with those of a configuration file if there is one. */
export const settingsOf = Effect.fnUntraced(function*({ flags, origin }: Given, file: ConfigFile = noFile) {
  const secrets = yield* Effect.all({
    adminToken: Effect.mapError(serveConfig.adminToken, fromConfigError),
    fleetSecret: Effect.mapError(serveConfig.fleetSecret, fromConfigError)
  })
  const given = Object.fromEntries(Object.entries({ ...flags, ...secrets }).filter(isGiven))
  const settings = { ...defaultSettings, ...file.settings, ...given } as SettingValues
  const named = Option.isSome(origin) ? [yield* parseArgument(origin.value)] : []
  // Of several routes for the same requests, the first counts.
  const routes = [...settings.origins, ...named, ...file.routes]
  return { ...settings, routes, rules: file.rules, logLevel: file.settings.logLevel } satisfies ServeSettings
})

/** The rules of a run: those of sections, then those of all paths. */
const rulesOf = ({ rules, ...settings }: ServeSettings): CacheRules => ({
  ttl: [...rules.ttl, ...settings.ttl],
  cacheKey: [...rules.cacheKey, ...settings.cacheKey],
  ignoreCookies: [...rules.ignoreCookies, ...settings.ignoreCookies],
  assumeUnchanged: [...rules.assumeUnchanged, ...settings.assumeUnchanged]
})

/** The options of the cache. */
export const cacheOptions = (settings: ServeSettings): Cache.CacheOptions => ({
  ...Cache.fromSettings(settings),
  ...rulesOf(settings)
})

/** The options for origins. */
export const originOptions = (settings: ServeSettings): Origins.OriginOptions =>
  Origins.fromSettings({ ...Struct.omit(settings, ["routes", "rules", "logLevel"]), origins: settings.routes })
