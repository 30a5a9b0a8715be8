import type { FleetMember } from "../../domain/FleetMember.ts"
import { formatRange } from "../../domain/rfc/ByteRange.ts"
import type { FleetShape } from "./Fleet.ts"
import type { Journey } from "./Journey.ts"

/** How many neighbouring stretches of one owner are requested at a time. */
const MAX_MERGED = 64

/** Makes the functions that choose the nodes to ask for the next bytes of a journey, and how many bytes to ask each for. */
export const makeLegPlan = (fleet: FleetShape) => {
  const self = fleet.self!

  /** Where the part that the owner of the next byte owns ends. */
  const endOfOwner = ({ end, position, question: { url } }: Journey): number => {
    const owner = fleet.rank(url, position)[0]?.name
    const first = fleet.stretchAt(position)
    let next = first + 1
    while (
      next * self.stretch < end && next - first < MAX_MERGED &&
      fleet.rank(url, next * self.stretch)[0]?.name === owner
    ) next += 1
    return Math.min(end, next * self.stretch)
  }

  /** The `Range` of the request for the next bytes; nothing for a head. */
  const rangeOf = (journey: Journey): string | undefined => {
    if (journey.isOfHead) return undefined
    return journey.isAtPlace
      ? formatRange(journey.position, endOfOwner(journey))
      : journey.request.headers["range"]
  }

  /** The nodes above this one. Waiting goes up in rank only, so that no two nodes wait for each other. Nothing is handed on for a node. */
  const above = ({ avoided, position, question: { from, url } }: Journey): ReadonlyArray<FleetMember> => {
    if (from !== undefined) return []
    const ranked = fleet.rank(url, position)
    const end = ranked.findIndex(({ name }) => name === self.name)
    return ranked.slice(0, end < 0 ? ranked.length : end).filter(({ name }) => !avoided.has(name))
  }

  /** The node that owned the next bytes before this one did. It answers from what it has. */
  const former = ({ avoided, isAtPlace, position, question: { from, url } }: Journey): FleetMember | undefined => {
    if (!isAtPlace || !fleet.isSettling() || !fleet.owns(url, position)) return undefined
    const second = fleet.rank(url, position)[1]
    return second !== undefined && second.name !== from && !avoided.has(second.name) ? second : undefined
  }

  return { above, former, rangeOf }
}
