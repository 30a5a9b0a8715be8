import { Console, Effect, Layer, Option } from "effect"
import { Argument, Command, Flag } from "effect/cli"
import type { Route } from "../domain/Route.ts"
import { routeTo } from "../domain/routeTo.ts"
import { jsonSchema } from "../services/config/configSchema.ts"
import { makeLiveConfig } from "../services/config/LiveConfig.ts"
import { variableOf } from "../services/config/makeSetting.ts"
import { configSetting, fileSettings } from "../services/config/settings.ts"
import type { Path } from "../services/config/tomlDocument.ts"
import { unknownVariables } from "../services/config/unknownVariables.ts"
import { writtenValues } from "../services/config/writtenValues.ts"
import { OriginResolver } from "../services/origin/OriginResolver.ts"
import { checkSettings, optionsOf, readConfig, type ServeSettings, settingsOf } from "./serveSettings.ts"
import { fromConfigError, invalidInvocation } from "./StartupError.ts"
import { counted } from "./text.ts"

/**
 * Says what `spillway serve` would do with a configuration file.
 */

/** The dialect of the JSON Schema. */
const DIALECT = "https://json-schema.org/draft/2020-12/schema"

/** A line for each value at `path` and below it, with its name after the first `from` of the path. */
const linesOf = (value: unknown, path: Path, from: number): ReadonlyArray<string> =>
  writtenValues(value, path, from).map(({ name, values }) => `${name} = ${values.join(", ")}`)

const isSet = (name: string): boolean => (process.env[variableOf(name)] ?? "") !== ""

/** The options whose variables are set. */
const givenVariables = Effect.forEach(
  Object.values(fileSettings).filter(({ name }) => isSet(name)),
  ({ config, key }) => Effect.map(config, (value) => [key, { value, by: "variable" }] as const)
).pipe(Effect.map((entries) => Object.fromEntries(entries)))

const matchText = ({ match }: Route): string => {
  switch (match._tag) {
    case "All":
      return "all other requests"
    case "Path":
      return `requests below ${match.prefix}`
    case "Host":
      return `requests to ${match.host}`
  }
}

const routeText = (route: Route): string =>
  `${matchText(route)}: ${route.policy.origins.map(({ url }) => url.href).join(", ")}`

const indented = (lines: ReadonlyArray<string>): ReadonlyArray<string> => lines.map((line) => `  ${line}`)

/** The options that a file sets, and which variables override them. */
const optionLines = (written: Readonly<Record<string, unknown>>): ReadonlyArray<string> =>
  Object.entries(written).filter(([name]) => name !== "route").flatMap(([name, value]) =>
    linesOf(value, [name], 0).map((line) => !isSet(name) ? line : `${line} (overridden by ${variableOf(name)})`)
  )

/** The routes: those of sections with their keys, and the others. */
const routeLines = (
  { route: sections = [] }: { readonly route?: ReadonlyArray<object> },
  routes: ReadonlyArray<Route>
) => {
  const first = routes.length - sections.length
  return routes.flatMap((route, i) => {
    const section = sections[i - first] ?? {}
    const keys = Object.entries(section).filter(([name]) => name !== "match" && name !== "origin")
    const lines = keys.flatMap(([name, value]) => linesOf(value, ["route", i - first, name], 2))
    return [routeText(route)].concat(indented(lines))
  })
}

/** What becomes of a request for `text`, a path or a URL. */
const explainRequest = Effect.fnUntraced(function*(text: string, settings: ServeSettings) {
  const url = URL.parse(text, "http://localhost")
  if (url === null) return yield* invalidInvocation(`${text} is neither a path nor a URL`)
  const { identify } = yield* OriginResolver
  const target = url.pathname + url.search
  const host = url.host
  const resource = identify({ target, headers: { host } })
  if ("status" in resource) return `${text}: ${resource.status}, ${resource.reason}`
  const { origins } = optionsOf(settings).origin
  const route = routeTo(origins, { host, target }, new URL(resource.url))
  return [`${text}: ${route === undefined ? "no route" : matchText(route)}`, `  cache key ${resource.url}`].join("\n")
})

export const checkConfig = Command.make(
  "check-config",
  {
    file: Argument.String("file").pipe(
      Argument.withDescription("The configuration file; SPILLWAY_CONFIG if omitted"),
      Argument.optional
    ),
    requests: Argument.String("request").pipe(
      Argument.withDescription("A path or URL that a viewer may request: shows its route and cache key"),
      Argument.variadic()
    ),
    schema: Flag.Boolean("schema").pipe(
      Flag.withDefault(false),
      Flag.withDescription("Print the JSON Schema of configuration files, for editors")
    )
  },
  Effect.fnUntraced(function*({ file, requests, schema }) {
    if (schema) return yield* Console.log(JSON.stringify({ $schema: DIALECT, ...jsonSchema }, null, 2))
    const path = Option.getOrElse(file, () => process.env[variableOf(configSetting.name)])
    if (path === undefined) {
      return yield* invalidInvocation("name a configuration file, or set SPILLWAY_CONFIG")
    }
    const { config } = yield* readConfig(path)
    const variables = yield* Effect.mapError(givenVariables, fromConfigError)
    const settings = yield* checkSettings(yield* settingsOf({ flags: variables, origin: Option.none() }, config))
    const options = optionLines(config.written)
    yield* Console.log([
      `${path}: no mistakes, ${counted(options.length, "option")}, ${counted(settings.routes.length, "route")}`,
      "",
      ...options,
      "",
      ...routeLines(config.written, settings.routes)
    ].join("\n"))
    for (const { meant, name } of unknownVariables(Object.keys(process.env))) {
      yield* Console.log(`\nwarning: ${name} has no effect${meant === undefined ? "" : `; did you mean ${meant}?`}`)
    }
    const { layer } = makeLiveConfig(optionsOf(settings))
    const lines = yield* Effect.provide(
      Effect.forEach(requests, (request) => explainRequest(request, settings)),
      Layer.provide(OriginResolver.layer, layer)
    )
    if (lines.length > 0) yield* Console.log(`\n${lines.join("\n")}`)
  })
).pipe(
  Command.withDescription("Check a configuration file, and explain what spillway serve would do with it")
)
