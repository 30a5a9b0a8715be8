import { Layer } from "effect"
import {
  type ConfigView,
  EffectiveConfig,
  type EffectiveOption,
  type EffectiveRoute,
  optionsOf,
  routeOf,
  routeOfSection
} from "../services/config/EffectiveConfig.ts"
import { LIVE } from "../services/config/LiveConfig.ts"
import { fileSettings } from "../services/config/settings.ts"
import type { ServeSettings } from "./serveSettings.ts"

/**
 * What a run shows of its configuration.
 */

/** The configuration that is shown, which a reload replaces. */
export interface RunView {
  readonly layer: Layer.Layer<never>
  /** Shows `next`, of which the options `restart` have an effect after a restart only. */
  readonly replace: (next: ServeSettings, restart: ReadonlyArray<string>, file: ConfigView["file"]) => void
}

/** The routes of options, then that of the argument, then those of sections. */
const routesOf = ({ origins, routes, sources, written }: ServeSettings): ReadonlyArray<EffectiveRoute> => {
  const sections = (written["route"] ?? []) as ReadonlyArray<object>
  const first = routes.length - sections.length
  return routes.map((route, i) => {
    const section = sections[i - first]
    if (section !== undefined) return routeOfSection(route, section, i - first)
    return routeOf(route, i < origins.length ? sources.origins ?? "default" : "argument")
  })
}

const viewOf = (
  options: ReadonlyArray<EffectiveOption>,
  settings: ServeSettings,
  file: ConfigView["file"]
): ConfigView => ({ ...(file !== undefined && { file }), options, routes: routesOf(settings) })

/** An option that was `started` with, after a reload that says `next`. */
const inEffect = (
  started: EffectiveOption,
  next: EffectiveOption,
  restart: ReadonlyArray<string>
): EffectiveOption => {
  const { name, source, values } = next
  if (LIVE.has(fileSettings[name]!.key)) return next
  return restart.includes(name) ? { ...started, afterRestart: { source, values } } : started
}

/** Makes the view of a run that starts with `settings`. */
export const makeConfigView = (settings: ServeSettings, file: ConfigView["file"]): RunView => {
  const started = optionsOf(settings, settings.sources)
  let view = viewOf(started, settings, file)
  return {
    layer: Layer.succeed(EffectiveConfig, () => view),
    replace: (next, restart, file) => {
      const options = optionsOf(next, next.sources).map((option, i) => inEffect(started[i]!, option, restart))
      view = viewOf(options, next, file)
    }
  }
}
