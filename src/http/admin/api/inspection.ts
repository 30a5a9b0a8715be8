import { Clock, Effect, Option } from "effect"
import { HttpServerResponse } from "effect/http"
import { HttpApiBuilder } from "effect/http-api"
import type { CacheError } from "../../../domain/CacheError.ts"
import { DiskBreaker } from "../../../services/disk/DiskBreaker.ts"
import { ActiveStreams } from "../../../services/observe/ActiveStreams.ts"
import { makeAddressing } from "../../../services/operate/addressing.ts"
import { Explainer } from "../../../services/operate/Explainer.ts"
import { Inventory } from "../../../services/operate/Inventory.ts"
import { TrafficHistory } from "../../../services/operate/TrafficHistory.ts"
import { FleetReport } from "../FleetReport.ts"
import { SnapshotFeed } from "../SnapshotFeed.ts"
import { StatusReport } from "../StatusReport.ts"
import { NotFound, refusalOf, Unavailable } from "./errors.ts"
import { detailOf, streamOf, summaryOf, trafficOf, whyOf } from "./present.ts"
import { RESOURCES_LISTED, SpillwayApi } from "./SpillwayApi.ts"

/** The disk cannot be asked. */
export const diskFailed = (error: CacheError): Effect.Effect<never, Unavailable> =>
  Effect.fail(new Unavailable({ message: `The disk of the cache cannot be used: ${error.message}` }))

/** Nothing of it is cached. */
export const notCached = (url: string): NotFound => new NotFound({ message: `Nothing is cached of ${url}` })

/** What looks, and changes nothing. */
export const layer = HttpApiBuilder.group(
  SpillwayApi,
  "inspection",
  Effect.fnUntraced(function*(handlers) {
    const activeStreams = yield* ActiveStreams
    const addressing = yield* makeAddressing
    const clock = yield* Clock.Clock
    const feed = yield* SnapshotFeed
    const fleet = yield* FleetReport
    const explainer = yield* Explainer
    const breaker = yield* DiskBreaker
    const report = yield* StatusReport
    const inventory = yield* Inventory
    const traffic = yield* TrafficHistory
    const now = () => clock.currentTimeMillisUnsafe()

    return handlers.handleAll({
      status: () => report.status,
      streams: () => Effect.sync(() => ({ streams: report.streams().map(streamOf) })),
      resources: Effect.fnUntraced(function*({ query: { limit = RESOURCES_LISTED.default, prefix = "", tag } }) {
        const start = addressing.prefixOf(prefix)
        if (typeof start !== "string") return yield* refusalOf(start)
        const listed = yield* Effect.catch(inventory.list({ prefix: start, tag, limit }), diskFailed)
        return { ...listed, resources: listed.resources.map((cached) => summaryOf(cached, now())) }
      }),
      resource: Effect.fnUntraced(function*({ query: { url } }) {
        const resource = addressing.resourceOf(url)
        if ("status" in resource) return yield* refusalOf(resource)
        const cached = yield* Effect.catch(inventory.find(resource.url), diskFailed)
        if (Option.isNone(cached)) return yield* notCached(resource.url)
        return detailOf(cached.value, activeStreams.streams(), now())
      }),
      why: Effect.fnUntraced(function*({ query: { url } }) {
        const resource = addressing.resourceOf(url)
        if ("status" in resource) return yield* refusalOf(resource)
        return whyOf(resource.url, yield* explainer.why(url, resource), breaker.unwritable()?.message)
      }),
      fleet: Effect.fnUntraced(function*() {
        return (yield* fleet.view) ?? (yield* new NotFound({ message: "This server is not in a fleet; see --fleet" }))
      }),
      history: () => Effect.sync(() => ({ samples: traffic.samples().map(trafficOf) })),
      events: Effect.fnUntraced(function*() {
        const stream = yield* feed.watch
        if (stream === undefined) return yield* new Unavailable({ message: "As many watch the events as may" })
        return HttpServerResponse.stream(stream, {
          contentType: "text/event-stream",
          // A connection that is kept would delay the end of the server.
          headers: { connection: "close" }
        })
      })
    })
  })
)
