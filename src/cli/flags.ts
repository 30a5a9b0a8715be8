import { ByteSize, Config, Option } from "effect"
import { Flag } from "effect/cli"
import { CHUNK_SIZE, defaults } from "../services/CacheConfig.ts"

/**
 * The options of `spillway serve`: a flag, or else its variable, or else the default.
 */

const variableOf = (name: string): string => `SPILLWAY_${name.toUpperCase().replaceAll("-", "_")}`

/** A flag whose text, wherever it comes from, is read by `parse`. */
const flag = <A>(
  name: string,
  description: string,
  fallback: string,
  parse: (text: string) => Option.Option<A>,
  expected: string
) =>
  Flag.String(name).pipe(
    Flag.withFallbackConfig(Config.String(variableOf(name))),
    Flag.withDefault(fallback),
    Flag.withDescription(`${description} (${variableOf(name)}, ${fallback})`),
    Flag.filterMap(parse, (text) => `${expected}, but "${text}" was given by the flag or by ${variableOf(name)}`)
  )

/** Bytes, such as `10GiB`, `500MB` or `65536`. */
const bytes = (minimum: number, maximum = Number.MAX_SAFE_INTEGER) => (text: string): Option.Option<number> => {
  const size = /^\d+$/.test(text.trim()) ? Option.some(Number(text)) : Option.map(ByteSize.fromString(text), Number)
  return Option.filter(size, (size) => size >= minimum && size <= maximum)
}

/** Milliseconds, from `250ms`, `1s` or `250`. */
const milliseconds = (text: string): Option.Option<number> => {
  const match = /^(\d{1,9})(ms|s)?$/.exec(text.trim())
  if (match === null) return Option.none()
  return Option.liftPredicate(Number(match[1]) * (match[2] === "s" ? 1000 : 1), (millis) => millis > 0)
}

const SIZE = "a size such as 10GiB, 500MB or 65536"

const sizeText = (size: number): string => ByteSize.format(ByteSize.bytes(size)).replace(" ", "")

export const serveFlags = {
  host: flag("host", "Address to listen on", "127.0.0.1", Option.liftPredicate((text) => text !== ""), "an address"),
  port: flag(
    "port",
    "Port to listen on, 0 for any that is free",
    "8080",
    (text) => Option.filter(Option.some(Number(text)), (port) => /^\d{1,5}$/.test(text) && port < 65536),
    "a port from 0 to 65535"
  ),
  directory: flag(
    "cache-dir",
    "Where chunks are kept",
    defaults.directory,
    Option.liftPredicate((text) => text !== ""),
    "a directory"
  ),
  maxSize: flag(
    "max-size",
    "How much the cache may hold",
    "10GiB",
    bytes(CHUNK_SIZE.minimum * 4),
    `${SIZE}, at least 256KiB`
  ),
  minFree: flag("min-free", "How much of the disk is never taken", "1GiB", bytes(0), SIZE),
  chunkSize: flag(
    "chunk-size",
    "How much is cached as one piece",
    "1MiB",
    bytes(CHUNK_SIZE.minimum, CHUNK_SIZE.maximum),
    `${SIZE}, from ${sizeText(CHUNK_SIZE.minimum)} to ${sizeText(CHUNK_SIZE.maximum)}`
  ),
  memory: flag("memory", "How much is cached in memory", "256MiB", bytes(0), SIZE),
  readDeadline: flag(
    "read-deadline",
    "How long a viewer waits for a cached chunk before the origin takes over",
    "250ms",
    milliseconds,
    "a duration such as 250ms or 1s"
  )
}
