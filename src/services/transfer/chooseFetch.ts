import type { OriginError } from "../../domain/OriginError.ts"
import { isSameSource } from "../origin/askOrigin.ts"
import { covers, type Download, failureFor, type Fetch, isOpenTo, leave, type Viewer } from "./Fetch.ts"

/**
 * Which fetch a viewer waits for. Viewers share fetches, and not what concerns one of them: a fetch asks as the viewer for which it was
 * started, whose fields, location or rate the origin may refuse. So a viewer of another source tries again before it fails.
 */

/** How many fetches for one byte may be under way at a time for viewers whom the fetches of others have failed. */
const MAX_OWN_TRIES = 8

/** Records what the viewer's fetch has failed with. */
const noteFailure = (viewer: Viewer): void => {
  const { fetch } = viewer
  const failure = fetch && failureFor(fetch, viewer)
  if (fetch === undefined || failure === undefined) return
  if (isSameSource(fetch.source, viewer.source)) viewer.failure = failure
  else viewer.letDown += 1
  leave(viewer)
}

/**
 * How many fetches have to be under way for a viewer to wait for one of them rather than start its own: one, unless others have failed it.
 * Each time they do, twice as many may be tried at once. So every viewer gets to its own try before long, and one is enough for all when
 * the fault was the first one's.
 */
const enough = ({ failure, letDown }: Viewer): number =>
  failure !== undefined || letDown === 0 ? 1 : Math.min(2 ** (letDown - 1), MAX_OWN_TRIES)

/** The fetch for the viewer to wait for, what it fails with, or `undefined`: it is to start one. */
export const chooseFetch = (
  download: Download,
  viewer: Viewer
): Fetch | { readonly failure: OriginError } | undefined => {
  const { offset, fetch, source } = viewer
  if (fetch !== undefined && isOpenTo(fetch, source) && covers(fetch, offset)) return fetch
  noteFailure(viewer)
  const open = download.fetches.coming(offset).filter((fetch) => isOpenTo(fetch, source))
  if (open.length >= enough(viewer)) return open[0]
  return viewer.failure && { failure: viewer.failure }
}
