import type { Effect, Scope } from "effect"
import type { HttpServerRequest, HttpServerResponse } from "effect/http"
import type { CacheStatus } from "../../domain/rfc/CacheStatus.ts"

export type Response = HttpServerResponse.HttpServerResponse

/** A response, with what the cache did for it as a value: the log, the span and the counters read it. */
export interface Reply {
  readonly response: Response
  /** `undefined` if the request did not concern the cache. */
  readonly cacheStatus: CacheStatus | undefined
  /** Whether Spillway itself refuses the request or reports a failure. */
  readonly isError?: boolean
}

/** Replies to a request; never fails. */
export type Handler = Effect.Effect<Reply, never, HttpServerRequest.HttpServerRequest | Scope.Scope>
