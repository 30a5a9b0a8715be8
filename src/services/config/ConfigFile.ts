import { Data, Effect, Result, Schema } from "effect"
import type { Route } from "../../domain/Route.ts"
import { ConfigSchema, jsonSchema } from "./configSchema.ts"
import { type Mistake, mistakesOf } from "./mistakes.ts"
import { type CacheRules, routeOf, type RouteSection, rulesOf } from "./routeSection.ts"
import type { SecretSource } from "./SecretSource.ts"
import { type AllValues, fileSettings } from "./settings.ts"
import { parseDocument, type TomlDocument } from "./tomlDocument.ts"

/** What a configuration file says. */
export interface ConfigFile {
  /** The options of the program. */
  readonly settings: Partial<AllValues>
  /** Those of its sections. */
  readonly routes: ReadonlyArray<Route>
  /** The rules of its sections. Those for the longest URLs come first. */
  readonly rules: CacheRules
  /** The values as they are written, with references instead of secrets, unless a secret is written itself. */
  readonly written: Readonly<Record<string, unknown>>
}

/** A configuration file that can't be used. */
export class ConfigMistakes extends Data.TaggedError("ConfigMistakes")<{
  /** The path of the file. */
  readonly file: string
  readonly mistakes: ReadonlyArray<Mistake>
}> {
  /** One line for each mistake. */
  override get message(): string {
    return this.mistakes
      .map(({ key, line, message }) => `${this.file}:${line}: ${key === "" ? "" : `${key}: `}${message}`)
      .join("\n")
  }
}

const decode = Schema.decodeUnknownEffect(ConfigSchema, { errors: "all", onExcessProperty: "error" })

/** Sections for the same requests: only the first would be used. */
const repeated = (routes: ReadonlyArray<Route>, { lineOf }: TomlDocument): ReadonlyArray<Mistake> => {
  const lines = new Map<string, number>()
  return routes.flatMap(({ match }, i) => {
    const id = JSON.stringify(match)
    const line = lineOf(["route", i, "match"])
    const before = lines.get(id)
    if (before === undefined) lines.set(id, line)
    return before === undefined
      ? []
      : [{ line, key: "route.match", message: `the route in line ${before} is for the same requests` }]
  })
}

/** The rules of all sections. If a URL is below several, the rule of the longest counts. */
const allRules = (sections: ReadonlyArray<RouteSection>): CacheRules => {
  const rules = sections
    .map((section) => ({ rules: rulesOf(section), length: routeOf(section).url.href.length }))
    .toSorted((a, b) => b.length - a.length)
    .map(({ rules }) => rules)
  return {
    ttl: rules.flatMap(({ ttl }) => ttl),
    cacheKey: rules.flatMap(({ cacheKey }) => cacheKey),
    ignoreCookies: rules.flatMap(({ ignoreCookies }) => ignoreCookies),
    assumeUnchanged: rules.flatMap(({ assumeUnchanged }) => assumeUnchanged)
  }
}

/** Reads the text of a configuration file. Fails with all its mistakes; if it isn't TOML, with the first. */
export const parseConfig = Effect.fnUntraced(function*(
  text: string,
  file: string
): Effect.fn.Return<ConfigFile, ConfigMistakes, SecretSource> {
  const parsed = parseDocument(text)
  if (Result.isFailure(parsed)) {
    const { column, line, reason } = parsed.failure
    return yield* new ConfigMistakes({
      file,
      mistakes: [{ line, key: "", message: `not TOML: ${reason} in column ${column}` }]
    })
  }
  const document = parsed.success
  const { route: sections = [], ...rest } = yield* Effect.mapError(
    decode(document.value),
    ({ issue }) => new ConfigMistakes({ file, mistakes: mistakesOf(issue, document, jsonSchema) })
  )
  const routes = sections.map(routeOf)
  const mistakes = repeated(routes, document)
  if (mistakes.length > 0) return yield* new ConfigMistakes({ file, mistakes })
  const settings = Object.fromEntries(Object.entries(rest).map(([name, value]) => [fileSettings[name]!.key, value]))
  return { settings, routes, rules: allRules(sections), written: document.value }
})
