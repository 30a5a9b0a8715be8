import { Clock, Context, Effect, Layer, Metric, Option, type Scope } from "effect"
import { type HttpServerRequest, HttpServerResponse } from "effect/http"
import { PrometheusMetrics } from "effect/observability"
import { CacheIndex } from "../../services/cache/CacheIndex.ts"
import { ServerConfig } from "../../services/config/ServerConfig.ts"
import { DiskBreaker } from "../../services/disk/DiskBreaker.ts"
import { DiskMonitor } from "../../services/disk/DiskMonitor.ts"
import { judge } from "./AdminGuard.ts"
import { ControlApi } from "./api/ControlApi.ts"
import * as Dashboard from "./dashboard.ts"
import * as Login from "./login.ts"
import * as OpenMetrics from "./openMetrics.ts"
import { Readiness } from "./Readiness.ts"

/** Paths below this are Spillway's own, and never the origin's. */
export const PREFIX = "/_spillway/"

/**
 * What the people who run a server may ask it: its health, its metrics, the control API, and a page to look at. Strangers can
 * learn only that it is alive, and whether it takes requests.
 */
export class AdminPages extends Context.Service<AdminPages, {
  /** The answer to a request for a target that starts with `PREFIX`. */
  readonly answer: (
    request: HttpServerRequest.HttpServerRequest
  ) => Effect.Effect<HttpServerResponse.HttpServerResponse, never, Scope.Scope>
}>()("spillway/http/admin/AdminPages") {
  static readonly layer: Layer.Layer<
    AdminPages,
    never,
    DiskBreaker | CacheIndex | ControlApi | DiskMonitor | Readiness
  > = Layer
    .effect(
      AdminPages,
      Effect.suspend(() => make)
    )
}

const make = Effect.gen(function*() {
  const api = yield* ControlApi
  const breaker = yield* DiskBreaker
  const index = yield* CacheIndex
  const monitor = yield* DiskMonitor
  const readiness = yield* Readiness
  const { adminToken, sampleVideo } = yield* ServerConfig
  const clock = yield* Clock.Clock
  const hasLogin = adminToken !== undefined && adminToken !== ""
  const dashboard = Dashboard.make({ hasLogin, video: sampleVideo })

  /** Spillway is alive while it answers; a cache that failed is not a reason to restart it. */
  const report = () => {
    const state = breaker.state()
    return {
      status: "ok",
      cache: state._tag === "Usable"
        ? { state: "usable", bytes: index.bytes() }
        : {
          state: "unusable",
          bytes: index.bytes(),
          error: state.error._tag,
          errno: state.error.errno,
          operation: state.error.operation,
          since: new Date(state.since).toISOString()
        },
      disk: { status: monitor.status().toLowerCase() }
    }
  }

  /** A server whose cache has failed is ready: streams bypass the cache. */
  const readyPage = () =>
    HttpServerResponse.jsonUnsafe({ status: readiness.state().toLowerCase() }, {
      status: readiness.state() === "Ready" ? 200 : 503,
      headers
    })

  const headers = { "cache-control": "no-store" }
  const forbidden = HttpServerResponse.text(
    "Shown to this machine only: ask from there by http://localhost, or start the server with an admin token\n",
    { status: 403, headers }
  )
  const unauthorized = HttpServerResponse.text("Show the admin token: Authorization: Bearer TOKEN\n", {
    status: 401,
    headers: { ...headers, "www-authenticate": "Bearer realm=\"spillway\"" }
  })

  return AdminPages.of({
    answer: (request) => {
      const page = request.url.split("?", 1)[0]!.slice(PREFIX.length)
      // Load balancers ask from elsewhere, and show no token.
      if (page === "ready") return Effect.sync(readyPage)
      if (hasLogin && page === Login.PAGE) return Login.answer(adminToken, request)
      const caller = { address: Option.getOrUndefined(request.peerAddress), headers: request.headers }
      const verdict = judge(adminToken, caller, clock.currentTimeMillisUnsafe())
      if (verdict !== "Allowed") {
        // So do those who ask whether it is alive.
        if (page === "health") return Effect.succeed(HttpServerResponse.jsonUnsafe({ status: "ok" }, { headers }))
        if (verdict === "Forbidden") return Effect.succeed(forbidden)
        return Effect.succeed(page === "" && Login.isBrowser(request) ? Login.form : unauthorized)
      }
      if (page.startsWith("api/")) return api.answer(request)
      switch (page) {
        case "health":
          return Effect.sync(() => HttpServerResponse.jsonUnsafe(report(), { headers }))
        case "metrics":
          return OpenMetrics.isAccepted(request.headers["accept"])
            ? Effect.map(
              Metric.snapshot,
              (metrics) =>
                HttpServerResponse.text(OpenMetrics.format(metrics), { contentType: OpenMetrics.TYPE, headers })
            )
            : Effect.map(
              PrometheusMetrics.format(),
              (text) =>
                HttpServerResponse.text(text, { contentType: "text/plain; version=0.0.4; charset=utf-8", headers })
            )
        default:
          return Effect.sync(() =>
            dashboard(page, request) ??
              HttpServerResponse.text("No such page\n", { status: 404, headers })
          )
      }
    }
  })
})
