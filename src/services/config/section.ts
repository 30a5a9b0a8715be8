import { Schema } from "effect"
import { expecting } from "./fileValues.ts"

/**
 * Tables of a configuration file, whose keys have descriptions.
 */

/** A key of a table: its value, and what it is in Markdown. */
interface Key<S extends Schema.Constraint> {
  readonly value: S
  readonly help: string
}

/** A key that may be omitted. */
export const optional = <S extends Schema.Constraint>(value: S, help: string): Key<Schema.optionalKey<S>> => ({
  value: Schema.optionalKey(value),
  help
})

/** A key that may not. */
export const required = <S extends Schema.Constraint>(value: S, help: string): Key<S> => ({ value, help })

/** The annotation with the descriptions of the keys of a table, which JSON Schema has at each of them. */
const DESCRIPTIONS = "descriptions"

/** The schema of a table. */
export const section = <Keys extends Readonly<Record<string, Key<Schema.Constraint>>>>(keys: Keys) => {
  const names = Object.keys(keys)
  const values = Object.fromEntries(names.map((name) => [name, keys[name]!.value])) as {
    readonly [Name in keyof Keys]: Keys[Name]["value"]
  }
  const descriptions = Object.fromEntries(names.map((name) => [name, keys[name]!.help]))
  return Schema.Struct(values).annotate({ ...expecting("a table"), [DESCRIPTIONS]: descriptions })
}

/** A JSON Schema, as far as it is read here. */
export interface JsonSchema {
  readonly type?: string
  readonly properties?: Readonly<Record<string, JsonSchema>>
  readonly items?: JsonSchema
  readonly anyOf?: ReadonlyArray<JsonSchema>
  readonly description?: string | undefined
  readonly writeOnly?: boolean
  readonly [DESCRIPTIONS]?: Readonly<Record<string, string>>
}

/** `schema` with the description of each key at the key. */
const described = (
  { [DESCRIPTIONS]: descriptions = {}, anyOf, items, properties, ...rest }: JsonSchema
): JsonSchema => ({
  ...rest,
  ...(anyOf !== undefined && { anyOf: anyOf.map(described) }),
  ...(items !== undefined && { items: described(items) }),
  ...(properties !== undefined && {
    properties: Object.fromEntries(
      Object.entries(properties).map((
        [name, value]
      ) => [name, { description: descriptions[name], ...described(value) }])
    )
  })
})

/** The JSON Schema of a table, with descriptions. */
export const jsonSchemaOf = (schema: Schema.Constraint): JsonSchema =>
  described(
    Schema.toJsonSchemaDocument(schema, {
      onExcessProperty: "error",
      includeAnnotationKey: (key) => key === DESCRIPTIONS
    }).schema
  )
