import { Effect, Option } from "effect"
import type { OriginError } from "../../domain/OriginError.ts"
import type { Resource } from "../../domain/Resource.ts"
import * as SingleFlight from "../../effects/SingleFlight.ts"
import { type Entry, freshnessFor } from "../cache/Catalog.ts"
import type { LookupResult } from "./LookupResult.ts"

/**
 * Collapsed requests: concurrent requests for one resource share one request to the origin, as far as its response is for all of them.
 */

/** How long a viewer waits for the response to a viewer with other cookies before it asks alone, in milliseconds. */
const JOIN_MILLIS = 1000

/** Whether the result of a request with other cookies is for `cookie` too. */
const isForBoth = (found: LookupResult, cookie: string): boolean =>
  found._tag !== "Current" || freshnessFor(found.entry, cookie) !== undefined

/**
 * Shares the request `flight`, made by `work` for `cookie`, with the viewer who makes it already. That viewer may have other cookies.
 * Then the result is `undefined` if the request fails, takes longer than `JOIN_MILLIS`, or is for those cookies alone.
 */
export const makeCollapse = () => {
  const flights = SingleFlight.make<string, LookupResult, OriginError>()
  return (flight: string, cookie: string, work: Effect.Effect<LookupResult, OriginError>) =>
    Effect.suspend(() => {
      const leader = flights.leaderOf(flight)
      const outcome = flights.share(flight, work, cookie)
      if (leader === undefined || leader === cookie) return outcome
      return Effect.option(outcome).pipe(
        Effect.timeoutOrElse({ duration: JOIN_MILLIS, orElse: () => Effect.succeedNone }),
        Effect.map((found) => Option.getOrUndefined(Option.filter(found, (found) => isForBoth(found, cookie))))
      )
    })
}

/**
 * The result of a shared request for a viewer. `variants` returns the variants that the viewer's request selects, by the coding of the
 * response. The leader is the viewer who made the request: the response itself is for the leader alone unless it is the same for all.
 * `undefined` if the result is of another variant.
 */
export const resultFor = (
  found: LookupResult,
  isLeader: boolean,
  variants: (found: Entry) => ReadonlyArray<Resource>
): LookupResult | undefined => {
  switch (found._tag) {
    case "Uncacheable":
      return isLeader ? found : { _tag: "Uncacheable", reason: found.reason }
    case "Current":
      if (isLeader) return found
      return variants(found.entry).some(({ id }) => id === found.entry.representation.resource)
        ? { ...found, collapsed: true }
        : undefined
    case "NotCached":
      return found
  }
}
