import { Effect } from "effect"
import { isConfirmedBy, isSameVersion, isSingle, type Representation } from "../../domain/Representation.ts"
import type { Resource } from "../../domain/Resource.ts"
import { Catalog } from "../cache/Catalog.ts"
import type { FirstResponse } from "../origin/firstResponse.ts"
import type { Exchange } from "./Exchange.ts"
import type { LookupResult } from "./LookupResult.ts"
import type { StoredUse } from "./storedUse.ts"

/** Makes the functions that read from the response to a HEAD what a resource is now. */
export const makeHeadResponse = Effect.fnUntraced(function*({ confirm }: Pick<StoredUse, "confirm">) {
  const catalog = yield* Catalog

  /** The response to a HEAD describes `found`. */
  const described = (
    exchange: Exchange,
    answered: FirstResponse,
    found: Representation,
    selected: Resource
  ): Effect.Effect<LookupResult> => {
    const { asked, request: { asker, resource } } = exchange
    const { headers, status } = answered.response
    const standing = catalog.known(found.resource)?.representation
    const isOther = standing !== undefined && !isSameVersion(standing, found)
    if (standing !== undefined && !isOther) return confirm(exchange, answered, standing, status)
    // No GET is answered with what only a HEAD has said. Some origins say a length of 0 to every HEAD.
    if (isOther && !catalog.isProtected(resource, selected, asker.cookie)) catalog.expire(standing)
    const entry = catalog.assess(found, headers, answered.times, asker.cookie)
    return Effect.succeed({ _tag: "Current", entry, means: "described", asked: { ...asked, status } })
  }

  /**
   * What the response to a HEAD says of a stored representation without a strong validator (RFC 9111 §4.3.5): the same weak one confirms
   * it, and another one ends its use. `undefined`: it is not confirmed.
   */
  const comparedWeakly = (
    exchange: Exchange,
    answered: FirstResponse,
    selected: Resource
  ): Effect.Effect<LookupResult> | undefined => {
    const { asker, resource, stored } = exchange.request
    const { headers, status } = answered.response
    const standing = stored?.representation
    if (standing === undefined || !isSingle(standing) || standing.resource !== selected.id) return undefined
    const names = ["etag", "last-modified"].filter((name) =>
      headers[name] !== undefined && standing.headers[name] !== undefined
    )
    if (!isConfirmedBy(standing, headers)) {
      if (!catalog.isProtected(resource, selected, asker.cookie)) catalog.expire(standing)
      return undefined
    }
    const length = Number(headers["content-length"] ?? standing.size)
    return names.length > 0 && length === standing.size ? confirm(exchange, answered, standing, status) : undefined
  }

  return { comparedWeakly, described }
})
