import { send } from "./api.js"
import { byId, keyed, make, say } from "./dom.js"
import { clock, count, things } from "./format.js"

/**
 * The options and routes in effect, and where each comes from.
 *
 * @import { EffectiveConfig, EffectiveOption, EffectiveRoute } from "../../src/http/admin/api/model.ts"
 */

/** How often the configuration is read, in milliseconds: a signal may have replaced it. */
const REFRESH_MILLIS = 30_000

/** @param {ReadonlyArray<string>} values */
const textOf = (values) => values.length === 0 ? "none" : values.join(", ")

/** @param {EffectiveOption} first */
const makeOption = ({ name }) => {
  const value = make("span")
  const later = make("small", { hidden: "" })
  const from = make("td")
  const element = make("tr", {}, make("th", { scope: "row" }, name), make("td", {}, value, later), from)

  /** @param {EffectiveOption} option */
  const update = ({ afterRestart, source, values }) => {
    say(value, textOf(values))
    later.hidden = afterRestart === undefined
    say(later, afterRestart === undefined ? "" : `${textOf(afterRestart.values)} after a restart`)
    from.hidden = source === "default"
    say(from, source)
  }
  return { element, update }
}

/**
 * @param {string} name
 * @param {ReadonlyArray<string>} values
 */
const keyValue = (name, values) => make("div", {}, make("dt", {}, name), make("dd", {}, textOf(values)))

/** @param {EffectiveRoute} route */
const makeRoute = ({ keys, match, origins, source }) => {
  const ofOrigins = origins.flatMap(({ keys, url }) => [
    keyValue("origin", [url]),
    ...keys.map(({ name, values }) => keyValue(name, values))
  ])
  const element = make(
    "li",
    {},
    make(
      "p",
      { class: "route" },
      make("span", {}, match === "*" ? "All other requests" : match),
      make("span", { class: "dim" }, source)
    ),
    make("dl", { class: "key-values" }, ...ofOrigins, ...keys.map(({ name, values }) => keyValue(name, values)))
  )
  // A route that has changed is another one.
  return { element, update: () => {} }
}

const updateRoutes = keyed(
  byId("routes"),
  ([key]) => key,
  (/** @type {[string, EffectiveRoute]} */ [, route]) => makeRoute(route)
)
const updateGiven = keyed(byId("options-given"), (/** @type {EffectiveOption} */ { name }) => name, makeOption)
const updateDefaults = keyed(byId("options-default"), (/** @type {EffectiveOption} */ { name }) => name, makeOption)

/** @param {EffectiveOption} option */
const isDefault = ({ afterRestart, source }) => source === "default" && afterRestart === undefined

/** @param {string} text */
const tell = (text) => say(byId("config-says"), text)

const refresh = async () => {
  const told = await send("GET", "config")
  if (told.error !== undefined) return tell(told.error)
  const { file, options, routes } = /** @type {EffectiveConfig} */ (told.value)
  byId("config-card").hidden = options.length === 0
  byId("config-file").hidden = file === undefined
  say(byId("config-read"), file === undefined ? "" : `${file.path}, read at ${clock(file.readAt)}`)
  say(byId("routes-count"), count(routes.length))
  updateRoutes(routes.map((route, index) => [`${index} ${JSON.stringify(route)}`, route]))
  updateGiven(options.filter((option) => !isDefault(option)))
  const defaults = options.filter(isDefault)
  updateDefaults(defaults)
  say(byId("defaults-count"), count(defaults.length))
}

const reload = async () => {
  const told = await send("POST", "reload", {})
  if (told.error !== undefined) return tell(told.error)
  const { restart, routes } = /** @type {{ readonly routes: number, readonly restart: ReadonlyArray<string> }} */ (
    told.value
  )
  const later = restart.length === 0 ? "" : `. After a restart: ${restart.join(", ")}`
  tell(`${things(routes, "route")} in effect${later}`)
  await refresh()
}

/** Shows the configuration, again and again. */
export const showConfig = () => {
  byId("config-reload").addEventListener("click", reload)
  refresh()
  setInterval(() => {
    if (!document.hidden) refresh()
  }, REFRESH_MILLIS)
}
