import { NodeHttpClient } from "@effect/platform-node"
import { Context, Effect, Layer, type Scope, Stream } from "effect"
import { HttpClient, HttpClientRequest } from "effect/http"
import type { Cookies } from "effect/http"
import type { HeaderFields } from "../domain/Headers.ts"
import { OriginBodyFailed, type OriginError, OriginTimeout, OriginUnreachable } from "../domain/OriginError.ts"
import type { OriginHead } from "../domain/Representation.ts"

/** A request as it goes to the origin. */
export interface OriginRequest {
  readonly method: "GET" | "HEAD"
  readonly url: string
  readonly headers: HeaderFields
}

/** An answer whose body has yet to be read. Closing the scope it came with closes its connection. */
export interface OriginResponse extends OriginHead {
  readonly cookies: Cookies.Cookies
  /** Can be run once. */
  readonly body: Stream.Stream<Uint8Array, OriginError>
}

/** How many connections one origin gets at most; further requests wait for one. */
const CONNECTIONS_PER_ORIGIN = 256

/** The server that has the files: one request, one answer, every failure typed. It neither retries nor remembers. */
export class Origin extends Context.Service<Origin, {
  readonly request: (request: OriginRequest) => Effect.Effect<OriginResponse, OriginError, Scope.Scope>
}>()("spillway/services/Origin") {
  /** Over the `HttpClient` in context. */
  static readonly layerNoDeps: Layer.Layer<Origin, never, HttpClient.HttpClient> = Layer.effect(
    Origin,
    Effect.map(HttpClient.HttpClient, (client) => make(client))
  )

  /** Over connections of undici's that are kept alive. */
  static readonly layer: Layer.Layer<Origin> = this.layerNoDeps.pipe(
    Layer.provide(NodeHttpClient.layerUndiciOptions({ connections: CONNECTIONS_PER_ORIGIN }))
  )
}

/** How long an origin may take from the request to the end of its header. */
const HEADER_TIMEOUT = "30 seconds"

/** How long an origin may be silent in the middle of a body that is being read. */
const BODY_TIMEOUT = "30 seconds"

const make = (client: HttpClient.HttpClient) => {
  const scoped = HttpClient.withScope(client)
  return Origin.of({
    request: Effect.fnUntraced(function*({ headers, method, url }) {
      const request = HttpClientRequest.make(method)(url, {
        headers: { "accept-encoding": "identity", "user-agent": "spillway", ...headers }
      })
      const response = yield* scoped.execute(request).pipe(
        Effect.mapError((cause) => new OriginUnreachable({ url, cause })),
        Effect.timeoutOrElse({
          duration: HEADER_TIMEOUT,
          orElse: () => Effect.fail(new OriginTimeout({ url, phase: "header" }))
        })
      )
      let offset = 0
      const body = response.stream.pipe(
        Stream.mapError((cause): OriginError => new OriginBodyFailed({ url, offset, cause })),
        Stream.timeoutOrElse({
          duration: BODY_TIMEOUT,
          orElse: () => Stream.fail(new OriginTimeout({ url, phase: "body" }))
        }),
        Stream.map((bytes) => {
          offset += bytes.length
          return bytes
        })
      )
      return { status: response.status, headers: response.headers, cookies: response.cookies, body }
    }, (effect) =>
      effect.pipe(
        Effect.provideService(HttpClient.TracerDisabledWhen, () => true),
        Effect.provideService(HttpClient.TracerPropagationEnabled, false)
      ))
  })
}
