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

/** Makes the function that lists the body of an uncacheable response in `ActiveStreams` while it runs. An unknown size counts as 0. */
export const makePassing = Effect.map(ActiveStreams, (activeStreams) =>
  Effect.fnUntraced(function*(
    { body, isFromPeer = () => false }: OriginResponse,
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
    return watchPieces(body, (bytes) => progress.advance(bytes.length, isFromPeer() ? "peer" : "passthrough", detail))
  }))
