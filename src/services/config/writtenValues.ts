import { jsonSchema } from "./configSchema.ts"
import { SECRET_TEXT } from "./makeSetting.ts"
import { schemasAt } from "./mistakes.ts"
import type { Path } from "./tomlDocument.ts"

/** A value of a configuration file, or the values of a list, as texts. */
export interface WrittenValue {
  /** The names that lead to it, with dots. */
  readonly name: string
  readonly values: ReadonlyArray<string>
}

/** A value as it may be shown. What the schema doesn't describe one by one, such as header fields, may be secret. */
const shown = (value: unknown, path: Path): string => {
  const schemas = schemasAt(jsonSchema, path)
  return schemas.length === 0 || schemas.some(({ writeOnly }) => writeOnly === true) ? SECRET_TEXT : String(value)
}

/** The value that a configuration file has at `path`, and those below it, without secrets. Names begin after the first `from` of the path. */
export const writtenValues = (value: unknown, path: Path, from: number): ReadonlyArray<WrittenValue> => {
  const name = path.slice(from).filter((key) => typeof key === "string").join(".")
  if (!(value instanceof Object)) return [{ name, values: [shown(value, path)] }]
  if (!Array.isArray(value)) {
    return Object.entries(value).flatMap(([key, inner]) => writtenValues(inner, [...path, key], from))
  }
  return value.some((element) => element instanceof Object)
    ? value.flatMap((element, i) => writtenValues(element, [...path, i], from))
    : [{ name, values: value.map((element, i) => shown(element, [...path, i])) }]
}
