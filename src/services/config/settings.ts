import { Config, type Option, Struct } from "effect"
import { many, one, optional, optionalVariable, type Setting, toggle, variable, variableOf } from "./makeSetting.ts"
import * as Type from "./settingTypes.ts"

/**
 * The table of options. A row has the flag, the type with its unit and bounds, the default and the help text. The table makes the
 * flags of `spillway serve` with `--help`, the environment variables, the defaults of the config services, and the rows of README.
 *
 * A flag overrides its environment variable, which overrides the default. An application that embeds Spillway reads only variables.
 */

const { maximum, minimum } = Type.CHUNK_SIZE

const settings = {
  host: one("host", Type.ADDRESS, "127.0.0.1", "Address to listen on"),
  port: one("port", Type.PORT, "8080", "Port to listen on; 0 for any free port"),
  directory: one("cache-dir", Type.DIRECTORY, "./.spillway", "Directory of the cache"),
  maxSize: one("max-size", Type.CACHE_SIZE, "10GiB", "Maximum size of the cache on disk"),
  minFree: one("min-free", Type.SIZE, "1GiB", "Disk space to keep free, 0 or more"),
  chunkSize: one(
    "chunk-size",
    Type.CHUNK,
    "1MiB",
    `Size of a chunk, ${Type.sizeText(minimum)} to ${Type.sizeText(maximum)}`
  ),
  memory: one("memory", Type.SIZE, "256MiB", "Maximum size of the cache in memory"),
  readDeadline: one(
    "read-deadline",
    Type.DURATION,
    "250ms",
    "Time to wait for a chunk from disk before the origin takes over"
  ),
  ttl: many(
    "ttl",
    Type.TTL,
    "Freshness of files: `1h` if the origin doesn't say, `/live/*=2s` regardless of the origin"
  ),
  cacheKey: many(
    "cache-key",
    Type.CACHE_KEY,
    "Query parameters that identify a file, by path: all but some (`/films/* ignore=token,utm_*`), only some (`/covers/* keep=v,id`), in any order (`/api/* sort`)"
  ),
  ignoreCookies: many(
    "ignore-cookies",
    Type.PATH_PATTERN,
    "Paths where responses don't depend on cookies, such as `/films/*`: GET and HEAD requests go to the origin without them"
  ),
  assumeUnchanged: many(
    "assume-unchanged",
    Type.PATH_PATTERN,
    "Paths where a file without a validator never changes while its size stays the same, such as `/library/*`"
  ),
  credentialFields: many(
    "credential-field",
    Type.FIELD,
    "A request field that is a credential, like `Authorization` and `X-Api-Key`"
  ),
  offline: toggle("offline", "Serve cached content without asking the origin, however old it is"),
  origins: many(
    "origin",
    Type.ROUTE,
    "Another origin, as `/prefix=URL` or `host=URL`; a directory has a URL such as `file:///mnt/films`"
  ),
  urlHosts: many(
    "url-host",
    Type.HOST,
    "A host whose URLs clients may request with `/_spillway/url?url=`, such as `media.example.org` or `*.example.org`"
  ),
  allowPrivate: toggle("allow-private", "Allow hosts of `--url-host` to have loopback and private addresses"),
  connectTimeout: one("connect-timeout", Type.DURATION, "10s", "Maximum time to connect to an origin"),
  firstByteTimeout: one("first-byte-timeout", Type.DURATION, "30s", "Maximum time until an origin begins its response"),
  silenceTimeout: one("silence-timeout", Type.DURATION, "30s", "Maximum time between two reads of an origin's body"),
  maxRequests: one("origin-requests", Type.COUNT, "256", "Maximum concurrent requests to one origin"),
  maxConnections: one("max-connections", Type.COUNT, "4096", "Maximum client connections; more get 503"),
  maxStreams: one(
    "max-streams",
    Type.COUNT,
    "2048",
    "Maximum responses that are fetched or streamed at a time; more get 503"
  ),
  idleTimeout: one(
    "idle-timeout",
    Type.DURATION,
    "5m",
    "Close a connection after this long without progress in either direction"
  ),
  trustedProxies: many(
    "trusted-proxy",
    Type.NETWORK,
    "A reverse proxy or network of them in front of Spillway, such as `127.0.0.1` or `10.0.0.0/8`, whose `X-Forwarded-…` fields are right"
  ),
  headerTimeout: one("header-timeout", Type.DURATION, "30s", "Maximum time to receive a request header"),
  workers: one(
    "workers",
    Type.WORKERS,
    "1",
    "Processes that serve clients; with 2 or more, another process owns the disk and the origins"
  ),
  accessLog: one(
    "access-log",
    Type.ACCESS_LOG,
    "stderr",
    "Log of requests: `off`, `stderr` or a file, which is opened again if it is renamed"
  ),
  accessLogFormat: one(
    "access-log-format",
    Type.ACCESS_LOG_FORMAT,
    "json",
    "Format of the access log: `json` (text on a terminal) or `combined`, as Apache and nginx write it"
  ),
  otlp: optional(
    "otlp",
    Type.COLLECTOR,
    "OpenTelemetry collector for traces and metrics, such as `http://localhost:4318`"
  )
}

/** Those of a node in a fleet. */
const fleetSettings = {
  fleet: optional(
    "fleet",
    Type.ENGINE,
    "Act as one cache with other machines, which this engine lists: `redis://host:6379`, `dns://name:port` or `list:name=host:port,…`"
  ),
  fleetName: one("fleet-name", Type.NODE, "default", "Name of the fleet; several can share an engine"),
  node: optional("node", Type.NODE, "Name of this machine in its fleet, kept over restarts; the host name if omitted"),
  peerHost: optional("peer-host", Type.ADDRESS, "Address to listen on for the other machines; `--host` if omitted"),
  peerPort: one("peer-port", Type.PORT, "8471", "Port to listen on for the other machines"),
  advertise: optional(
    "advertise",
    Type.HOST_AND_PORT,
    "Address and port where the other machines find this one; an address of this machine if omitted"
  ),
  fleetWeight: optional(
    "fleet-weight",
    Type.WEIGHT,
    "How much this machine owns compared with the others, 0 for nothing; `--max-size` in GiB if omitted. For Redis only"
  ),
  stretch: one(
    "stretch",
    Type.STRETCH,
    "64MiB",
    "Size of the parts of files that one machine owns, a multiple of `--chunk-size`; the same on all machines"
  ),
  peerPatience: one("peer-patience", Type.DURATION, "2500ms", "Time until a silent machine counts as lost"),
  fleetSettle: one(
    "fleet-settle",
    Type.DURATION,
    "1h",
    "How long a machine asks former owners for what they have, after the list of machines has changed"
  ),
  fleetIsolated: one(
    "fleet-isolated",
    Type.ISOLATED,
    "serve",
    "What a machine does with fresh content if it reaches no other machine and no engine: `serve` or `revalidate`"
  ),
  peerTlsCert: optional("peer-tls-cert", Type.FILE, "Certificate of this machine for TLS between machines, in PEM"),
  peerTlsKey: optional("peer-tls-key", Type.FILE, "Key of this certificate"),
  peerTlsCa: optional("peer-tls-ca", Type.FILE, "Certificates of the authority that signs those of all machines")
}

const fleetSecret = optionalVariable(
  "fleet-secret",
  Type.SECRETS,
  "Secret that the machines of a fleet share, at least 32 characters; two with a space between them while it is replaced"
)

const adminToken = optionalVariable(
  "admin-token",
  Type.TOKEN,
  "Token for Spillway's own pages; without it they are available from this machine only"
)

const logLevel = variable(
  "log-level",
  Type.LEVEL,
  "info",
  "Lowest level that is logged: `all`, `trace`, `debug`, `info`, `warn`, `error`, `fatal` or `none`"
)

/** The file that sets options, too. */
export const configSetting = optional(
  "config",
  Type.FILE,
  "Configuration file in TOML with these options and `[[route]]` sections; flags and variables override it"
)

/** Those with a flag. */
const flagged = { ...settings, ...fleetSettings }

type Settings = typeof flagged & { readonly adminToken: typeof adminToken; readonly fleetSecret: typeof fleetSecret }

/** The value of each option. */
export type SettingValues = { readonly [Name in keyof Settings]: Settings[Name]["fallback"] }

/** The same, and that of the log level. */
export type AllValues = SettingValues & { readonly logLevel: typeof logLevel["fallback"] }

/** Those that configure services; the others configure the program. */
export type ServiceSettings = Omit<
  SettingValues,
  "host" | "port" | "workers" | "accessLog" | "accessLogFormat" | "otlp" | keyof FleetSettings
>

/** Those of a node in a fleet. */
type FleetSettings = typeof fleetSettings & { readonly fleetSecret: typeof fleetSecret }

/** The names of those that configure the program, not its services. */
export const programSettings = [
  "host",
  "port",
  "workers",
  "accessLog",
  "accessLogFormat",
  "otlp",
  "fleetSecret",
  ...Struct.keys(fleetSettings)
] as const

const parts = <Table extends object, Part extends keyof Table[keyof Table]>(table: Table, part: Part) =>
  Object.fromEntries(Object.entries(table).map(([name, setting]) => [name, setting[part]])) as unknown as {
    readonly [Name in keyof Table]: Table[Name][Part]
  }

/** The options as flags. Other users of a machine see flags, so secrets have none. */
export const serveFlags = parts(flagged, "flag")

/** The same without defaults: `undefined` if neither the flag nor its variable is given. */
export const givenFlags = parts(flagged, "given")

/** The options by their names in a configuration file, each with the name of its value. */
export const fileSettings: Readonly<
  Record<string, Setting<unknown> & { readonly key: keyof AllValues }>
> = Object.fromEntries(
  Object.entries({ ...flagged, adminToken, fleetSecret, logLevel }).map((
    [key, setting]
  ) => [setting.name, { ...setting, key: key as keyof AllValues }])
)

/** The options as environment variables. */
export const serveConfig = parts({ ...flagged, adminToken, fleetSecret }, "config")

/** The log level as an environment variable; its flag is that of all Effect programs. */
export const logLevelVariable: Config.Config<Option.Option<string>> = Config.option(
  Config.String(variableOf(logLevel.name))
)

/** The same with its default. */
export const logLevelConfig: typeof logLevel["config"] = logLevel.config

/** The defaults of all options. */
export const defaultSettings: SettingValues = parts({ ...flagged, adminToken, fleetSecret }, "fallback")

/** The same with that of the log level. */
export const defaultValues: AllValues = { ...defaultSettings, logLevel: logLevel.fallback }

const cell = (code: string | undefined): string => code === undefined ? "" : `\`${code}\``

/** The rows of the table in README: flag, variable, default and help. */
export const readmeRows: ReadonlyArray<string> = [
  configSetting,
  ...Object.values(flagged),
  fleetSecret,
  adminToken,
  logLevel
].map((setting) => {
  const { help, isRepeatable, name, text } = setting
  const flag = setting === adminToken || setting === fleetSecret ? undefined : `--${name}`
  const description = help.replace(/^[A-Z][a-z]*\b/, (word) => word.toLowerCase()) +
    (isRepeatable ? "; repeatable" : "")
  return ["|", cell(flag), "|", cell(variableOf(name)), "|", cell(text), "|", description, "|"]
    .filter((part) => part !== "").join(" ")
})
