import { isFor, matches, type PathRule } from "./TtlRule.ts"

/**
 * Which query parameters identify a file.
 */

/**
 * What the query contributes to the cache key at some paths. Without `ignore` and `keep`, all parameters are part of the key. In names, `*`
 * stands for any characters.
 */
export interface CacheKeyRule extends PathRule {
  /** The parameters that are not part of the key, such as tokens. Case-sensitive. */
  readonly ignore?: ReadonlyArray<string>
  /** The only parameters that are part of the key. In any case, because some origins ignore it. */
  readonly keep?: ReadonlyArray<string>
  /** Whether the key has the parameters in the order of their names. Those of one name keep their order. */
  readonly sort?: boolean
}

const WORD = /^(ignore|keep)=([^,]+(?:,[^,]+)*)$/

/** A rule as it is written on the command line: `/films/* ignore=token,utm_*`, `/covers/* keep=v,id sort`, or `/api/* sort`. */
export const parse = (text: string): CacheKeyRule | undefined => {
  const [pattern = "", ...words] = text.trim().split(/\s+/)
  if (!pattern.startsWith("/") || words.length === 0) return undefined
  const parts: Partial<Record<string, ReadonlyArray<string> | true>> = {}
  for (const word of words) {
    const [, kind = word, names] = WORD.exec(word) ?? []
    if ((names === undefined && word !== "sort") || kind in parts) return undefined
    parts[kind] = names === undefined ? true : names.split(",")
  }
  return "ignore" in parts && "keep" in parts ? undefined : { pattern, ...parts }
}

/** A rule as `parse` reads it. */
export const format = ({ ignore, keep, pattern, sort = false }: CacheKeyRule): string =>
  [
    pattern,
    ...ignore === undefined ? [] : [`ignore=${ignore.join(",")}`],
    ...keep === undefined ? [] : [`keep=${keep.join(",")}`],
    ...sort ? ["sort"] : []
  ].join(" ")

/** The name of a parameter as an origin decodes it. */
const nameOf = (parameter: string): string => {
  const name = parameter.split("=", 1)[0]!.replaceAll("+", " ")
  try {
    return decodeURIComponent(name)
  } catch {
    return name
  }
}

const isPartOfKey = ({ ignore = [], keep }: CacheKeyRule, parameter: string): boolean => {
  // Some origins separate parameters at a semicolon too, and would find another one in this.
  if (parameter.includes(";")) return true
  const name = nameOf(parameter)
  if (keep === undefined) return !ignore.some((pattern) => matches(pattern, name))
  return keep.some((pattern) => matches(pattern.toLowerCase(), name.toLowerCase()))
}

const byName = (a: string, b: string): number => {
  const [first, second] = [nameOf(a), nameOf(b)]
  return first < second ? -1 : first > second ? 1 : 0
}

const parametersOf = ({ search }: URL): ReadonlyArray<string> =>
  search.slice(1).split("&").filter((parameter) => parameter !== "")

const ruleFor = (rules: ReadonlyArray<CacheKeyRule>, url: URL): CacheKeyRule | undefined =>
  rules.find((rule) => isFor(rule, url))

/**
 * The key of `url`: the URL without user, password and fragment, with the query as the first rule says whose pattern matches the path.
 * Parameters stay as they are written.
 */
export const cacheKey = (rules: ReadonlyArray<CacheKeyRule>, url: URL): string => {
  const file = `${url.protocol}//${url.host}${url.pathname}`
  const rule = ruleFor(rules, url)
  if (rule === undefined) return file + url.search
  const parameters = parametersOf(url).filter((parameter) => isPartOfKey(rule, parameter))
  const ordered = rule.sort === true ? parameters.toSorted(byName) : parameters
  return ordered.length === 0 ? file : `${file}?${ordered.join("&")}`
}

/** The parameters of `url` that are not part of its key, as they are written. They may be one viewer's alone. */
export const ignoredParameters = (rules: ReadonlyArray<CacheKeyRule>, url: URL): ReadonlyArray<string> => {
  const rule = ruleFor(rules, url)
  return rule === undefined ? [] : parametersOf(url).filter((parameter) => !isPartOfKey(rule, parameter))
}
