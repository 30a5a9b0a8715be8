import { Effect } from "effect"
import { type HttpServerRequest, HttpServerResponse } from "effect/http"
import { cacheKey } from "../../domain/CacheKey.ts"
import { make as makeResource, type Resource } from "../../domain/Resource.ts"
import { hasDestination, isSafe, reachesBelow } from "../../domain/rfc/Method.ts"
import { CacheConfig } from "../../services/config/CacheConfig.ts"
import { FleetPurger } from "../../services/operate/FleetPurger.ts"
import { Origin, type OriginResponse } from "../../services/origin/Origin.ts"
import { earlyHintsTo } from "./earlyHints.ts"
import { page, refused } from "./errorResponses.ts"
import { ALLOW, maxForwards } from "./methods.ts"
import type { Passthrough } from "./passthrough.ts"

type Request = HttpServerRequest.HttpServerRequest

/**
 * Passes on requests with methods other than GET and HEAD. Bodies are streamed in both directions. Stored responses that a request may have
 * changed are invalidated (RFC 9111 §4.4).
 */
export const makeWriteThrough = Effect.fnUntraced(
  function*({ locations, passedOn, requestTo, sourceOf }: Passthrough) {
    const config = yield* CacheConfig
    const origin = yield* Origin
    const { outdate } = yield* FleetPurger

    /** The location of a target of a request at its origin. */
    const locate = (resource: Resource, { headers }: Request, url: string) =>
      sourceOf(resource, { headers, url }, {}).locate()

    /** The other resources that a response to a request for `url` names, at the same origin. */
    const named = (url: string, { headers }: OriginResponse): ReadonlyArray<Resource> =>
      ["location", "content-location"].flatMap((field) => {
        const place = headers[field] === undefined ? null : URL.parse(headers[field], url)
        return place?.origin === new URL(url).origin
          ? [makeResource(cacheKey(config.cacheKey, place))]
          : []
      })

    return Effect.fnUntraced(function*(resource: Resource, request: Request) {
      const { headers, method } = request
      const forwards = maxForwards(request)
      if (forwards === 0) return page(HttpServerResponse.empty({ headers: { allow: ALLOW } }))
      const destination = hasDestination(method) && headers["destination"] !== undefined
        ? locations.toOrigin(headers["destination"], request)
        : undefined
      const other = destination?.resource
      if (other !== undefined && "status" in other) return refused(other.status, `Destination: ${other.reason}`)
      const location = yield* locate(resource, request, request.url)
      const destinationUrl = other && (yield* locate(other, request, destination!.target)).url
      const hasBody = headers["content-length"] !== undefined || headers["transfer-encoding"] !== undefined
      const response = yield* origin.request({
        ...requestTo(location, request, {
          ...(forwards !== undefined && { "max-forwards": String(forwards - 1) }),
          ...(destinationUrl !== undefined && { destination: destinationUrl })
        }),
        onHints: earlyHintsTo(request),
        ...(hasBody && { body: request.stream })
      })
      if (!isSafe(method) && response.status < 400) {
        const changed = [resource, ...named(location.url, response)]
        // With a query, it is not a collection.
        const collections = reachesBelow(method) && !resource.url.includes("?") ? [resource] : []
        const trees = other === undefined ? collections : [...collections, other]
        yield* outdate([
          ...changed.map(({ url }) => ({ _tag: "Outdated", url }) as const),
          ...trees.map(({ url }) => ({ _tag: "OutdatedTree", url }) as const)
        ])
      }
      return yield* passedOn(resource, response, request, { fwd: "method" })
    })
  }
)
