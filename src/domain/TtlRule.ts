import { isUrlBelow } from "./below.ts"
import type { Ttl } from "./rfc/Freshness.ts"

/**
 * What the people who run a cache say about freshness where the origin says nothing, or says it wrongly.
 */

/** Which URLs a rule is for. */
export interface PathRule {
  /** A path in which `*` stands for any characters. */
  readonly pattern: string
  /** The URL below which they are, if the rule is that of a route. */
  readonly below?: URL
}

/** How long files are fresh whose path matches. */
export interface TtlRule extends Omit<PathRule, "pattern"> {
  /** A path in which `*` stands for any characters; all paths without it. */
  readonly pattern: string | undefined
  readonly ttl: Ttl
}

const units: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600, d: 86_400 }

/** A duration such as `90s`, `15m`, `1h`, `7d`, `30min` or `1hour`, in milliseconds. */
export const parseDuration = (text: string): number | undefined => {
  const match = /^(\d{1,9})(?:([smhd])|(s)ec(?:ond)?s?|(m)in(?:ute)?s?|(h)ours?|(d)ays?)$/.exec(text.trim())
  if (match === null) return undefined
  const [, count, ...letters] = match
  return Number(count) * units[letters.find((letter) => letter !== undefined)!]! * 1000
}

/** The same of milliseconds, in the largest unit that needs no fraction; `250ms` if there is no such unit. */
export const formatDuration = (millis: number): string => {
  const unit = ["d", "h", "m", "s"].find((unit) =>
    millis >= 1000 * units[unit]! && millis % (1000 * units[unit]!) === 0
  )
  return unit === undefined ? `${millis}ms` : `${millis / (1000 * units[unit]!)}${unit}`
}

/** `1h` holds for what the origin gives no freshness; `/live/*=2s` holds for these paths, regardless of the origin. */
export const parse = (text: string): TtlRule | undefined => {
  const at = text.lastIndexOf("=")
  const pattern = at < 0 ? undefined : text.slice(0, at).trim()
  const lifetime = parseDuration(text.slice(at + 1))
  if (lifetime === undefined || (pattern !== undefined && !pattern.startsWith("/"))) return undefined
  return { pattern, ttl: { lifetime, override: pattern !== undefined } }
}

/** A rule as `parse` reads it. */
export const format = ({ pattern, ttl }: TtlRule): string =>
  (pattern === undefined ? "" : `${pattern}=`) + formatDuration(ttl.lifetime)

/** Whether `path` is `pattern`, in which `*` stands for any characters. Takes the first place that fits, so never long. */
export const matches = (pattern: string, path: string): boolean => {
  const [first = "", ...rest] = pattern.split("*")
  if (rest.length === 0) return path === pattern
  const last = rest.pop()!
  if (!path.startsWith(first) || path.length < first.length + last.length || !path.endsWith(last)) return false
  let at = first.length
  for (const part of rest) {
    const found = path.indexOf(part, at)
    if (found < 0 || found + part.length > path.length - last.length) return false
    at = found + part.length
  }
  return at <= path.length - last.length
}

/** Whether a rule is for `url`. */
export const isFor = ({ below, pattern }: PathRule, url: URL): boolean =>
  (below === undefined || isUrlBelow(below, url)) && matches(pattern, url.pathname)

/** Whether one of `rules`, which may be patterns alone, is for `url`. */
export const matchesAny = (rules: ReadonlyArray<string | PathRule>, url: string): boolean => {
  const parsed = rules.length === 0 ? null : URL.parse(url)
  return parsed !== null && rules.some((rule) => isFor(typeof rule === "string" ? { pattern: rule } : rule, parsed))
}

/** The rule for the file at `url`: the first whose pattern matches, else the first without a pattern. */
export const ttlOf = (rules: ReadonlyArray<TtlRule>, url: string): Ttl | undefined => {
  const parsed = rules.length === 0 ? null : URL.parse(url)
  if (parsed === null) return rules.find(({ below, pattern }) => below === undefined && pattern === undefined)?.ttl
  const fitting = rules.filter((rule) => isFor({ ...rule, pattern: rule.pattern ?? "*" }, parsed))
  return (fitting.find(({ pattern }) => pattern !== undefined) ?? fitting[0])?.ttl
}
