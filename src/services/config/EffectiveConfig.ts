import { Context, Layer } from "effect"
import type { Route } from "../../domain/Route.ts"
import { originValues, policyValues } from "./policyValues.ts"
import { type AllValues, fileSettings } from "./settings.ts"
import { type WrittenValue, writtenValues } from "./writtenValues.ts"

/**
 * What is in effect in a program that runs, for its operators. Secrets are not shown.
 */

/** Where a value comes from. `code` is the application that embeds Spillway. */
export type ValueSource = "default" | "file" | "variable" | "flag" | "argument" | "code"

/** The values of an option, as they are written in a configuration file: none if it has no value, several if it is a list. */
export interface OptionValues {
  readonly values: ReadonlyArray<string>
  readonly source: ValueSource
}

/** An option by its name in a configuration file. */
export interface EffectiveOption extends OptionValues {
  readonly name: string
  /** What the file says now, if that has an effect after a restart only. */
  readonly afterRestart?: OptionValues
}

/** A route. The keys are those that its section has; all others have their defaults. */
export interface EffectiveRoute {
  readonly match: Route["match"]
  readonly source: ValueSource
  readonly origins: ReadonlyArray<{ readonly url: URL; readonly keys: ReadonlyArray<WrittenValue> }>
  readonly keys: ReadonlyArray<WrittenValue>
}

/** A whole configuration. */
export interface ConfigView {
  /** The configuration file, and when it was read, in milliseconds since 1970. */
  readonly file?: { readonly path: string; readonly readAt: number }
  readonly options: ReadonlyArray<EffectiveOption>
  /** In the order in which they are tried. */
  readonly routes: ReadonlyArray<EffectiveRoute>
}

/** Where the values come from that are not defaults. */
export type ValueSources = { readonly [Name in keyof AllValues]?: ValueSource }

/** The options that `settings` has. */
export const optionsOf = (settings: Partial<AllValues>, sources: ValueSources): ReadonlyArray<EffectiveOption> =>
  Object.values(fileSettings)
    // Those of `origin` are routes.
    .filter(({ key }) => key in settings && key !== "origins")
    .map(({ key, name, textsOf }) => ({
      name,
      values: textsOf(settings[key]),
      source: sources[key] ?? "default"
    }))

/** A route without a section in a file. */
export const routeOf = ({ match, policy }: Route, source: ValueSource): EffectiveRoute => ({
  match,
  source,
  origins: policy.origins.map((origin) => ({ url: origin.url, keys: originValues(origin, policy) })),
  keys: policyValues(policy)
})

/** The route of `section`, which has the position `index` among those of its file. */
export const routeOfSection = ({ match, policy }: Route, section: object, index: number): EffectiveRoute => {
  const { origin, match: _, ...rest } = section as Readonly<Record<string, unknown>>
  const keysOf = (keys: unknown, path: ReadonlyArray<PropertyKey>) =>
    writtenValues(keys, ["route", index, ...path], 2 + path.length)
  const isList = Array.isArray(origin)
  const written = (isList ? origin : [origin]) as ReadonlyArray<unknown>
  return {
    match,
    source: "file",
    origins: policy.origins.map(({ url }, i) => {
      const table = written[i]
      if (!(table instanceof Object)) return { url, keys: [] }
      const { url: _, ...keys } = table as Readonly<Record<string, unknown>>
      return { url, keys: keysOf(keys, isList ? ["origin", i] : ["origin"]) }
    }),
    keys: keysOf(rest, [])
  }
}

/** Returns the configuration in effect at that moment. It is empty if an application has provided the services of options itself. */
export class EffectiveConfig extends Context.Reference<() => ConfigView>("spillway/services/config/EffectiveConfig", {
  defaultValue: () => () => ({ options: [], routes: [] })
}) {
  /** Options that don't change. */
  static readonly layer = (settings: Partial<AllValues>, sources: ValueSources): Layer.Layer<never> => {
    const options = optionsOf(settings, sources)
    const routes = (settings.origins ?? []).map((route) => routeOf(route, sources.origins ?? "default"))
    return Layer.succeed(EffectiveConfig, () => ({ options, routes }))
  }
}
