import { Schema } from "effect"
import { HttpApi, HttpApiEndpoint, HttpApiGroup, HttpApiMiddleware, HttpApiSchema, OpenApi } from "effect/http-api"
import { BadRequest, Conflict, NotFound, Unavailable } from "./errors.ts"
import {
  EffectiveConfig,
  FleetView,
  Purged,
  PurgeRequest,
  PurgeState,
  Reloaded,
  ResourceDetail,
  ResourceSummary,
  RunningStream,
  Snapshot,
  Status,
  TrafficSample,
  UrlRequest,
  WarmJob,
  Why
} from "./model.ts"

/** Answers 400 with a message where a request is not of the form that is described. */
export class Requests extends HttpApiMiddleware.Service<Requests>()("spillway/http/api/Requests", {
  error: BadRequest
}) {}

/** Where the API is. */
export const API_PATH = "/_spillway/api"

/** How many resources are listed unless the request says otherwise, and at most. */
export const RESOURCES_LISTED = { default: 100, maximum: 1000 }

const limit = Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: RESOURCES_LISTED.maximum }))

const url = { url: Schema.String }

const id = { id: Schema.String }

/** Looking: nothing is changed. */
class Inspection extends HttpApiGroup.make("inspection", { topLevel: true })
  .add(
    HttpApiEndpoint.get("status", "/status", { success: Status })
      .annotate(OpenApi.Summary, "State of the server, its cache and its disk"),
    HttpApiEndpoint.get("streams", "/streams", { success: Schema.Struct({ streams: Schema.Array(RunningStream) }) })
      .annotate(OpenApi.Summary, "Bodies that are being sent"),
    HttpApiEndpoint.get("resources", "/resources", {
      query: {
        prefix: Schema.optionalKey(Schema.String),
        tag: Schema.optionalKey(Schema.NonEmptyString),
        limit: Schema.optionalKey(limit)
      },
      success: Schema.Struct({
        resources: Schema.Array(ResourceSummary),
        total: Schema.Finite,
        bytes: Schema.Finite
      }),
      error: Unavailable
    }).annotate(
      OpenApi.Summary,
      "Cached resources, the one used last first; total and bytes are of all that match the prefix and the tag"
    ),
    HttpApiEndpoint.get("resource", "/resource", {
      query: url,
      success: ResourceDetail,
      error: [NotFound, Unavailable]
    })
      .annotate(OpenApi.Summary, "One cached resource, with the ranges that are cached"),
    HttpApiEndpoint.get("why", "/why", { query: url, success: Why })
      .annotate(OpenApi.Summary, "Whether a URL is cached, whether it would be, and why not"),
    HttpApiEndpoint.get("fleet", "/fleet", { success: FleetView, error: NotFound })
      .annotate(OpenApi.Summary, "The nodes of the fleet, with what each one reports of itself"),
    HttpApiEndpoint.get("history", "/history", {
      success: Schema.Struct({ samples: Schema.Array(TrafficSample) })
    }).annotate(OpenApi.Summary, "The traffic of the last hour, a sample each 10 seconds, the oldest first"),
    HttpApiEndpoint.get("events", "/events", {
      success: HttpApiSchema.StreamSse({
        events: Schema.Struct({
          id: Schema.optionalKey(Schema.String),
          event: Schema.Literal("snapshot"),
          data: Schema.fromJsonString(Snapshot)
        })
      }),
      error: Unavailable
    }).annotate(OpenApi.Summary, "A snapshot at once and then each second, as server-sent events")
  )
  .middleware(Requests)
{}

/** Changing what is kept. */
class Keeping extends HttpApiGroup.make("keeping", { topLevel: true })
  .add(
    HttpApiEndpoint.post("purge", "/purge", { payload: PurgeRequest, success: Purged, error: Unavailable })
      .annotate(OpenApi.Summary, "Bans what is cached; in effect at once, running streams go on from the origin"),
    HttpApiEndpoint.get("purges", "/purges", {
      success: Schema.Struct({ purges: Schema.Array(PurgeState), examined: Schema.Finite, total: Schema.Finite })
    }).annotate(
      OpenApi.Summary,
      "Purges of which files may be left, and the last that are done, newest first; examined of total files in this pass"
    ),
    HttpApiEndpoint.put("pin", "/pin", {
      payload: UrlRequest,
      success: ResourceSummary,
      error: [NotFound, Unavailable]
    }).annotate(OpenApi.Summary, "Keeps a cached resource from being evicted"),
    HttpApiEndpoint.delete("unpin", "/pin", {
      query: url,
      success: ResourceSummary,
      error: [NotFound, Unavailable]
    }).annotate(OpenApi.Summary, "Lets a resource be evicted again")
  )
  .middleware(Requests)
{}

/** Fetching ahead. */
class Warming extends HttpApiGroup.make("warming", { topLevel: true })
  .add(
    HttpApiEndpoint.post("warm", "/warm", { payload: UrlRequest, success: WarmJob, error: [Conflict, Unavailable] })
      .annotate(
        OpenApi.Summary,
        "Fetches a file ahead, in the background, with all that it names if it is a playlist; what is cached is not fetched again"
      ),
    HttpApiEndpoint.get("warmJobs", "/warm", { success: Schema.Struct({ jobs: Schema.Array(WarmJob) }) })
      .annotate(OpenApi.Summary, "Jobs that wait, run, or ended lately"),
    HttpApiEndpoint.get("warmJob", "/warm/:id", { params: id, success: WarmJob, error: NotFound })
      .annotate(OpenApi.Summary, "One job"),
    HttpApiEndpoint.delete("cancelWarm", "/warm/:id", { params: id, success: WarmJob, error: NotFound })
      .annotate(OpenApi.Summary, "Stops a job; what it has fetched stays")
  )
  .middleware(Requests)
{}

/** Looking at the configuration, and changing it. */
class Configuring extends HttpApiGroup.make("configuring", { topLevel: true })
  .add(
    HttpApiEndpoint.get("config", "/config", { success: EffectiveConfig })
      .annotate(OpenApi.Summary, "The options and routes in effect, and where each comes from; secrets are not shown"),
    HttpApiEndpoint.post("reload", "/reload", { success: Reloaded, error: Conflict })
      .annotate(
        OpenApi.Summary,
        "Reads the configuration file again; if it has mistakes, the former configuration stays in force"
      )
  )
  .middleware(Requests)
{}

/** The control API of a running server, for those whom `AdminGuard` lets in. */
export class SpillwayApi extends HttpApi.make("spillway")
  .add(Inspection, Keeping, Warming, Configuring)
  .prefix(API_PATH)
  .annotateMerge(OpenApi.annotations({
    title: "Spillway",
    description:
      "Looks into a running Spillway and tells it what to keep. Sizes are in bytes, durations in seconds, times " +
      "in ISO 8601. Errors are `{ message }`. Requests are served to this machine, or to whoever shows the admin token."
  }))
{}
