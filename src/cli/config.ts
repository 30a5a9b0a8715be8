import { Effect } from "effect"
import { Command } from "effect/cli"
import type { EffectiveConfig, EffectiveOption, EffectiveRoute } from "../http/admin/api/model.ts"
import { variableOf } from "../services/config/makeSetting.ts"
import { jsonFlag, serverFlag, show, withServer } from "./client.ts"
import { ago, counted, table } from "./text.ts"

/**
 * The command that shows the configuration of a running server.
 */

const NO_VALUE = "-"

const textOf = (values: ReadonlyArray<string>): string => values.length === 0 ? NO_VALUE : values.join(", ")

/** Where a value of the option `name` comes from, as it can be found there. */
const sourceText = (source: EffectiveOption["source"], name: string): string => {
  switch (source) {
    case "flag":
      return `--${name}`
    case "variable":
      return variableOf(name)
    default:
      return source
  }
}

const optionRow = ({ afterRestart, name, source, values }: EffectiveOption): ReadonlyArray<string> => [
  name,
  textOf(values),
  sourceText(source, name) + (afterRestart === undefined ? "" : `; ${textOf(afterRestart.values)} after a restart`)
]

const routeLines = ({ keys, match, origins, source }: EffectiveRoute): ReadonlyArray<string> => [
  `${match === "*" ? "all other requests" : match} (${sourceText(source, "origin")})`,
  ...origins.flatMap(({ keys, url }) => [
    `  origin ${url}`,
    ...keys.map(({ name, values }) => `    ${name} = ${textOf(values)}`)
  ]),
  ...keys.map(({ name, values }) => `  ${name} = ${textOf(values)}`)
]

const describe = ({ file, options, routes }: EffectiveConfig, now: number): string =>
  [
    table([["option", "value", "from"], ...options.map(optionRow)]),
    "",
    `${counted(routes.length, "route")}${file === undefined ? "" : `; ${file.path} read ${ago(file.readAt, now)}`}`,
    ...routes.flatMap(routeLines)
  ].join("\n")

export const config = Command.make(
  "config",
  { server: serverFlag, json: jsonFlag },
  ({ json, server }) =>
    Effect.flatMap(withServer(server, (client) => client.config()), (value) => show(json, value, describe))
).pipe(Command.withDescription("Show the options and routes of a server, and where each value comes from"))
