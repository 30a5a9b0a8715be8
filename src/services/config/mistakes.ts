import { SchemaIssue } from "effect"
import { nearest } from "../../effects/nearest.ts"
import type { JsonSchema } from "./section.ts"
import type { Path, TomlDocument } from "./tomlDocument.ts"

/**
 * What is wrong with a configuration file, as lines for the person who has written it.
 */

/** Something wrong in a configuration file. */
export interface Mistake {
  readonly line: number
  /** The names that lead to the value, with dots; empty if the text isn't TOML. */
  readonly key: string
  /** What is wrong, without secrets. */
  readonly message: string
}

/** How much of a wrong value is shown, in characters. */
const MAX_SHOWN = 80

/** The schemas that a value at `path` may have. */
export const schemasAt = (schema: JsonSchema, path: Path): ReadonlyArray<JsonSchema> => {
  if (schema.anyOf !== undefined) return schema.anyOf.flatMap((one) => schemasAt(one, path))
  const [first, ...rest] = path
  if (first === undefined) return [schema]
  const next = typeof first === "number" ? schema.items : schema.properties?.[String(first)]
  return next === undefined ? [] : schemasAt(next, rest)
}

/** Says which key was probably meant by one that doesn't exist. */
const unknownKey = (schema: JsonSchema, path: Path): string => {
  const names = schemasAt(schema, path.slice(0, -1)).flatMap(({ properties = {} }) => Object.keys(properties))
  const meant = nearest(String(path.at(-1)), names)
  return meant === undefined ? "there is no such key" : `there is no such key; did you mean ${meant}?`
}

/** The value at `path`, as far as it may be shown. */
const shown = (schema: JsonSchema, value: unknown, path: Path): string => {
  if (schemasAt(schema, path).some(({ writeOnly }) => writeOnly === true)) return ""
  const found = path.reduce<unknown>((value, key) => Object(value)[key], value)
  // A table may have secrets in it.
  if (typeof found === "object") return ""
  const text = JSON.stringify(found)
  return `; got ${text.length > MAX_SHOWN ? `${text.slice(0, MAX_SHOWN)}…` : text}`
}

/** The path of a value as it is named in messages: without the positions in lists, since there is a line. */
const keyOf = (path: Path): string => path.filter((key) => typeof key === "string").join(".")

/** The marks of leaves whose messages need what is around them. */
const UNKNOWN = "unknown"
const MISSING = "it is missing"

const format = SchemaIssue.makeFormatterStandardSchemaV1({
  leafHook: (issue) =>
    issue._tag === "UnexpectedKey"
      ? UNKNOWN
      : issue._tag === "MissingKey"
      ? MISSING
      : SchemaIssue.defaultLeafHook(issue)
})

/** The mistakes of which an issue consists, in the order of their lines. */
export const mistakesOf = (
  issue: SchemaIssue.Issue,
  { lineOf, value }: TomlDocument,
  schema: JsonSchema
): ReadonlyArray<Mistake> =>
  format(issue).issues.map(({ message, path: keys = [] }) => {
    const path = keys.map((key) => typeof key === "object" ? key.key : key)
    const isOfType = message.startsWith("Expected ")
    const said = message === UNKNOWN ? unknownKey(schema, path) : message
    return {
      line: lineOf(path),
      key: keyOf(path),
      message: isOfType ? `e${said.slice(1)}${shown(schema, value, path)}` : said
    }
  }).toSorted((a, b) => a.line - b.line)
