import { ByteSize, LogLevel, Option } from "effect"
import { isIP } from "node:net"
import * as CacheKey from "../../domain/CacheKey.ts"
import { type FleetEngine, formatAddress, parseAddress, parseEngine } from "../../domain/FleetEngine.ts"
import { NODE_NAME } from "../../domain/FleetMember.ts"
import { MIN_SECRET_LENGTH, type Secrets } from "../../domain/FleetSignature.ts"
import { isFieldName } from "../../domain/rfc/HeaderFields.ts"
import { formatRoute, parseRoute, type Route } from "../../domain/Route.ts"
import * as TtlRule from "../../domain/TtlRule.ts"

/**
 * What the text of an option may be: its unit, its bounds, and how it is parsed.
 */
export interface SettingType<A> {
  /** The unit, as `--help` shows it: `SIZE`, `DURATION`. */
  readonly unit: string
  /** The valid texts, as error messages describe them. */
  readonly expected: string
  readonly parse: (text: string) => Option.Option<A>
  /** The text of a value, of which `parse` makes the same value; `String` if omitted. */
  readonly print?: (value: A) => string
  /** What it may be in a configuration file besides a text. */
  readonly native?: "number" | "boolean"
  /** What separates several of them in a variable; white space if omitted. */
  readonly separator?: RegExp
  /** Error messages don't show the text. */
  readonly isSecret?: boolean
  /** What is wrong with a text, without secrets, if that says more than `expected`. */
  readonly explain?: (text: string) => string
}

/** What is wrong with `text`, which is not of the type. */
export const mismatch = (
  { expected, explain, isSecret = false }: Pick<SettingType<unknown>, "expected" | "explain" | "isSecret">,
  text: string
): string => explain?.(text) ?? `expected ${expected}${isSecret ? "" : `; got "${text}"`}`

/** The bounds of a chunk, in bytes. */
export const CHUNK_SIZE = { minimum: 64 * 1024, maximum: 64 * 1024 ** 2 }

/** The largest number of worker processes. */
const MAX_WORKERS = 64

/** The longest duration that Node's timers take, in milliseconds. */
const MAX_DURATION_MILLIS = 24 * 24 * 3600 * 1000

export const nonEmpty = Option.liftPredicate((text: string) => text !== "")

export const ADDRESS: SettingType<string> = { unit: "ADDRESS", expected: "an address", parse: nonEmpty }

export const DIRECTORY: SettingType<string> = { unit: "DIRECTORY", expected: "a directory", parse: nonEmpty }

export const PORT: SettingType<number> = {
  unit: "PORT",
  native: "number",
  expected: "a port from 0 to 65535",
  parse: (text) => Option.filter(Option.some(Number(text)), (port) => /^\d{1,5}$/.test(text) && port < 65536)
}

/** Writes a size as options do: `64KiB`. */
export const sizeText = (bytes: number): string => ByteSize.format(ByteSize.bytes(bytes)).replace(" ", "")

/** Bytes, from `10GiB`, `500MB` or `65536`. */
const sizeWithin = (minimum: number, maximum: number, bounds: string): SettingType<number> => ({
  unit: "SIZE",
  native: "number",
  expected: `a size such as 10GiB, 500MB or 65536${bounds}`,
  parse: (text) => Option.filter(parseSize(text), (size) => size >= minimum && size <= maximum),
  // `1.46 MiB` would be another size.
  print: (bytes) => Option.contains(parseSize(sizeText(bytes)), bytes) ? sizeText(bytes) : String(bytes)
})

const parseSize = (text: string): Option.Option<number> =>
  /^\d+$/.test(text.trim())
    ? Option.some(Number(text))
    // `10G` is 10 GiB, as for many servers.
    : Option.map(
      ByteSize.fromString(
        text.trim().replace(/^(\d+) ?([KMGTP])$/i, (_, count, unit) => `${count}${unit.toUpperCase()}iB`)
      ),
      Number
    )

export const SIZE = sizeWithin(0, Number.MAX_SAFE_INTEGER, "")

/** The size of a cache, which has room for four of the smallest chunks. */
export const CACHE_SIZE = sizeWithin(
  4 * CHUNK_SIZE.minimum,
  Number.MAX_SAFE_INTEGER,
  `, at least ${sizeText(4 * CHUNK_SIZE.minimum)}`
)

export const CHUNK = sizeWithin(
  CHUNK_SIZE.minimum,
  CHUNK_SIZE.maximum,
  `, from ${sizeText(CHUNK_SIZE.minimum)} to ${sizeText(CHUNK_SIZE.maximum)}`
)

/** Milliseconds, from `250ms`, `1s` or `5m`. A number without a unit is refused: it could mean seconds as well. */
export const DURATION: SettingType<number> = {
  unit: "DURATION",
  expected: "a duration such as 250ms, 30s, 5m or 1hour, at most 24d",
  parse: (text) => {
    const match = /^(\d{1,9})ms$/.exec(text.trim())
    const millis = match === null ? TtlRule.parseDuration(text) : Number(match[1])
    return Option.filter(Option.fromNullishOr(millis), (millis) => millis > 0 && millis <= MAX_DURATION_MILLIS)
  },
  print: TtlRule.formatDuration
}

const countTo = (maximum: number): SettingType<number> => ({
  unit: "NUMBER",
  native: "number",
  expected: `a number from 1 to ${maximum}`,
  parse: (text) =>
    Option.filter(
      Option.some(Number(text)),
      (count) => /^\d{1,7}$/.test(text.trim()) && count > 0 && count <= maximum
    )
})

export const COUNT = countTo(9_999_999)

export const WORKERS = countTo(MAX_WORKERS)

/** Concurrent requests for one file. */
export const PARALLEL = countTo(8)

/** What an active check asks for. */
export const CHECK_PATH: SettingType<string> = {
  unit: "PATH",
  expected: "a path such as /health",
  parse: Option.liftPredicate((text) => /^\/[^\s#]*$/.test(text))
}

/** The shortest time between two active checks, in milliseconds. */
const MIN_CHECK_MILLIS = 1000

/** How often an origin is checked. */
export const CHECK_INTERVAL: SettingType<number> = {
  ...DURATION,
  expected: "a duration such as 10s or 5m, at least 1s",
  parse: (text) => Option.filter(DURATION.parse(text), (millis) => millis >= MIN_CHECK_MILLIS)
}

/** What becomes of redirects. */
export const REDIRECTS: SettingType<"follow" | "pass"> = {
  unit: "REDIRECTS",
  expected: "follow or pass",
  parse: (text) => text === "follow" || text === "pass" ? Option.some(text) : Option.none()
}

/** A size, or `Infinity` for whole files. */
export const READ_AHEAD: SettingType<number> = {
  ...SIZE,
  expected: "a size such as 64MiB, or all",
  parse: (text) => text.trim() === "all" ? Option.some(Number.POSITIVE_INFINITY) : SIZE.parse(text),
  print: (bytes) => bytes === Number.POSITIVE_INFINITY ? "all" : SIZE.print!(bytes)
}

/** A duration that timers can tell apart, or 0 for never. */
export const HEDGE_AFTER: SettingType<number> = {
  ...DURATION,
  expected: "a duration of 100ms or more, or off",
  parse: (text) =>
    text.trim() === "off" ? Option.some(0) : Option.filter(DURATION.parse(text), (millis) => millis >= 100),
  print: (millis) => millis === 0 ? "off" : DURATION.print!(millis)
}

export const BOOLEAN: SettingType<boolean> = {
  unit: "BOOLEAN",
  native: "boolean",
  expected: "true or false",
  parse: (text) => {
    const value = text.trim().toLowerCase()
    return value === "true" || value === "false" ? Option.some(value === "true") : Option.none()
  }
}

export const TTL: SettingType<TtlRule.TtlRule> = {
  unit: "RULE",
  expected: "a duration such as 1h, or a path and a duration such as /live/*=2s",
  parse: (text) => Option.fromNullishOr(TtlRule.parse(text)),
  print: TtlRule.format
}

export const PATH_PATTERN: SettingType<string> = {
  unit: "PATTERN",
  expected: "a path such as /films/*",
  parse: Option.liftPredicate((text) => text.startsWith("/"))
}

/** Its words have spaces between them, so the next rule begins where a path does. */
export const CACHE_KEY: SettingType<CacheKey.CacheKeyRule> = {
  unit: "RULE",
  expected: "a path and what the query contributes, such as /films/* ignore=token,utm_* or /covers/* keep=v,id sort",
  separator: /\s+(?=\/)/,
  parse: (text) => Option.fromNullishOr(CacheKey.parse(text)),
  print: CacheKey.format
}

/** The name of a header field, in lower case. */
export const FIELD: SettingType<string> = {
  unit: "NAME",
  expected: "the name of a header field",
  parse: (text) => Option.filter(Option.some(text.toLowerCase()), isFieldName)
}

/** Characters that a `Host` field can have; a host with any other would never match. */
export const HOST_PATTERN = /^(?:\*\.)?[a-z0-9.-]+(?::\d{1,5})?$|^\[[0-9a-f:.]+\](?::\d{1,5})?$/i

export const HOST: SettingType<string> = {
  unit: "HOST",
  expected: "a host such as media.example.org, media.example.org:8443 or *.example.org",
  parse: (text) => HOST_PATTERN.test(text) ? Option.some(text.toLowerCase()) : Option.none()
}

/** An address or a network in CIDR notation. */
export const NETWORK: SettingType<string> = {
  unit: "NETWORK",
  expected: "an address or a network, such as 127.0.0.1 or 10.0.0.0/8",
  parse: (text) => {
    const [, address = "", prefix = "0"] = /^([^/]+)(?:\/(\d{1,3}))?$/.exec(text) ?? []
    const family = isIP(address)
    return family !== 0 && Number(prefix) <= (family === 4 ? 32 : 128) ? Option.some(text) : Option.none()
  }
}

export const ROUTE: SettingType<Route> = {
  unit: "ROUTE",
  expected: "a URL, or a path or host with a URL, such as /films=https://films.example.org",
  parse: (text) => Option.liftPredicate(parseRoute(text), (route) => typeof route !== "string"),
  print: formatRoute,
  explain: (text) => String(parseRoute(text))
}

/** An HTTP URL without a password or a query. */
export const COLLECTOR: SettingType<URL> = {
  unit: "URL",
  expected: "an http or https URL without a password or query, such as http://localhost:4318",
  parse: (text) =>
    Option.filter(
      Option.fromNullishOr(URL.parse(text)),
      (url) => /^https?:$/.test(url.protocol) && url.username + url.password + url.search === ""
    ),
  isSecret: true
}

/** Only these characters can be sent in a header field. */
export const TOKEN: SettingType<string> = {
  unit: "TOKEN",
  expected: "visible ASCII characters without spaces",
  parse: Option.liftPredicate((text) => /^[\x21-\x7e]*$/.test(text)),
  isSecret: true
}

/** Where the access log goes: nowhere, to standard error, or to the end of a file. */
export const ACCESS_LOG: SettingType<"off" | "stderr" | { readonly file: string }> = {
  unit: "TARGET",
  expected: "off, stderr or a file",
  parse: (text) =>
    text === "" ? Option.none() : Option.some(text === "off" || text === "stderr" ? text : { file: text }),
  print: (target) => typeof target === "string" ? target : target.file
}

export const ACCESS_LOG_FORMAT: SettingType<"json" | "combined"> = {
  unit: "FORMAT",
  expected: "json or combined",
  parse: (text) => text === "json" || text === "combined" ? Option.some(text) : Option.none()
}

export const LEVEL: SettingType<LogLevel.LogLevel> = {
  unit: "LEVEL",
  expected: `one of ${LogLevel.values.map((level) => level.toLowerCase()).join(", ")}`,
  parse: (text) =>
    Option.fromNullishOr(LogLevel.values.find((level) => level.toLowerCase() === text.trim().toLowerCase())),
  print: (level) => level.toLowerCase()
}

/** Its URL may have a password. */
export const ENGINE: SettingType<FleetEngine> = {
  unit: "ENGINE",
  expected: "redis://host:6379, rediss://host:6379, dns://name:port or list:name=host:port,…",
  parse: (text) => Option.fromNullishOr(parseEngine(text)),
  isSecret: true
}

export const NODE: SettingType<string> = {
  unit: "NAME",
  expected: "a name of letters, digits, dots and hyphens, at most 63",
  parse: Option.liftPredicate((text) => NODE_NAME.test(text))
}

export const HOST_AND_PORT: SettingType<{ readonly host: string; readonly port: number }> = {
  unit: "ADDRESS",
  expected: "an address with a port, such as 10.0.0.1:8471 or [fd00::1]:8471",
  parse: (text) => Option.fromNullishOr(parseAddress(text)),
  print: formatAddress
}

export const WEIGHT: SettingType<number> = {
  unit: "NUMBER",
  native: "number",
  expected: "a number from 0 to 1000000, such as 2 or 0.5",
  parse: (text) =>
    Option.filter(
      Option.some(Number(text)),
      (weight) => /^\d{1,7}(?:\.\d{1,6})?$/.test(text.trim()) && weight <= 1_000_000
    )
}

/** The bounds of a stretch, in bytes. */
const STRETCH_SIZE = { minimum: 1024 ** 2, maximum: 1024 ** 4 }

export const STRETCH = sizeWithin(
  STRETCH_SIZE.minimum,
  STRETCH_SIZE.maximum,
  `, from ${sizeText(STRETCH_SIZE.minimum)} to ${sizeText(STRETCH_SIZE.maximum)}`
)

export const ISOLATED: SettingType<"serve" | "revalidate"> = {
  unit: "WORD",
  expected: "serve or revalidate",
  parse: (text) => text === "serve" || text === "revalidate" ? Option.some(text) : Option.none()
}

export const FILE: SettingType<string> = { unit: "FILE", expected: "a file", parse: nonEmpty }

/** One secret, or two with a space between them: the first signs, both verify. */
export const SECRETS: SettingType<Secrets> = {
  unit: "SECRET",
  expected: `one or two secrets of at least ${MIN_SECRET_LENGTH} visible ASCII characters, with a space between them`,
  parse: (text) => {
    const [first, ...others] = text.trim().split(/\s+/)
    const isValid = (secret: string) => secret.length >= MIN_SECRET_LENGTH && /^[\x21-\x7e]+$/.test(secret)
    return first !== undefined && others.length <= 1 && [first, ...others].every(isValid)
      ? Option.some([first, ...others])
      : Option.none()
  },
  isSecret: true
}
