import type { HeaderFields } from "./HeaderFields.ts"
import { parseDictionary } from "./StructuredField.ts"

/**
 * The directives of `Cache-Control` and its kin (RFC 9111 §5.2, RFC 9213).
 */

/** Cache directives: names in lower case, each with its argument, `""` without one. */
export type Directives = ReadonlyMap<string, string>

const none: Directives = new Map()

const isBlank = (character: string | undefined): boolean => character === " " || character === "\t"

/** Where the quoted string that begins before `start` ends, or -1 where its closing quote is missing. */
const closingQuote = (field: string, start: number): number => {
  for (let at = start; at < field.length; at++) {
    if (field[at] === "\\") at++
    else if (field[at] === "\"") return at
  }
  return -1
}

/**
 * The directives of a `Cache-Control` field, in linear time. Of several of one name the first counts (RFC 9111 §4.2.1).
 * White space ends a directive as a comma does, and a quote that is never closed is a character like others: a mistake
 * does not hide the `no-store` behind it.
 */
export const parse = (field: string | undefined): Directives => {
  if (field === undefined || field === "") return none
  const directives = new Map<string, string>()
  let at = 0
  const skipBlanks = () => {
    while (isBlank(field[at])) at++
  }
  const takeUntil = (isEnd: (character: string) => boolean): string => {
    const start = at
    while (at < field.length && !isEnd(field[at]!)) at++
    return field.slice(start, at)
  }
  const takeArgument = (): string => {
    if (field[at] === "\"") {
      // Fails at most once in a field: behind a quote that is never closed, all quotes are escaped, so none opens.
      const end = closingQuote(field, at + 1)
      if (end !== -1) {
        const text = field.slice(at + 1, end)
        at = end + 1
        return text.includes("\\") ? text.replace(/\\(.)/gs, "$1") : text
      }
    }
    return takeUntil((character) => character === "," || isBlank(character))
  }
  while (at < field.length) {
    const name = takeUntil((character) => character === "," || character === "=" || isBlank(character)).toLowerCase()
    skipBlanks()
    let argument = ""
    if (field[at] === "=") {
      at++
      skipBlanks()
      argument = takeArgument()
    }
    if (name !== "" && !directives.has(name)) directives.set(name, argument)
    while (field[at] === "," || isBlank(field[at])) at++
  }
  return directives
}

/** Writes `directives` for `Cache-Control` or `CDN-Cache-Control`, without arguments that would need quotes. */
export const format = (directives: Directives): string =>
  [...directives].map(([name, argument]) => /^[\w.-]+$/.test(argument) ? `${name}=${argument}` : name).join(", ")

/** More seconds count as so many (RFC 9111 §1.2.2). */
const MAX_SECONDS = 2 ** 31

/** An argument of seconds, in milliseconds; `undefined` for what is not digits alone (RFC 9111 §1.2.2). */
export const deltaMillis = (argument: string | undefined): number | undefined =>
  argument !== undefined && /^\d+$/.test(argument) ? Math.min(Number(argument), MAX_SECONDS) * 1000 : undefined

/**
 * The directives of `CDN-Cache-Control`, where that is there, well-formed and not empty (RFC 9213 §2.1). Strings keep their
 * quotes, so that `max-age="60"` is as invalid as that field has it. Members that are false are left out.
 */
export const targetedDirectives = (headers: HeaderFields): Directives | undefined => {
  const field = headers["cdn-cache-control"]
  const members = field === undefined ? undefined : parseDictionary(field)
  if (members === undefined || members.size === 0) return undefined
  const directives = new Map<string, string>()
  for (const [name, value] of members) {
    if (value !== "?0") directives.set(name, value === "?1" ? "" : value)
  }
  return directives
}

/**
 * What an origin says to this cache: `CDN-Cache-Control` where it is valid, else `Cache-Control` (RFC 9213 §2.2). `Pragma`
 * means nothing in a response (RFC 9111 §5.4).
 */
export const responseDirectives = (headers: HeaderFields): Directives =>
  targetedDirectives(headers) ?? parse(headers["cache-control"])

/**
 * What a request asks of a cache (RFC 9111 §5.2.1, RFC 5861 §4). Milliseconds; `undefined` where nothing, or nothing valid,
 * is said. `maxStale` is `Infinity` without an argument.
 */
export interface RequestDirectives {
  readonly noCache: boolean
  readonly noStore: boolean
  readonly onlyIfCached: boolean
  readonly maxAge: number | undefined
  readonly minFresh: number | undefined
  readonly maxStale: number | undefined
  readonly staleIfError: number | undefined
}

/** What `Pragma: no-cache` says, and anyone who wants nothing but the origin's word. */
export const noCache: RequestDirectives = {
  noCache: true,
  noStore: false,
  onlyIfCached: false,
  maxAge: undefined,
  minFresh: undefined,
  maxStale: undefined,
  staleIfError: undefined
}

/** The directives of a request; `undefined` where there are none. `Pragma` counts without `Cache-Control` (RFC 9111 §5.4). */
export const requestDirectives = (headers: HeaderFields): RequestDirectives | undefined => {
  const field = headers["cache-control"]
  if (field === undefined) {
    const pragma = headers["pragma"]
    return pragma !== undefined && parse(pragma).has("no-cache") ? noCache : undefined
  }
  const directives = parse(field)
  if (directives.size === 0) return undefined
  const maxStale = directives.get("max-stale")
  return {
    noCache: directives.has("no-cache"),
    noStore: directives.has("no-store"),
    onlyIfCached: directives.has("only-if-cached"),
    maxAge: deltaMillis(directives.get("max-age")),
    minFresh: deltaMillis(directives.get("min-fresh")),
    maxStale: maxStale === "" ? Infinity : deltaMillis(maxStale),
    staleIfError: deltaMillis(directives.get("stale-if-error"))
  }
}
