import { Context, Effect, Layer, Metric, type Scope } from "effect"
import { HttpServerResponse } from "effect/http"
import * as CacheStatus from "../../domain/rfc/CacheStatus.ts"
import { rateLimited } from "../../effects/rateLimited.ts"
import { atEnd } from "../../effects/withoutServices.ts"
import { ServerConfig } from "../../services/config/ServerConfig.ts"
import * as Metrics from "../../services/observe/pullMetrics.ts"
import { WorkerUsage } from "../../services/observe/WorkerUsage.ts"
import type { Reply } from "./Reply.ts"

/** What the cache did for a request that found no room. */
export const OVERLOADED: CacheStatus.CacheStatus = { fwd: "bypass", detail: "OVERLOADED" }

/** How soon a viewer who was turned away may come again, in seconds. */
export const RETRY_AFTER_SECONDS = 1

/** The fields that tell a viewer that there is no room for it now (RFC 9110 §10.2.3). */
export const overloadedHeaders = {
  "retry-after": String(RETRY_AFTER_SECONDS),
  "cache-control": "no-store",
  "cache-status": CacheStatus.format(OVERLOADED)
}

/** How many answers may be fetched or streamed at one time. */
export class StreamLimit extends Context.Service<StreamLimit, {
  /**
   * Runs `open` where there is room, and counts its answer until the scope closes: when its body has been sent, or its viewer
   * has gone. Otherwise the answer is a 503.
   */
  readonly admit: <E, R>(open: Effect.Effect<Reply, E, R>) => Effect.Effect<Reply, E, R | Scope.Scope>
}>()("spillway/http/proxy/StreamLimit") {
  static readonly layer: Layer.Layer<StreamLimit> = Layer.effect(StreamLimit, Effect.suspend(() => make))
}

const refusals = Metric.counter("spillway_streams_refused_total", {
  description: "Requests answered 503 since as many answers were being streamed as may be",
  incremental: true
})

const make = Effect.gen(function*() {
  const { maxStreams } = yield* ServerConfig
  const warn = rateLimited(
    Effect.annotateLogs(Effect.logWarning("Too many streams: requests are answered 503"), { limit: maxStreams })
  )
  const workerUsage = yield* WorkerUsage
  let running = 0
  yield* Metrics.gauge(
    "spillway_streams",
    "Answers that are being fetched or streamed; those from memory are not counted",
    () => running + workerUsage().streams.length
  )

  const place = Effect.uninterruptible(Effect.suspend(() => {
    if (running >= maxStreams) return Effect.succeed(false)
    running += 1
    return Effect.as(atEnd(() => void (running -= 1)), true)
  }))

  const refuse = Metric.update(refusals, 1).pipe(
    Effect.andThen(warn),
    Effect.as<Reply>({
      response: HttpServerResponse.text("Too many streams\n", { status: 503, headers: overloadedHeaders }),
      cacheStatus: OVERLOADED,
      isError: true
    })
  )

  yield* Metric.update(refusals, 0)
  return StreamLimit.of({
    admit: <E, R>(open: Effect.Effect<Reply, E, R>) =>
      Effect.flatMap(place, (taken): Effect.Effect<Reply, E, R> => taken ? open : refuse)
  })
})
