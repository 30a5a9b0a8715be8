import { Cause, Effect, Exit, Layer, Stream } from "effect"
import { loggable, type OriginError, OriginUnexpected } from "../../domain/OriginError.ts"
import { monotonicMillis } from "../../effects/monotonic.ts"
import { watchPieces } from "../../effects/pieces.ts"
import { Counters } from "../observe/Counters.ts"
import * as Metrics from "../observe/pullMetrics.ts"
import { FIRST_BYTE_SECONDS } from "../observe/ResponseMetrics.ts"
import { Origin, type OriginRequest, type OriginResponse } from "../origin/Origin.ts"
import { FailureLog } from "./FailureLog.ts"

/** The outcome of a request to an origin, up to the header of the response. */
const outcomeOf = (exit: Exit.Exit<OriginResponse, OriginError>): string => {
  if (Exit.isSuccess(exit)) return `${Math.floor(exit.value.status / 100)}xx`
  const error = Cause.findErrorOption(exit.cause)
  return error._tag === "Some" ? error.value._tag : "cancelled"
}

/** The host that is asked, or the directory of its route. */
const hostOf = ({ route, server = route?.origins[0], url }: OriginRequest): string =>
  URL.parse(url)?.host || (server?.url.pathname ?? "")

/**
 * Wraps the `Origin` in context: counts its requests and bytes in `Counters`, and reports failures to `FailureLog`.
 */
export const layer: Layer.Layer<Origin, never, Origin | FailureLog | Counters> = Layer.effect(
  Origin,
  Effect.gen(function*() {
    const origin = yield* Origin
    const failureLog = yield* FailureLog
    const counters = yield* Counters

    const counted = (body: OriginResponse["body"]) => watchPieces(body, (bytes) => counters.originBytes(bytes.length))

    const countOutcome = yield* Metrics.counters(
      "spillway_origin_requests_total",
      "Requests to origins, by the class of the response's status, or by the failure",
      "outcome",
      ["2xx", "3xx", "4xx", "5xx", "cancelled", "OriginTimeout", "OriginUnreachable"]
    )

    const firstByteAt = yield* Metrics.histograms(
      "spillway_origin_first_byte_seconds",
      "Time from a request to an origin to the head of its response, by origin",
      "origin",
      FIRST_BYTE_SECONDS
    )
    const countFailure = yield* Metrics.counters(
      "spillway_origin_failures_total",
      "Failed requests, cut bodies and statuses of 500 and above, by origin",
      "origin"
    )
    const now = yield* monotonicMillis

    const failed = (host: string, url: string) => (error: OriginError) =>
      Effect.sync(() => {
        countFailure(host)
        failureLog.originFailed(host, error, url)
      })

    const request = Effect.fnUntraced(function*(request: OriginRequest) {
      const host = hostOf(request)
      const began = now()
      const url = loggable(request.url)
      counters.originRequest()
      // So that monitoring sees a 0 first.
      countFailure(host, 0)
      const { body, ...head } = yield* origin.request(request).pipe(
        Effect.tapError(failed(host, url)),
        Effect.onExit((exit) => Effect.sync(() => countOutcome(outcomeOf(exit))))
      )
      const { status } = head
      firstByteAt(host, (now() - began) / 1000)
      if (status < 500) failureLog.originAnswered(host)
      else yield* failed(host, url)(new OriginUnexpected({ url, status, detail: "server error" }))
      return { ...head, body: Stream.tapError(counted(body), failed(host, url)) }
    })

    return Origin.of({ request })
  })
)
