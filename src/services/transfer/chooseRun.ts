import type { OriginError } from "../../domain/OriginError.ts"
import { isSameSource } from "../origin/askOrigin.ts"
import { covers, type Download, failureFor, isOpenTo, leave, type Run, type Viewer } from "./Run.ts"

/**
 * Which run a viewer waits for. Viewers share runs, and not what concerns one of them: a run asks as the viewer for whom it was
 * started, whose fields, location or rate the origin may refuse. So a viewer of another source tries again before it fails.
 */

/** How many runs for one byte may be under way at a time for viewers whom the runs of others have failed. */
const MAX_OWN_TRIES = 8

/** Takes note of what the viewer's run has failed with. */
const noteFailure = (viewer: Viewer): void => {
  const { run } = viewer
  const failure = run && failureFor(run, viewer)
  if (run === undefined || failure === undefined) return
  if (isSameSource(run.source, viewer.source)) viewer.failure = failure
  else viewer.letDown += 1
  leave(viewer)
}

/**
 * How many runs have to be under way for a viewer to wait for one of them rather than start its own: one, unless others have failed it.
 * Each time they do, twice as many may be tried at once. So every viewer gets to its own try before long, and one is enough for all when
 * the fault was the first one's.
 */
const enough = ({ failure, letDown }: Viewer): number =>
  failure !== undefined || letDown === 0 ? 1 : Math.min(2 ** (letDown - 1), MAX_OWN_TRIES)

/** The run for the viewer to wait for, what it fails with, or `undefined`: it is to start one. */
export const chooseRun = (download: Download, viewer: Viewer): Run | { readonly failure: OriginError } | undefined => {
  const { offset, run, source } = viewer
  if (run !== undefined && isOpenTo(run, source) && covers(run, offset)) return run
  noteFailure(viewer)
  const open = download.runs.coming(offset).filter((run) => isOpenTo(run, source))
  if (open.length >= enough(viewer)) return open[0]
  return viewer.failure && { failure: viewer.failure }
}
