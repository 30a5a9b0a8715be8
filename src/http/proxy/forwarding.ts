import { Effect } from "effect"
import type { HttpServerRequest } from "effect/http"
import { BlockList, isIP } from "node:net"
import { forwardedFields } from "../../domain/Forwarded.ts"
import { pathOf, withoutDots } from "../../domain/RequestTarget.ts"
import type { HeaderFields } from "../../domain/rfc/HeaderFields.ts"
import { findRoute } from "../../domain/Route.ts"
import { OriginConfig } from "../../services/config/OriginConfig.ts"
import { ServerConfig } from "../../services/config/ServerConfig.ts"
import { viewerOf } from "./accounting.ts"

/** Tells whether an address is one of `networks`. */
const makeIsTrusted = (networks: ReadonlyArray<string>) => {
  const list = new BlockList()
  for (const network of networks) {
    const [address = "", prefix] = network.split("/")
    const family = isIP(address) === 6 ? "ipv6" : "ipv4"
    if (prefix === undefined) list.addAddress(address, family)
    else list.addSubnet(address, Number(prefix), family)
  }
  return (address: string | undefined): boolean =>
    address !== undefined && isIP(address) !== 0 && list.check(address, isIP(address) === 6 ? "ipv6" : "ipv4")
}

/**
 * Makes the function that says what servers learn about the viewer who has sent a request, on routes that want it. `isOwn`: nobody else gets
 * the response.
 */
export const makeForwarding = Effect.gen(function*() {
  const config = yield* OriginConfig
  const { trustedProxies } = yield* ServerConfig
  const isTrusted = makeIsTrusted(trustedProxies)
  return (request: HttpServerRequest.HttpServerRequest, isOwn: boolean): HeaderFields | undefined => {
    const { origins } = config
    if (!origins.routes.some(({ policy }) => policy.forwarded)) return undefined
    const { headers, url } = request
    const address = viewerOf(request)
    const match = findRoute(origins, headers["host"], pathOf(withoutDots(url)))?.match
    // A route for a host on any port is reached by that host, on every port.
    const known = match?._tag === "Host" ? match.host : undefined
    return forwardedFields({ address, headers, isTrusted: isTrusted(address) }, { isOwn, known })
  }
})
