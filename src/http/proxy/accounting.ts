import { Effect, Option } from "effect"
import type { HttpServerRequest } from "effect/http"
import type { Resource } from "../../domain/Resource.ts"
import { parseContentRange } from "../../domain/rfc/ByteRange.ts"
import type { HeaderFields } from "../../domain/rfc/HeaderFields.ts"
import { watchPieces } from "../../effects/pieces.ts"
import { ActiveStreams } from "../../services/observe/ActiveStreams.ts"
import type { OriginResponse } from "../../services/origin/Origin.ts"

/** The address of the viewer who sent a request. */
export const viewerOf = (request: HttpServerRequest.HttpServerRequest): string | undefined =>
  Option.getOrUndefined(request.peerAddress)

/** Lists bodies that go past `MediaStream` in `ActiveStreams`. */
export const makeAccounting = Effect.gen(function*() {
  const activeStreams = yield* ActiveStreams
  return {
    /** `body` of a response with `headers`, listed while it runs. A size that the origin does not tell counts as 0. */
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
})
