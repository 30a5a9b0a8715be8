import { Effect } from "effect"
import { HttpApiBuilder } from "effect/http-api"
import { ConfigReload } from "../../../services/config/ConfigReload.ts"
import { EffectiveConfig } from "../../../services/config/EffectiveConfig.ts"
import { Conflict } from "./errors.ts"
import { configOf } from "./present.ts"
import { SpillwayApi } from "./SpillwayApi.ts"

/** What shows the configuration, and changes it. */
export const layer = HttpApiBuilder.group(
  SpillwayApi,
  "configuring",
  Effect.fnUntraced(function*(handlers) {
    const reload = yield* ConfigReload
    const effective = yield* EffectiveConfig
    return handlers.handleAll({
      config: () => Effect.sync(() => configOf(effective())),
      reload: () => Effect.mapError(reload, ({ message }) => new Conflict({ message }))
    })
  })
)
