import { rank } from "../../domain/Rendezvous.ts"
import type { RouteOrigin, RoutePolicy } from "../../domain/RoutePolicy.ts"
import type { Standing } from "./healthStates.ts"

/** The origins of a route for a file while all work: as they are written, or by weight. Each file has the same order at all times. */
export const preferred = (
  { choice, origins }: Pick<RoutePolicy, "choice" | "origins">,
  file: string
): ReadonlyArray<RouteOrigin> => {
  if (choice === "in-order" || origins.length === 1) return origins
  const candidates = origins.map((origin) => ({ name: origin.url.href, weight: origin.weight, origin }))
  // Those without weight stand in for the others.
  const spare = origins.filter(({ weight }) => weight <= 0)
  return [...rank(candidates, file, 0).map(({ origin }) => origin), ...spare]
}

const PLACES: Record<Standing, number> = { up: 0, slow: 1, down: 2 }

/**
 * `origins` in the order in which they are asked: those that work first, `stay` before all that are no better, and those of `avoid` last, in their
 * order.
 */
export const inTurn = (
  origins: ReadonlyArray<RouteOrigin>,
  { avoid, standing, stay }: {
    readonly standing: (origin: RouteOrigin) => Standing
    readonly stay: RouteOrigin | undefined
    readonly avoid: ReadonlyArray<RouteOrigin>
  }
): ReadonlyArray<RouteOrigin> => {
  if (origins.length === 1) return origins
  const placeOf = (origin: RouteOrigin): number => {
    const avoided = avoid.indexOf(origin)
    return avoided >= 0 ? PLACES.down + 1 + avoided : PLACES[standing(origin)] - (origin === stay ? 0.5 : 0)
  }
  return origins.toSorted((a, b) => placeOf(a) - placeOf(b))
}
