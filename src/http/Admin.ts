import { Context, Effect, Layer } from "effect"
import { HttpServerResponse } from "effect/http"
import { PrometheusMetrics } from "effect/observability"
import { CacheHealth } from "../services/CacheHealth.ts"
import { CacheIndex } from "../services/CacheIndex.ts"
import { DiskMonitor } from "../services/DiskMonitor.ts"

/** Paths below this are Spillway's own, and never the origin's. */
export const PREFIX = "/_spillway/"

/** What the people who run a server may ask it: its health, and its metrics. */
export class Admin extends Context.Service<Admin, {
  /** The answer for a target that starts with `PREFIX`. */
  readonly answer: (target: string) => Effect.Effect<HttpServerResponse.HttpServerResponse>
}>()("spillway/http/Admin") {
  static readonly layer: Layer.Layer<Admin, never, CacheHealth | CacheIndex | DiskMonitor> = Layer.effect(
    Admin,
    Effect.suspend(() => make)
  )
}

const make = Effect.gen(function*() {
  const health = yield* CacheHealth
  const index = yield* CacheIndex
  const monitor = yield* DiskMonitor

  /** Spillway is alive while it answers; a cache that failed is no reason to restart it. */
  const report = () => {
    const state = health.state()
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

  const headers = { "cache-control": "no-store" }
  return Admin.of({
    answer: (target) => {
      switch (target.split("?", 1)[0]!.slice(PREFIX.length)) {
        case "health":
          return Effect.sync(() => HttpServerResponse.jsonUnsafe(report(), { headers }))
        case "metrics":
          return Effect.map(
            PrometheusMetrics.format(),
            (text) =>
              HttpServerResponse.text(text, { contentType: "text/plain; version=0.0.4; charset=utf-8", headers })
          )
        default:
          return Effect.succeed(HttpServerResponse.text("No such page\n", { status: 404, headers }))
      }
    }
  })
})
