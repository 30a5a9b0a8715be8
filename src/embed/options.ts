import {
  ByteSize,
  Duration,
  Effect,
  Layer,
  Option,
  Predicate,
  Record,
  Redacted,
  Schema,
  SchemaGetter,
  SchemaIssue,
  Struct
} from "effect"
import { parseRoute, type Route } from "../domain/Route.ts"
import * as Cache from "../services/config/CacheConfig.ts"
import { EffectiveConfig } from "../services/config/EffectiveConfig.ts"
import * as Origin from "../services/config/OriginConfig.ts"
import * as Server from "../services/config/ServerConfig.ts"
import { defaultSettings, programSettings } from "../services/config/settings.ts"
import * as Type from "../services/config/settingTypes.ts"

/**
 * The options of Spillway in code. Each is that of the flag of `spillway serve` with its name, and has its default.
 *
 * @since 0.1.0
 * @category options
 */
export interface SpillwayOptions {
  /**
   * The servers that requests are for: `https://media.example.org` for all paths, `/films=https://films.example.org` or
   * `films.example.org=https://origin.example.org`, or a route of `parseRoute` or `makeRoute`. `open` and `register` need none.
   */
  readonly origins?: ReadonlyArray<string | URL | Route> | undefined
  /** The directory of the cache, by default `./.spillway`. Created if missing; only `v1` inside it is ever touched. */
  readonly directory?: string | undefined
  /** The maximum size of the cache on disk, by default 10 GiB. It has room for at least four chunks. */
  readonly maxSize?: ByteSize.Input | undefined
  /** The space to keep free on the disk, in spite of other programs, by default 1 GiB. */
  readonly minFree?: ByteSize.Input | undefined
  /** The size of a chunk, 64 KiB to 64 MiB, by default 1 MiB. */
  readonly chunkSize?: ByteSize.Input | undefined
  /** The maximum size of the cache in memory, by default 256 MiB. */
  readonly memory?: ByteSize.Input | undefined
  /** The time to wait for a cached chunk from disk before the origin takes over, by default 250 ms. */
  readonly readDeadline?: Duration.Input | undefined
  /** The freshness of files: `1h` if the origin doesn't say, `/live/*=2s` regardless of the origin. */
  readonly ttl?: ReadonlyArray<string> | undefined
  /** Which query parameters identify a file, by path: `/films/* ignore=token,utm_*`, `/covers/* keep=v,id`, `/api/* sort`. */
  readonly cacheKey?: ReadonlyArray<string> | undefined
  /** Paths where responses don't depend on cookies, such as `/films/*`. */
  readonly ignoreCookies?: ReadonlyArray<string> | undefined
  /** Paths where a file without a validator never changes while its size stays the same, such as `/library/*`. */
  readonly assumeUnchanged?: ReadonlyArray<string> | undefined
  /** Request fields that are credentials, like `Authorization`. */
  readonly credentialFields?: ReadonlyArray<string> | undefined
  /** Whether cached content is served without asking the origin, however old it is. */
  readonly offline?: boolean | undefined
  /** Hosts whose URLs clients may request with `/_spillway/url?url=`. */
  readonly urlHosts?: ReadonlyArray<string> | undefined
  /** Whether these hosts may have loopback and private addresses. */
  readonly allowPrivate?: boolean | undefined
  /** The maximum time to connect to an origin, by default 10 s. */
  readonly connectTimeout?: Duration.Input | undefined
  /** The maximum time until an origin begins its response, by default 30 s. */
  readonly firstByteTimeout?: Duration.Input | undefined
  /** The maximum time between two reads of an origin's body, by default 30 s. */
  readonly silenceTimeout?: Duration.Input | undefined
  /** The maximum number of concurrent requests to one origin, by default 256. */
  readonly maxRequests?: number | undefined
  /** The maximum number of client connections of `layerServer` and `Server.layerNode`, by default 4096. */
  readonly maxConnections?: number | undefined
  /** The maximum number of responses that are fetched or streamed at a time, by default 2048. */
  readonly maxStreams?: number | undefined
  /** A connection is closed after this long without progress in either direction, by default 5 min. */
  readonly idleTimeout?: Duration.Input | undefined
  /** The maximum time to receive a request header, by default 30 s. */
  readonly headerTimeout?: Duration.Input | undefined
  /** The token for Spillway's own pages. Without it, they are available from this machine only. */
  readonly adminToken?: string | Redacted.Redacted | undefined
}

/**
 * Options that can't be used. There is a line for each of them, which begins with its name.
 *
 * @example
 * ```ts
 * import { Effect, Layer } from "effect"
 * import { Spillway } from "spillway"
 *
 * const layer = Spillway.layer({ readDeadline: "soon" as "1 second" }).pipe(
 *   Layer.tapError(({ mistakes }) => Effect.logError("Wrong options", mistakes))
 * )
 * ```
 *
 * @since 0.1.0
 * @category errors
 */
export class InvalidOptions extends Schema.TaggedError<InvalidOptions>()("InvalidOptions", {
  mistakes: Schema.Array(Schema.String)
}) {
  override get message(): string {
    return `invalid options: ${this.mistakes.join("; ")}`
  }
}

/** A value whose parser refuses what can't be used. */
const given = <A>() => Schema.declare<A>((input): input is A => input !== undefined)

/** How much of a wrong value is shown, in characters. */
const MAX_SHOWN = 80

const shown = (value: unknown): string => {
  const text = typeof value === "string" ? JSON.stringify(value) : String(value)
  return text.length > MAX_SHOWN ? `${text.slice(0, MAX_SHOWN)}…` : text
}

/** A value of `type`, whose parser gets the text that `textOf` makes of the value. */
const value = <A>(type: Type.SettingType<A>, textOf: (input: unknown) => Option.Option<string>) =>
  given<unknown>().pipe(
    Schema.decodeTo(given<A>(), {
      decode: SchemaGetter.transformEffect((input: unknown) =>
        Effect.mapError(Effect.fromOption(Option.flatMap(textOf(input), type.parse)), () => {
          const got = type.isSecret === true ? "" : `; got ${shown(input)}`
          return new SchemaIssue.InvalidValue({ message: `expected ${type.expected}${got}` })
        })
      ),
      encode: SchemaGetter.forbidden(() => "options are not written")
    })
  )

const textOf = Option.liftPredicate(Predicate.isString)

const text = <A>(type: Type.SettingType<A>) => Schema.optionalKey(value(type, textOf))

const texts = <A>(type: Type.SettingType<A>) => Schema.optionalKey(Schema.Array(value(type, textOf)))

const size = (type: Type.SettingType<number>) =>
  Schema.optionalKey(
    value(type, (input) =>
      Option.map(ByteSize.fromInput(input as ByteSize.Input), (size) => String(ByteSize.toBigInt(size))))
  )

const duration = Schema.optionalKey(
  value(
    Type.DURATION,
    (input) => Option.map(Duration.fromInput(input as Duration.Input), (duration) => `${Duration.toMillis(duration)}ms`)
  )
)

const count = Schema.optionalKey(
  value(Type.COUNT, (input) => Option.map(Option.liftPredicate(input, Predicate.isNumber), String))
)

const toggle = Schema.optionalKey(
  value(Type.BOOLEAN, (input) => Option.map(Option.liftPredicate(input, Predicate.isBoolean), String))
)

const token = Schema.optionalKey(
  value(Type.TOKEN, (input) => textOf(Redacted.isRedacted(input) ? Redacted.value(input) : input))
)

/** The largest number of requests for one file at a time. */
const MAX_PARALLEL = 8

const isAtLeast = (minimum: number, value: number | undefined): boolean =>
  value === undefined || (Number.isFinite(value) && value >= minimum)

/** Says what is wrong with a route of the application. */
const mistakeIn = ({ policy, url }: Route): string | undefined => {
  if (!/^https?:$/.test(url.protocol)) return "only http and https are supported"
  const { check, hedgeAfter, origins, parallel, readAhead, silenceTimeout } = policy
  if (!origins.every(({ weight }) => isAtLeast(0, weight))) return "policy.origins: a weight is 0 or more"
  if (!isAtLeast(1, check?.every)) return "policy.check.every: at least 1 ms"
  if (!isAtLeast(1, silenceTimeout)) return "policy.silenceTimeout: at least 1 ms"
  if (hedgeAfter !== 0 && !isAtLeast(1, hedgeAfter)) return "policy.hedgeAfter: at least 1 ms, or 0 for never"
  if (readAhead !== Infinity && !isAtLeast(1, readAhead)) return "policy.readAhead: at least 1 byte"
  if (!Number.isInteger(parallel) || parallel < 1 || parallel > MAX_PARALLEL) {
    return `policy.parallel: 1 to ${MAX_PARALLEL}`
  }
  return undefined
}

const isRoute = (input: unknown): input is Route =>
  Predicate.hasProperty(input, "match") && Predicate.hasProperty(input, "policy") &&
  Predicate.hasProperty(input, "url") && input.url instanceof URL

const routeOf = (input: unknown): Route | string => {
  if (typeof input === "string" || input instanceof URL) return parseRoute(String(input))
  if (!isRoute(input)) return `expected a URL such as https://media.example.org, or a route; got ${shown(input)}`
  return mistakeIn(input) ?? input
}

const routes = Schema.optionalKey(Schema.Array(
  given<unknown>().pipe(
    Schema.decodeTo(given<Route>(), {
      decode: SchemaGetter.transformEffect((input: unknown) => {
        const route = routeOf(input)
        return typeof route === "string"
          ? Effect.fail(new SchemaIssue.InvalidValue({ message: route }))
          : Effect.succeed(route)
      }),
      encode: SchemaGetter.forbidden(() => "options are not written")
    })
  )
))

const Options = Schema.Struct(
  {
    origins: routes,
    directory: text(Type.DIRECTORY),
    maxSize: size(Type.CACHE_SIZE),
    minFree: size(Type.SIZE),
    chunkSize: size(Type.CHUNK),
    memory: size(Type.SIZE),
    readDeadline: duration,
    ttl: texts(Type.TTL),
    cacheKey: texts(Type.CACHE_KEY),
    ignoreCookies: texts(Type.PATH_PATTERN),
    assumeUnchanged: texts(Type.PATH_PATTERN),
    credentialFields: texts(Type.FIELD),
    offline: toggle,
    urlHosts: texts(Type.HOST),
    allowPrivate: toggle,
    connectTimeout: duration,
    firstByteTimeout: duration,
    silenceTimeout: duration,
    maxRequests: count,
    maxConnections: count,
    maxStreams: count,
    idleTimeout: duration,
    headerTimeout: duration,
    adminToken: token
  } satisfies { readonly [Name in keyof SpillwayOptions]-?: unknown }
)

const mistakesOf = SchemaIssue.makeFormatterStandardSchemaV1()

/** A line for each mistake, such as `chunkSize: expected a size …`. */
const linesOf = ({ issue }: Schema.SchemaError): ReadonlyArray<string> =>
  mistakesOf(issue).issues.map(({ message, path = [] }) =>
    [path.map(String).join("."), message].filter((part) => part !== "").join(": ")
  )

const decode = Schema.decodeUnknownEffect(Options, { errors: "all", onExcessProperty: "error" })

/** The options among all settings, with the defaults of the others. */
const settingsOf = Effect.fnUntraced(function*(options: SpillwayOptions) {
  const decoded = yield* Effect.mapError(
    decode(Record.filter(options as Readonly<Record<string, unknown>>, Predicate.isNotUndefined)),
    (error) => new InvalidOptions({ mistakes: linesOf(error) })
  )
  const settings = { ...Struct.omit(defaultSettings, programSettings), ...decoded }
  if (!Cache.hasRoom(settings)) {
    return yield* new InvalidOptions({ mistakes: ["maxSize: less than four chunks of chunkSize"] })
  }
  return { settings, sources: Record.map(decoded as Readonly<Record<string, unknown>>, () => "code" as const) }
})

/** The configuration of Spillway by `options`. */
export const layer = (
  options: SpillwayOptions
): Layer.Layer<Cache.CacheConfig | Origin.OriginConfig, InvalidOptions> =>
  Layer.unwrap(Effect.map(settingsOf(options), ({ settings, sources }) =>
    Layer.mergeAll(
      Cache.CacheConfig.layer(Cache.fromSettings(settings)),
      Origin.OriginConfig.layer(Origin.fromSettings(settings)),
      EffectiveConfig.layer(settings, sources),
      Server.ServerConfig.layer(Server.fromSettings(settings))
    )))
