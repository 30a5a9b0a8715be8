import { Effect, Layer, Stream } from "effect"
import { loggable, type OriginError, OriginUnexpected } from "../domain/OriginError.ts"
import { Failures } from "./Failures.ts"
import { Origin, type OriginRequest, type OriginResponse } from "./Origin.ts"
import { Traffic } from "./Traffic.ts"

/**
 * The `Origin` below, whichever it is, with its requests and bytes counted in `Traffic`, and what fails told to `Failures`.
 */
export const layer: Layer.Layer<Origin, never, Origin | Failures | Traffic> = Layer.effect(
  Origin,
  Effect.gen(function*() {
    const origin = yield* Origin
    const failures = yield* Failures
    const traffic = yield* Traffic

    const failed = (host: string, url: string) => (error: OriginError) =>
      Effect.sync(() => failures.originFailed(host, error, url))

    const counted = (body: OriginResponse["body"]) =>
      Stream.map(body, (bytes) => {
        traffic.originBytes(bytes.length)
        return bytes
      })

    const request = Effect.fnUntraced(function*(request: OriginRequest) {
      const host = URL.parse(request.url)?.host ?? ""
      const url = loggable(request.url)
      traffic.originRequest()
      const { body, cookies, headers, status } = yield* Effect.tapError(origin.request(request), failed(host, url))
      if (status < 500) failures.originAnswered(host)
      else failures.originFailed(host, new OriginUnexpected({ url, status, detail: "server error" }), url)
      return { status, headers, cookies, body: Stream.tapError(counted(body), failed(host, url)) }
    })

    return Origin.of({ request })
  })
)
