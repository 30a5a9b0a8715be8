import { Clock, Effect } from "effect"
import type { Asker } from "../../domain/Asker.ts"
import { type AcceptedCodings, UNCODED } from "../../domain/rfc/ContentCoding.ts"
import type { HeaderFields } from "../../domain/rfc/HeaderFields.ts"
import { Catalog } from "../cache/Catalog.ts"
import type { LookupRequest } from "./Lookup.ts"
import { memoryKey } from "./storedUse.ts"
import type * as UncacheableHints from "./UncacheableHints.ts"

/** What a request says of what it is for. */
type About = Pick<LookupRequest, "accepted" | "ifRange" | "ranges" | "resource">

/** Makes the functions that find the content codings in which a viewer may get a response, of those that its request accepts. */
export const makeAcceptedFor = Effect.fnUntraced(function*(hints: ReturnType<typeof UncacheableHints.make>) {
  const catalog = yield* Catalog
  const clock = yield* Clock.Clock

  /**
   * Ranges are those of the uncoded file, which all players share. Only a viewer who resumes a coded response, by its `ETag` in `If-Range`,
   * gets the rest of that, and one who refuses uncoded responses a part of a coded one.
   */
  const forRanges = ({ accepted, ifRange, ranges, resource }: About, fields: HeaderFields): AcceptedCodings => {
    if (ranges === undefined || !accepted.codings.has("identity")) return accepted
    if (ifRange === undefined) return UNCODED
    const coded = catalog.known(catalog.select(resource, fields, accepted).variant.id)
    return coded?.representation.etag === ifRange.trim() ? accepted : UNCODED
  }

  /** The same, but uncoded if a coded response has turned out to be uncacheable: the file itself may not be. */
  const forLookup = (request: LookupRequest, asker: Asker): AcceptedCodings => {
    const { resource, source, wanted } = request
    const accepted = forRanges(request, source.fields)
    if (accepted === UNCODED || !accepted.codings.has("identity")) return accepted
    const key = memoryKey(resource, asker, accepted)
    return hints.isOfCoded(key, clock.currentTimeMillisUnsafe(), wanted !== undefined) ? UNCODED : accepted
  }

  return { forLookup, forRanges }
})
