import { Clock, Effect, Option } from "effect"
import type { Asker } from "../../domain/Asker.ts"
import { isFile } from "../../domain/Representation.ts"
import { besideFile, besideFileFor, type Resource } from "../../domain/Resource.ts"
import { type AcceptedCodings, codingOf, dependsOnAccepted } from "../../domain/rfc/ContentCoding.ts"
import { isFresh } from "../../domain/rfc/Freshness.ts"
import type { HeaderFields } from "../../domain/rfc/HeaderFields.ts"
import { Catalog, type Entry, freshnessFor } from "../cache/Catalog.ts"
import type { Request } from "./Exchange.ts"
import type { LookupRequest } from "./Lookup.ts"

/** Makes the functions that say where the response to a request is stored: as the file, or beside it. */
export const makeStoredResponse = Effect.gen(function*() {
  const catalog = yield* Catalog
  const clock = yield* Clock.Clock

  const isFreshFor = (entry: Entry, { directives }: LookupRequest, { cookie }: Asker): boolean => {
    const freshness = freshnessFor(entry, cookie)
    return freshness !== undefined && isFresh(freshness, clock.currentTimeMillisUnsafe(), directives)
  }

  const besideOf = (
    { resource, source }: Pick<Request, "resource" | "source">,
    { field }: AcceptedCodings
  ): ReadonlyArray<Resource> => besideFileFor(catalog.variant(resource, source.fields, "identity"), field)

  /** What is stored for a request: its file, or the response beside the file if that is fresh and the file isn't, or there is no file. */
  const storedOf = Effect.fnUntraced(function*(request: LookupRequest, asker: Asker, accepted: AcceptedCodings) {
    const { entry, ...selection } = yield* catalog.find(request.resource, request.source.fields, accepted)
    const file = Option.getOrUndefined(entry)
    if (file !== undefined && selection.isChosen && isFreshFor(file, request, asker)) {
      return { ...selection, file, known: file }
    }
    for (const variant of besideOf(request, accepted)) {
      const beside = Option.getOrUndefined(yield* catalog.get(variant))
      const isBetter = beside !== undefined && (asker.credential === "" || beside.isSharable) &&
        (file === undefined || isFreshFor(beside, request, asker))
      if (isBetter) return { ...selection, file, known: beside }
    }
    return { ...selection, file, known: file }
  })

  /** Where a response with the fields `answer` to a request would be stored: as the file, and beside it. */
  const variantsOf = (
    request: LookupRequest,
    accepted: AcceptedCodings,
    answer: HeaderFields
  ): ReadonlyArray<Resource> => [
    catalog.variant(request.resource, request.source.fields, codingOf(answer) ?? "identity"),
    ...besideOf(request, accepted)
  ]

  /** Where a response to a request with the fields `answer` that is not the file is stored. */
  const besideFor = ({ accepted, resource, source }: Request, answer: HeaderFields): Resource => {
    const variant = catalog.variant(resource, source.fields, "identity")
    return besideFile(variant, dependsOnAccepted(answer) ? accepted.field : undefined)
  }

  /**
   * Whether a response of `status` must not supersede what others were given: a login page never replaces what is behind it. Then viewers
   * with a cookie get a file of their own from now on.
   */
  const isProtected = ({ asker, resource }: Request, status: number, selected: Resource): boolean => {
    if (!catalog.isProtected(resource, selected, asker.cookie)) return false
    if (isFile(status)) catalog.separateCookies(resource)
    return true
  }

  /** Ends the use of what is stored beside the file, which has come. */
  const expireBeside = (request: Request): void => {
    for (const { id } of besideOf(request, request.accepted)) {
      const beside = catalog.known(id)
      if (beside !== undefined) catalog.expire(beside.representation)
    }
  }

  return { besideFor, expireBeside, isProtected, storedOf, variantsOf }
})
