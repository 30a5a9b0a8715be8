import { Clock, Effect, Option } from "effect"
import { HttpApiBuilder } from "effect/http-api"
import type { BanTarget } from "../../../domain/BanList.ts"
import { makeAddressing } from "../../../services/operate/addressing.ts"
import { FleetPurger } from "../../../services/operate/FleetPurger.ts"
import { Purger } from "../../../services/operate/Purger.ts"
import { Sweeper } from "../../../services/operate/Sweeper.ts"
import { refusalOf } from "./errors.ts"
import { diskFailed, notCached } from "./inspection.ts"
import { purgeStateOf, summaryOf } from "./present.ts"
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

    /** A node that is alone says nothing of others. */
    const purge = (target: BanTarget, soft = false) =>
      Effect.catch(fleetPurger.purge({ ...target, ...(soft && { soft }) }), diskFailed).pipe(
        Effect.map(({ bans, missing, nodes }) => {
          const id = String(bans[0]?.at ?? 0)
          return nodes.length === 0 ? { id } : { id, nodes, missing }
        })
      )

    return handlers.handleAll({
      purge: Effect.fnUntraced(function*({ payload }) {
        if ("url" in payload) {
          const resource = addressing.resourceOf(payload.url)
          if ("status" in resource) return yield* refusalOf(resource)
          return yield* purge({ _tag: "Url", url: resource.url }, payload.soft)
        }
        if ("tag" in payload) return yield* purge({ _tag: "Tag", tag: payload.tag }, payload.soft)
        const prefix = addressing.prefixOf("prefix" in payload ? payload.prefix : "")
        if (typeof prefix !== "string") return yield* refusalOf(prefix)
        return yield* purge({ _tag: "Prefix", prefix }, payload.soft)
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
