import { Schema } from "effect"
import { expecting } from "./fileValues.ts"
import { RouteSection } from "./routeSection.ts"
import { type JsonSchema, jsonSchemaOf, optional, section } from "./section.ts"
import { fileSettings } from "./settings.ts"

/**
 * The schema of a configuration file: the options of `spillway serve`, by the names of their flags, and `[[route]]` sections.
 */

const settings = Object.fromEntries(
  Object.entries(fileSettings).map(([name, { help, value }]) => [name, optional(value, help)])
)

export const ConfigSchema = section({
  ...settings,
  route: optional(
    Schema.Array(RouteSection).annotate(expecting("sections that begin with [[route]]")),
    "A route: some requests, their origin, and how they are treated"
  )
})

/** The same for editors. */
export const jsonSchema: JsonSchema = jsonSchemaOf(ConfigSchema)
