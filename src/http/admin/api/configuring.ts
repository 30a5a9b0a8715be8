import { Effect } from "effect"
import { HttpApiBuilder } from "effect/http-api"
import { ConfigReload } from "../../../services/config/ConfigReload.ts"
import { Conflict } from "./errors.ts"
import { SpillwayApi } from "./SpillwayApi.ts"

/** What changes the configuration. */
export const layer = HttpApiBuilder.group(
  SpillwayApi,
  "configuring",
  Effect.fnUntraced(function*(handlers) {
    const reload = yield* ConfigReload
    return handlers.handleAll({
      reload: () => Effect.mapError(reload, ({ message }) => new Conflict({ message }))
    })
  })
)
