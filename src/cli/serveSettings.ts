import { Config, Effect, FileSystem, Option, Path, Struct } from "effect"
import { parseRoute, type Route } from "../domain/Route.ts"
import * as Cache from "../services/config/CacheConfig.ts"
import { type ConfigFile, parseConfig } from "../services/config/ConfigFile.ts"
import type { ValueSource, ValueSources } from "../services/config/EffectiveConfig.ts"
import type { Options } from "../services/config/LiveConfig.ts"
import type { Given as GivenValue } from "../services/config/makeSetting.ts"
import * as Origins from "../services/config/OriginConfig.ts"
import type { CacheRules } from "../services/config/routeSection.ts"
import { SecretSource } from "../services/config/SecretSource.ts"
import { type AllValues, defaultValues, serveConfig } from "../services/config/settings.ts"
import type { ConfigSource } from "../workers/messages.ts"
import { fromConfigError, invalidInvocation, StartupError } from "./StartupError.ts"
import { size } from "./text.ts"

/**
 * The options of a run: flags override environment variables, which override the configuration file, which overrides the defaults.
 */

/** What the command line and the environment say. */
export interface Given {
  /** `undefined` if neither the flag nor the variable is given. */
  readonly flags: { readonly [Name in keyof AllValues]?: GivenValue<AllValues[Name]> | undefined }
  /** The argument. */
  readonly origin: Option.Option<string>
}

/** The options of a run. */
export interface ServeSettings extends AllValues {
  readonly routes: ReadonlyArray<Route>
  /** The rules of sections. */
  readonly rules: CacheRules
  readonly sources: ValueSources
  /** The configuration file, as `ConfigFile.written`. */
  readonly written: ConfigFile["written"]
}

/** The largest configuration file, in bytes. */
const MAX_CONFIG_BYTES = 1024 ** 2

const noFile: ConfigFile = {
  settings: {},
  routes: [],
  rules: { ttl: [], cacheKey: [], ignoreCookies: [], assumeUnchanged: [] },
  written: {}
}

/** A configuration file: what it says, and what another process needs to find the same in it. */
export interface ReadConfig {
  readonly config: ConfigFile
  readonly source: ConfigSource
}

const parse = (text: string, file: string, secrets: SecretSource["Service"]): Effect.Effect<ConfigFile, StartupError> =>
  parseConfig(text, file).pipe(
    Effect.provideService(SecretSource, secrets),
    Effect.mapError(({ message }) => invalidInvocation(message))
  )

/** What a configuration file says that another process has read. */
export const parseSource = ({ file, secrets, text }: ConfigSource): Effect.Effect<ConfigFile, StartupError> =>
  parse(text, file, SecretSource.from(secrets))

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
    return yield* invalidInvocation(`${file} has more than ${MAX_CONFIG_BYTES} bytes`)
  }
  const secrets = new Map<string, string>()
  const config = yield* parse(text, file, SecretSource.noting(yield* SecretSource.make(path.dirname(file)), secrets))
  return { config, source: { file, text, secrets } } satisfies ReadConfig
})

const parseArgument = (text: string): Effect.Effect<Route, StartupError> => {
  const route = parseRoute(text)
  return typeof route === "string" ? Effect.fail(invalidInvocation(route)) : Effect.succeed(route)
}

/** What the command line and the environment say of options, by their names. Secrets are in the environment only. */
const givenValues = Effect.fnUntraced(function*(flags: Given["flags"]) {
  const secrets = yield* Effect.mapError(
    Config.all(Struct.pick(serveConfig, ["adminToken", "fleetSecret"])),
    fromConfigError
  )
  const variables = Object.entries(secrets).map(([key, value]) =>
    [key, value === undefined ? undefined : { value, by: "variable" } satisfies GivenValue<unknown>] as const
  )
  return [...Object.entries(flags), ...variables].flatMap(([key, given]) =>
    given === undefined ? [] : [[key, given] as const]
  )
})

/** The options of a run, with those of a configuration file if there is one. */
export const settingsOf = Effect.fnUntraced(function*({ flags, origin }: Given, file: ConfigFile = noFile) {
  const given = yield* givenValues(flags)
  const values = Object.fromEntries(given.map(([key, { value }]) => [key, value]))
  const sources: Partial<Record<keyof AllValues, ValueSource>> = {
    ...Object.fromEntries(Object.keys(file.settings).map((key) => [key, "file"])),
    ...Object.fromEntries(given.map(([key, { by }]) => [key, by]))
  }
  const settings = { ...defaultValues, ...file.settings, ...values } as AllValues
  const named = Option.isSome(origin) ? [yield* parseArgument(origin.value)] : []
  // Of several routes for the same requests, the first counts.
  const routes = [...settings.origins, ...named, ...file.routes]
  const { rules, written } = file
  return { ...settings, routes, rules, sources, written } satisfies ServeSettings
})

/** The rules of a run: those of sections, then those of all paths. */
const rulesOf = ({ rules, ...settings }: ServeSettings): CacheRules => ({
  ttl: [...rules.ttl, ...settings.ttl],
  cacheKey: [...rules.cacheKey, ...settings.cacheKey],
  ignoreCookies: [...rules.ignoreCookies, ...settings.ignoreCookies],
  assumeUnchanged: [...rules.assumeUnchanged, ...settings.assumeUnchanged]
})

/** The options of the cache and for origins. */
export const optionsOf = (settings: ServeSettings): Options => ({
  cache: { ...Cache.fromSettings(settings), ...rulesOf(settings) },
  origin: Origins.fromSettings({
    ...Struct.omit(settings, ["routes", "rules", "logLevel", "sources", "written"]),
    origins: settings.routes
  })
})

/** Fails if options can't be those of a run: they need an origin, and the cache needs room. */
export const checkSettings = (settings: ServeSettings): Effect.Effect<ServeSettings, StartupError> => {
  const { chunkSize, maxSize, routes, urlHosts } = settings
  if (routes.length + urlHosts.length === 0) {
    return Effect.fail(invalidInvocation(
      "no origin: specify its URL, as in `spillway serve https://media.example.org`, or set SPILLWAY_ORIGIN; " +
        "`spillway demo` needs none"
    ))
  }
  if (Cache.hasRoom(settings)) return Effect.succeed(settings)
  return Effect.fail(invalidInvocation(
    `--max-size (${size(maxSize)}) is less than four chunks of --chunk-size (${size(chunkSize)}); ` +
      "raise --max-size or lower --chunk-size"
  ))
}
