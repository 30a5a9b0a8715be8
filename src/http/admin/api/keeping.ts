import { Clock, Effect, Option } from "effect"
import { HttpApiBuilder } from "effect/http-api"
import { makeAddressing } from "../../../services/operate/addressing.ts"
import { FleetPurger } from "../../../services/operate/FleetPurger.ts"
import { Purger } from "../../../services/operate/Purger.ts"
import { Sweeper } from "../../../services/operate/Sweeper.ts"
import { refusalOf } from "./errors.ts"
import { diskFailed, notCached } from "./inspection.ts"
import { purgedOf, purgeStateOf, summaryOf } from "./present.ts"
import { SpillwayApi } from "./SpillwayApi.ts"

/** What changes what is kept. */
export const layer = HttpApiBuilder.group(
  SpillwayApi,
  "keeping",
  Effect.fnUntraced(function*(handlers) {
    const addressing = yield* makeAddressing
    const clock = yield* Clock.Clock
    const fleetPurger = yield* FleetPurger
    const purger = yield* Purger
    const sweeper = yield* Sweeper

    const mark = Effect.fnUntraced(function*(text: string, pinned: boolean) {
      const resource = addressing.resourceOf(text)
      if ("status" in resource) return yield* refusalOf(resource)
      const cached = yield* Effect.catch(purger.pin(resource.url, pinned), diskFailed)
      if (Option.isNone(cached)) return yield* notCached(resource.url)
      return summaryOf(cached.value, clock.currentTimeMillisUnsafe())
    })

    return handlers.handleAll({
      purge: Effect.fnUntraced(function*({ payload }) {
        const target = addressing.banTargetOf(payload)
        if ("status" in target) return yield* refusalOf(target)
        return purgedOf(yield* Effect.catch(fleetPurger.purge(target), diskFailed))
      }),
      purges: () =>
        Effect.sync(() => {
          const { removals, ...pass } = sweeper.progress()
          return { ...pass, purges: removals.map(purgeStateOf) }
        }),
      pin: ({ payload: { url } }) => mark(url, true),
      unpin: ({ query: { url } }) => mark(url, false)
    })
  })
)
