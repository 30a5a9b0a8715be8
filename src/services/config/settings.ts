import { ByteSize, Config, ConfigProvider, Effect, Option } from "effect"
import { CliError, Flag } from "effect/cli"
import { isFieldName } from "../../domain/rfc/HeaderFields.ts"
import * as TtlRule from "../../domain/TtlRule.ts"
import { CHUNK_SIZE, defaults } from "./CacheConfig.ts"

/**
 * The options of `spillway serve`. A flag overrides its environment variable, which overrides the default. Embedded, Spillway reads
 * only the variables, by the same rules.
 */

/** An option, as a flag and as a variable. */
interface Setting<A> {
  readonly flag: Flag.Flag<A>
  readonly config: Config.Config<A>
}

const variableOf = (name: string): string => `SPILLWAY_${name.toUpperCase().replaceAll("-", "_")}`

const wrong = (message: string) => new Config.ConfigError(new ConfigProvider.SourceError({ message }))

/** What a variable says, read by `parse`. */
const variable = <A>(
  name: string,
  fallback: string,
  parse: (text: string) => Option.Option<A>,
  expected: string
): Config.Config<A> =>
  Config.String(variableOf(name)).pipe(
    Config.withDefault(fallback),
    Config.mapEffect((text) =>
      Effect.fromOption(
        parse(text),
        () => wrong(`${variableOf(name)}: expected ${expected}; got "${text}"`)
      )
    )
  )

/** An option whose text, wherever it comes from, is read by `parse`. */
const flag = <A>(
  name: string,
  metavar: string,
  description: string,
  fallback: string,
  parse: (text: string) => Option.Option<A>,
  expected: string
): Setting<A> => ({
  flag: Flag.String(name).pipe(
    Flag.withMetavar(metavar),
    Flag.withFallbackConfig(Config.String(variableOf(name))),
    Flag.withDefault(fallback),
    Flag.withDescription(`${description} (${variableOf(name)}, ${fallback})`),
    Flag.filterMap(parse, (text) => `${expected}; got "${text}" from the flag or ${variableOf(name)}`)
  ),
  config: variable(name, fallback, parse, expected)
})

/** Bytes, such as `10GiB`, `500MB` or `65536`. */
const bytes = (minimum: number, maximum = Number.MAX_SAFE_INTEGER) => (text: string): Option.Option<number> => {
  const size = /^\d+$/.test(text.trim()) ? Option.some(Number(text)) : Option.map(ByteSize.fromString(text), Number)
  return Option.filter(size, (size) => size >= minimum && size <= maximum)
}

const SIZE = "a size such as 10GiB, 500MB or 65536"

const sizeText = (size: number): string => ByteSize.format(ByteSize.bytes(size)).replace(" ", "")

const sizeFlag = (name: string, description: string, fallback: string, parse = bytes(0), expected = SIZE) =>
  flag(name, "SIZE", description, fallback, parse, expected)

/** Timers of Node's cannot be set for longer, in milliseconds. */
const MAX_DURATION_MILLIS = 24 * 24 * 3600 * 1000

/** Milliseconds, from `250ms`, `1s` or `5m`. A bare number could be of seconds as well. */
const milliseconds = (text: string): Option.Option<number> => {
  const match = /^(\d{1,9})ms$/.exec(text.trim())
  const millis = match === null ? TtlRule.parseDuration(text) : Number(match[1])
  return Option.filter(Option.fromNullishOr(millis), (millis) => millis > 0 && millis <= MAX_DURATION_MILLIS)
}

const durationFlag = (name: string, description: string, fallback: string) =>
  flag(name, "DURATION", description, fallback, milliseconds, "a duration such as 250ms, 30s or 5m, at most 24d")

const count = (text: string): Option.Option<number> =>
  Option.filter(Option.some(Number(text)), (count) => /^\d{1,7}$/.test(text.trim()) && count > 0)

const countFlag = (name: string, description: string, fallback: string, maximum = 9_999_999) =>
  flag(
    name,
    "NUMBER",
    description,
    fallback,
    (text) => Option.filter(count(text), (count) => count <= maximum),
    `a number from 1 to ${maximum}`
  )

/** How many workers there may be. */
const MAX_WORKERS = 64

const nonEmpty = Option.liftPredicate((text: string) => text !== "")

const words = (text: string): ReadonlyArray<string> => text.split(/\s+/).filter((word) => word !== "")

/** The variable of an option that may be given several times: a list, separated by spaces. */
const wordsOf = (name: string): Config.Config<ReadonlyArray<string>> =>
  Config.String(variableOf(name)).pipe(Config.withDefault(""), Config.map(words))

/** An option that may be given several times, each text of which is read by `parse`. */
const list = <A>(
  name: string,
  metavar: string,
  description: string,
  parse: (text: string) => A | undefined,
  expected: string
): Setting<ReadonlyArray<A>> => {
  const each = <E>(texts: ReadonlyArray<string>, fail: (value: string) => E) =>
    Effect.forEach(texts, (text) => {
      const parsed = parse(text)
      return parsed === undefined ? Effect.fail(fail(text)) : Effect.succeed(parsed)
    })
  return {
    flag: Flag.String(name).pipe(
      Flag.withMetavar(metavar),
      Flag.atLeast(0),
      Flag.withDescription(`${description} (${variableOf(name)}, repeatable)`),
      Flag.mapEffect(Effect.fnUntraced(function*(given) {
        const texts = given.length > 0 ? given : yield* Effect.orDie(wordsOf(name))
        return yield* each(texts, (value) => {
          const told = `${expected}; got "${value}" from the flag or ${variableOf(name)}`
          return new CliError.InvalidValue({ option: name, value, expected: told, kind: "flag" })
        })
      }))
    ),
    config: Config.mapEffect(
      wordsOf(name),
      (texts) => each(texts, (text) => wrong(`${variableOf(name)}: expected ${expected}; got "${text}"`))
    )
  }
}

const boolean = (text: string): Option.Option<boolean> => {
  const value = text.trim().toLowerCase()
  return value === "true" || value === "false" ? Option.some(value === "true") : Option.none()
}

/** On or off; the variable says `true` or `false`. */
const toggle = (name: string, description: string): Setting<boolean> => ({
  flag: Flag.Boolean(name).pipe(
    Flag.optional,
    Flag.withDescription(`${description} (${variableOf(name)}, false)`),
    Flag.mapEffect(Effect.fnUntraced(function*(given) {
      if (Option.isSome(given)) return given.value
      const value = yield* Effect.orDie(Config.String(variableOf(name)).pipe(Config.withDefault("false")))
      const expected = `true or false in ${variableOf(name)}`
      return yield* Effect.fromOption(
        boolean(value),
        () => new CliError.InvalidValue({ option: name, value, expected, kind: "flag" })
      )
    }))
  ),
  config: variable(name, "false", boolean, "true or false")
})

/** Hosts are letters that a `Host` field has; a wrong one would only never match. */
const HOST = /^(?:\*\.)?[a-z0-9.-]+(?::\d{1,5})?$|^\[[0-9a-f:.]+\](?::\d{1,5})?$/i

const settings = {
  host: flag("host", "ADDRESS", "Address to listen on", "127.0.0.1", nonEmpty, "an address"),
  port: flag(
    "port",
    "PORT",
    "Port to listen on, 0 for any free port",
    "8080",
    (text) => Option.filter(Option.some(Number(text)), (port) => /^\d{1,5}$/.test(text) && port < 65536),
    "a port from 0 to 65535"
  ),
  directory: flag("cache-dir", "DIRECTORY", "Directory of the cache", defaults.directory, nonEmpty, "a directory"),
  maxSize: sizeFlag(
    "max-size",
    "Maximum size of the cache on disk",
    "10GiB",
    bytes(CHUNK_SIZE.minimum * 4),
    `${SIZE}, at least 256KiB`
  ),
  minFree: sizeFlag("min-free", "Disk space to keep free", "1GiB"),
  chunkSize: sizeFlag(
    "chunk-size",
    "Size of a chunk",
    "1MiB",
    bytes(CHUNK_SIZE.minimum, CHUNK_SIZE.maximum),
    `${SIZE}, from ${sizeText(CHUNK_SIZE.minimum)} to ${sizeText(CHUNK_SIZE.maximum)}`
  ),
  memory: sizeFlag("memory", "Maximum size of the cache in memory", "256MiB"),
  readDeadline: durationFlag(
    "read-deadline",
    "Time to wait for a chunk from disk before the origin takes over",
    "250ms"
  ),
  ttl: list(
    "ttl",
    "RULE",
    "Freshness of files: 1h if the origin doesn't say, /live/*=2s whatever it says",
    TtlRule.parse,
    "a duration such as 1h, or a path and a duration such as /live/*=2s"
  ),
  ignoreCookies: list(
    "ignore-cookies",
    "PATTERN",
    "Paths where responses don't depend on cookies, such as /films/*: the origin doesn't get them",
    (text) => text.startsWith("/") ? text : undefined,
    "a path such as /films/*"
  ),
  credentialFields: list(
    "credential-field",
    "NAME",
    "A request field that is a credential, like Authorization and X-Api-Key",
    (text) => isFieldName(text.toLowerCase()) ? text.toLowerCase() : undefined,
    "the name of a header field"
  ),
  offline: toggle("offline", "Serve cached content without asking the origin, however old it is"),
  // Read later: a wrong one may have a password in it, which is not to be shown.
  origins: list("origin", "ROUTE", "Another origin, as /prefix=URL or host=URL", (text) => text, "a route"),
  urlHosts: list(
    "url-host",
    "HOST",
    "A host whose URLs clients may request with /_spillway/url?url=, such as media.example.org or *.example.org",
    (text) => HOST.test(text) ? text.toLowerCase() : undefined,
    "a host such as media.example.org, media.example.org:8443 or *.example.org"
  ),
  allowPrivate: toggle("allow-private", "Allow hosts of --url-host to have loopback and private addresses"),
  connectTimeout: durationFlag("connect-timeout", "Maximum time to connect to an origin", "10s"),
  firstByteTimeout: durationFlag("first-byte-timeout", "Maximum time until an origin begins its response", "30s"),
  silenceTimeout: durationFlag("silence-timeout", "Maximum time between two reads of an origin's body", "30s"),
  maxRequests: countFlag("origin-requests", "Maximum concurrent requests to one origin", "256"),
  maxConnections: countFlag("max-connections", "Maximum client connections", "4096"),
  maxStreams: countFlag("max-streams", "Maximum responses that are fetched or streamed at a time", "2048"),
  idleTimeout: durationFlag(
    "idle-timeout",
    "Close a connection after this long without progress in either direction",
    "5m"
  ),
  headerTimeout: durationFlag(
    "header-timeout",
    "Maximum time to receive a request header",
    "30s"
  ),
  workers: countFlag(
    "workers",
    "Processes that serve clients; with 2 or more, another process owns the disk and the origins",
    "1",
    MAX_WORKERS
  ),
  // Read later, as origins are.
  otlp: {
    flag: Flag.String("otlp").pipe(
      Flag.withMetavar("URL"),
      Flag.withFallbackConfig(Config.String(variableOf("otlp"))),
      Flag.optional,
      Flag.withDescription(
        `OpenTelemetry collector for traces and metrics, such as http://localhost:4318 (${variableOf("otlp")})`
      )
    ),
    config: Config.option(Config.String(variableOf("otlp")))
  }
}

type Settings = typeof settings

const parts = <Part extends keyof Setting<unknown>>(part: Part) =>
  Object.fromEntries(Object.entries(settings).map(([name, setting]) => [name, setting[part]])) as unknown as {
    readonly [Name in keyof Settings]: Settings[Name][Part]
  }

/** The options as flags. */
export const serveFlags = parts("flag")

/** The options as variables. */
export const serveConfig = parts("config")
