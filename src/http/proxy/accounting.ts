import { Effect, Option } from "effect"
import type { HttpServerRequest } from "effect/http"
import type { Resource } from "../../domain/Resource.ts"
import { parseContentRange } from "../../domain/rfc/ByteRange.ts"
import { type CacheStatus, outcomeOf } from "../../domain/rfc/CacheStatus.ts"
import type { HeaderFields } from "../../domain/rfc/HeaderFields.ts"
import { watchPieces } from "../../effects/pieces.ts"
import type { ActiveStreams } from "../../services/observe/ActiveStreams.ts"
import type { Counters } from "../../services/observe/Counters.ts"
import type { OriginResponse } from "../../services/origin/Origin.ts"

/** The address of anyone who sent a request. */
export const viewerOf = (request: HttpServerRequest.HttpServerRequest): string | undefined =>
  Option.getOrUndefined(request.peerAddress)

/** Tells `Counters` of requests, and `ActiveStreams` of bodies that go past `MediaStream`. */
export const makeAccounting = (activeStreams: ActiveStreams["Service"], counters: Counters["Service"]) => {
  const count = (status: CacheStatus): void => {
    counters.request(outcomeOf(status))
    if (status.collapsed) counters.coalesced()
  }

  return {
    /** Counts a request by what the cache did for it. */
    count,
    /** `body` of an answer with `headers`, which is listed while it runs. A size that the origin does not tell is 0. */
    passing: Effect.fnUntraced(function*(
      body: OriginResponse["body"],
      { id, url }: Resource,
      request: HttpServerRequest.HttpServerRequest,
      headers: HeaderFields,
      detail: string | undefined
    ) {
      const carried = parseContentRange(headers["content-range"])
      const start = carried?.range.start ?? 0
      const end = start + Number(headers["content-length"] ?? 0)
      const viewer = viewerOf(request)
      const progress = yield* activeStreams.begin({ url, resource: id, start, end, size: carried?.size ?? end, viewer })
      return watchPieces(body, (bytes) => progress.advance(bytes.length, "passthrough", detail))
    })
  }
}
