import { NodeHttpClient } from "@effect/platform-node"
import { Clock, Context, Effect, Exit, Layer, Scope, Stream } from "effect"
import { HttpClient, HttpClientRequest } from "effect/http"
import type { Cookies, HttpClientResponse } from "effect/http"
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

/** How long an origin may be silent in the middle of a body that is being read, in milliseconds. */
const BODY_TIMEOUT_MILLIS = 30_000

/** How often it is looked whether a body is silent, in milliseconds. */
const WATCH_MILLIS = 1000

const make = (client: HttpClient.HttpClient) => {
  const scoped = HttpClient.withScope(client)

  /**
   * Ends a body whose next bytes do not come in time, by closing its connection. One look now and then costs less than a timer
   * for each piece.
   */
  const watched = Effect.fnUntraced(function*(
    url: string,
    response: HttpClientResponse.HttpClientResponse,
    connection: Scope.Closeable
  ) {
    const clock = yield* Clock.Clock
    let offset = 0
    let waitingSince = 0
    let silent = false
    const look = Effect.suspend(() => {
      silent = waitingSince > 0 && clock.currentTimeMillisUnsafe() - waitingSince > BODY_TIMEOUT_MILLIS
      return silent ? Scope.close(connection, Exit.void) : Effect.void
    })
    const body = Stream.transformPull(response.stream, (pull, scope) => {
      const next = Effect.suspend(() => {
        waitingSince = clock.currentTimeMillisUnsafe()
        return Effect.map(pull, (pieces) => {
          waitingSince = 0
          for (const piece of pieces) offset += piece.length
          return pieces
        })
      })
      return Effect.sleep(WATCH_MILLIS).pipe(
        Effect.andThen(look),
        Effect.forever,
        Effect.forkIn(scope),
        Effect.as(next)
      )
    })
    return Stream.mapError(
      body,
      (cause): OriginError =>
        silent ? new OriginTimeout({ url, phase: "body" }) : new OriginBodyFailed({ url, offset, cause })
    )
  })

  return Origin.of({
    request: Effect.fnUntraced(function*({ headers, method, url }) {
      const request = HttpClientRequest.make(method)(url, {
        headers: { "accept-encoding": "identity", "user-agent": "spillway", ...headers }
      })
      const connection = yield* Scope.fork(yield* Effect.scope)
      const response = yield* scoped.execute(request).pipe(
        Scope.provide(connection),
        Effect.mapError((cause) => new OriginUnreachable({ url, cause })),
        Effect.timeoutOrElse({
          duration: HEADER_TIMEOUT,
          orElse: () => Effect.fail(new OriginTimeout({ url, phase: "header" }))
        })
      )
      const body = yield* watched(url, response, connection)
      return { status: response.status, headers: response.headers, cookies: response.cookies, body }
    }, (effect) =>
      effect.pipe(
        Effect.provideService(HttpClient.TracerDisabledWhen, () => true),
        Effect.provideService(HttpClient.TracerPropagationEnabled, false)
      ))
  })
}
