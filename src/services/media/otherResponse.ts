import { Effect } from "effect"
import { ANONYMOUS } from "../../domain/Asker.ts"
import type { OriginHead } from "../../domain/Representation.ts"
import { isOfTheRequest, isServerError } from "../../domain/rfc/Cacheability.ts"
import { Catalog } from "../cache/Catalog.ts"
import type { Exchange } from "./Exchange.ts"
import type { Memories } from "./fetchRepresentation.ts"
import type { Current } from "./LookupResult.ts"

/** Whether a status refuses a file to the viewer, or sends the viewer elsewhere. */
const isRefusal = (status: number): boolean =>
  status >= 300 && status < 500 && status !== 416 && !isOfTheRequest(status)

/**
 * Makes the function that decides what a response that is not the file means for what is stored. It returns what is stored if that is better
 * than an error.
 */
export const makeOtherResponse = Effect.fnUntraced(function*(
  { storedUse: { staleFor, withdraw }, unmeasured }: Pick<Memories, "storedUse" | "unmeasured">
) {
  const catalog = yield* Catalog

  return Effect.fnUntraced(function*(
    { asked, request }: Exchange,
    { isAboutViewer = false, status }: OriginHead
  ): Effect.fn.Return<Current | undefined> {
    const { asker, resource, stored } = request
    // A response of 5xx is as good as none (RFC 9111 §4.3.3).
    const stale = isServerError(status) ? staleFor(request, { ...asked, status }) : undefined
    if (stale !== undefined) return stale
    const isGone = !isAboutViewer && (status === 404 || status === 410)
    if (isGone) unmeasured.releaseFamily(resource)
    if (stored === undefined || !isRefusal(status)) return undefined
    // A 404 or 410 is final: don't serve the old copy even if the origin fails later. Nor to a viewer who was refused it.
    if (isGone) yield* withdraw(request)
    // All viewers without a cookie look the same.
    else if (!isAboutViewer || asker.cookie !== ANONYMOUS) catalog.exclude(stored.representation, asker.cookie)
    return undefined
  })
})
